import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.outlook import outlook
from benchmarks.fleet.servers import Call, Server

SIZES = st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 500.0), st.floats(1.0, 60.0))


@given(st.lists(SIZES, max_size=12), SIZES, st.integers(1, 4), st.floats(0.0, 2.0))
def test_the_outlook_is_what_then_happens_if_nobody_else_comes(
    before: list[tuple[float, float, float]], own: tuple[float, float, float], slots: int, slowdown: float
) -> None:
    candidate = Candidate(
        name="any", label="any", hosted=False, slots=slots, first_token_s=0.2, prompt_tokens_per_s=1000.0, token_s=0.05,
        slowdown=slowdown,
    )  # fmt: skip
    calendar = Calendar()
    server = Server(candidate, calendar)
    for gap, prompt, tokens in before:
        calendar.run(calendar.now + gap)
        server.submit(Call(prompt, tokens, lambda _call: None))
    gap, prompt, tokens = own
    calendar.run(calendar.now + gap)
    seen = outlook(candidate, server.state(), prompt, tokens)
    call = Call(prompt, tokens, lambda _call: None)
    server.submit(call)
    calendar.run()
    assert seen.wait_s == pytest.approx(call.admitted - call.sent, abs=1e-6)
    assert seen.end_s == pytest.approx(call.done - call.sent, abs=1e-6)


def test_to_look_changes_nothing() -> None:
    candidate = Candidate(
        name="any", label="any", hosted=False, slots=2, first_token_s=0.5, prompt_tokens_per_s=1000.0, token_s=0.05,
        slowdown=1.0,
    )  # fmt: skip
    ends = []
    for looks in (0, 5):
        calendar = Calendar()
        done: list[float] = []
        server = Server(candidate, calendar)
        for tokens in (10.0, 20.0, 30.0):
            server.submit(Call(100.0, tokens, lambda call, done=done: done.append(call.done)))  # type: ignore[misc]
        for look in range(looks):
            calendar.run(0.3 * (look + 1))
            outlook(candidate, server.state(), 10.0, 10.0)
        calendar.run()
        ends.append(done)
    assert ends[1] == pytest.approx(ends[0])
