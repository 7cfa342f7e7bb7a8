import numpy as np
import pytest

from sidecar.config import CandidateConfig
from sidecar.errors import NoCandidate
from sidecar.fleet.sessions import Remembered, digest
from sidecar.routing.ask import Ask
from sidecar.routing.candidates import CandidateTable
from sidecar.routing.conversations import Conversations
from sidecar.routing.counts import Counts
from sidecar.routing.decision import Choice, Expectations, Reason
from sidecar.routing.session import Held
from tests.routing.fleet import ask_for, table_of

COST = np.array([[1e-5 + 4e-5, 5e-5 + 2e-4, 5e-4 + 2e-3]])
EXPECTED = Expectations(np.full((1, 3), 0.5), COST, np.zeros((1, 3)), np.zeros((1, 3)), np.full((1, 3), 100.0))


class Memory(dict[str, Remembered]):
    def look(self, session: str) -> Remembered | None:
        return self.get(session)

    def keep(self, session: str, entry: Remembered) -> None:
        self[session] = entry


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def table() -> CandidateTable:
    entries = (CandidateConfig(name=name, cached_input_usd_per_mtok=0.0) for name in ("small", "medium", "large"))
    return table_of(*entries)


def choice(candidate: int) -> Choice:
    return Choice([candidate], (Reason.LEARNED,), 0.0)


def test_the_next_turn_finds_the_candidate_and_the_tokens_of_the_turn_before() -> None:
    conversations = Conversations(table(), Memory(), 60.0, Clock(), Counts())
    ask = ask_for(session="chat")
    assert conversations.held([ask, ask_for()]) == [None, None]
    conversations.decided([ask], [None], EXPECTED, [choice(1)])
    (held,) = conversations.held([ask])
    assert held is not None
    assert held.candidate == 1
    assert held.cached_tokens == pytest.approx(200.0)
    assert held.cost_usd == pytest.approx(2.5e-4)
    assert held.spent_usd == 0.0


def test_changing_the_candidate_is_charged_to_the_session() -> None:
    conversations = Conversations(table(), Memory(), 60.0, Clock(), Counts())
    ask = ask_for(session="chat")
    conversations.decided([ask], [None], EXPECTED, [choice(2)])
    before = conversations.held([ask])
    conversations.decided([ask], before, EXPECTED, [choice(0)])
    (held,) = conversations.held([ask])
    assert held is not None
    assert held.candidate == 0
    assert held.spent_usd == pytest.approx(100 * 5e-6)
    assert held.cost_usd == pytest.approx(2.5e-3 + 5e-5)


def test_what_the_caller_says_counts_for_more_than_what_is_remembered() -> None:
    memory = Memory(chat=Remembered(digest("small"), 500.0, 0.1, 0.2, 1000.0))
    conversations = Conversations(table(), memory, 60.0, Clock(), Counts())
    asks = [
        ask_for(session="chat", current_model="large"),
        ask_for(session="chat", current_model="large", cached_tokens=70),
        ask_for(session="chat", cached_tokens=70),
        ask_for(session="chat", current_model="somebody else's"),
        ask_for(session="new", current_model="large", cached_tokens=70),
    ]
    assert conversations.held(asks) == [
        Held(2, 0.0, 0.1, 0.2),
        Held(2, 70.0, 0.1, 0.2),
        Held(0, 70.0, 0.1, 0.2),
        Held(-1, 0.0, 0.1, 0.2),
        Held(2, 70.0),
    ]


def test_a_session_is_forgotten_when_its_cache_is_gone() -> None:
    clock = Clock()
    conversations = Conversations(table(), Memory(), 60.0, clock, Counts())
    ask = ask_for(session="chat")
    conversations.decided([ask], [None], EXPECTED, [choice(1)])
    clock.now += 61.0
    assert conversations.held([ask]) == [None]


def test_a_failed_turn_frees_the_next_one() -> None:
    memory = Memory()
    conversations = Conversations(table(), memory, 60.0, Clock(), Counts())
    ask = ask_for(session="chat")
    conversations.decided([ask], [None], EXPECTED, [choice(1)])
    memory["chat"] = memory["chat"]._replace(failed=True)
    (held,) = conversations.held([ask])
    assert held is not None
    assert held.failed


def test_in_log_only_mode_the_session_is_with_the_callers_own_model() -> None:
    conversations = Conversations(table(), Memory(), 60.0, Clock(), Counts())
    ours, theirs = (ask_for(session=s, current_model=s, log_only=True) for s in ("large", "somebody else's"))
    conversations.decided([ours], [None], EXPECTED, [choice(0)])
    conversations.decided([theirs], [None], EXPECTED, [choice(0)])
    (held,) = conversations.held([ask_for(session="large")])
    assert held is not None
    assert held.candidate == 2
    assert conversations.held([ask_for(session="somebody else's")]) == [None]


def test_a_request_without_a_decision_leaves_no_trace() -> None:
    memory = Memory()
    Conversations(table(), memory, 60.0, Clock(), Counts()).decided(
        [ask_for(session="chat")], [None], EXPECTED, [NoCandidate("")]
    )
    assert not memory


def test_only_turns_that_are_sent_elsewhere_count_as_switches() -> None:
    counts = Counts()
    conversations = Conversations(table(), Memory(), 60.0, Clock(), counts)
    ask = ask_for(session="chat")

    def turn(candidate: int, ask: Ask = ask) -> int:
        conversations.decided([ask], conversations.held([ask]), EXPECTED, [choice(candidate)])
        return counts.switches

    assert [turn(1), turn(1), turn(2), turn(0)] == [0, 0, 1, 2]
    # What a caller does on its own is no doing of the router.
    assert turn(1, ask_for(session="chat", current_model="large", log_only=True)) == 2
