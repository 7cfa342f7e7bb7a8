from sidecar.routing.counts import Counts
from sidecar.routing.decision import Reason


def test_every_reason_is_counted_and_those_that_nobody_gave_are_there_too() -> None:
    counts = Counts()
    counts.reasons = {(Reason.LEARNED,): 3, (Reason.LEARNED, Reason.LOAD): 2, (Reason.DEGRADED, Reason.LAST_RESORT): 1}
    found = counts.by_reason()
    assert set(found) == {reason.name for reason in Reason}
    assert {name: number for name, number in found.items() if number} == {
        "LEARNED": 5,
        "LOAD": 2,
        "DEGRADED": 1,
        "LAST_RESORT": 1,
    }
