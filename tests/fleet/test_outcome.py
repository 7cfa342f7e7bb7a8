from hypothesis import given
from hypothesis import strategies as st

from sidecar.fleet.outcome import Origin, origin_of, process_of
from sidecar.routing.decision_id import DecisionIds


@given(st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_a_decisions_id_leads_back_to_the_process_and_the_number(writer: int, epoch: int, amount: int) -> None:
    ids = DecisionIds(lambda: 1e9, process_of(writer, epoch))
    origins = [origin_of(name) for name in ids.take(amount).ids]
    assert origins == [Origin(process_of(writer, epoch), number) for number in range(amount)]
    assert origins[0] is not None
    assert (origins[0].writer, origins[0].epoch) == (writer, epoch)


@given(st.text())
def test_what_is_no_id_has_no_origin(text: str) -> None:
    if len(text) != 32:
        assert origin_of(text) is None
    assert origin_of("z" * 32) is None
