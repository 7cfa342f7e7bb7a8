"""ReportOutcome: what became of decisions, checked, for the fleet's live state and for the ledger."""

import math
import time
from collections.abc import Callable, Sequence

from sidecar.errors import InvalidRequest, TooLarge
from sidecar.fleet.outcome import Fault
from sidecar.fleet.outcome import Outcome as Heard
from sidecar.ledger.records import SOURCES
from sidecar.wire import router_pb2 as pb

HEX = frozenset("0123456789abcdef")
ID_DIGITS = 32
MOST_CHARS = 256
MOST_ENTRIES = 64
MOST_VALUE_CHARS = 1024
# A clock that is this far ahead of ours is set wrongly.
AHEAD_S = 86400.0
FAULTS = {
    pb.OUTCOME_ERROR_UNSPECIFIED: Fault.NONE,
    pb.OUTCOME_ERROR_RATE_LIMITED: Fault.RATE_LIMIT,
    pb.OUTCOME_ERROR_TIMEOUT: Fault.TIMEOUT,
    pb.OUTCOME_ERROR_SERVER: Fault.SERVER,
    pb.OUTCOME_ERROR_CLIENT: Fault.CLIENT,
    pb.OUTCOME_ERROR_REFUSED: Fault.CLIENT,
}
# Labels of these come long after the call; they say nothing of the candidate's load.
LATE_SOURCES = frozenset({"user", "judge", "test", "human"})


class OutcomeIntake:
    """Checks reports of outcomes.

    Args:
        most: outcomes of one report.
        unix: Unix seconds.
    """

    def __init__(self, most: int, unix: Callable[[], float] = time.time) -> None:
        self._most = most
        self._unix = unix

    def __call__(self, raw: bytes) -> Sequence[pb.Outcome]:
        """The outcomes of a ReportOutcomeRequest.

        Raises:
            InvalidRequest: the message names the outcome, its field and the remedy.
            TooLarge: there are too many.
            DecodeError: it is no such message.
        """
        outcomes = pb.ReportOutcomeRequest.FromString(raw).outcomes
        if not outcomes:
            raise InvalidRequest("outcomes is empty: send at least one.")
        if len(outcomes) > self._most:
            raise TooLarge(f"outcomes: {len(outcomes)} items; send at most {self._most} in one call.")
        for index, outcome in enumerate(outcomes):
            self._check(f"outcomes[{index}]", outcome)
        return outcomes

    def _check(self, field: str, outcome: pb.Outcome) -> None:
        if len(outcome.decision_id) != ID_DIGITS or not HEX.issuperset(outcome.decision_id):
            raise InvalidRequest(
                f"{field}.decision_id is no id of a decision: send the {ID_DIGITS} hexadecimal digits of the reply."
            )
        if outcome.source and outcome.source not in SOURCES:
            raise InvalidRequest(
                f"{field}.source: {outcome.source[:32]!r} is unknown; give one of {', '.join(SOURCES)}."
            )
        if outcome.HasField("quality") and not 0.0 <= outcome.quality <= 1.0:
            raise InvalidRequest(f"{field}.quality is {outcome.quality}: give a number between 0 and 1.")
        if outcome.HasField("cost_usd") and not 0.0 <= outcome.cost_usd < math.inf:
            raise InvalidRequest(f"{field}.cost_usd is {outcome.cost_usd}: give a finite number that is not negative.")
        if outcome.error not in FAULTS:
            raise InvalidRequest(f"{field}.error is {outcome.error}: that is no OutcomeError.")
        observed = outcome.observed_unix_seconds
        if outcome.HasField("observed_unix_seconds") and not 0.0 <= observed <= self._unix() + AHEAD_S:
            raise InvalidRequest(
                f"{field}.observed_unix_seconds is {observed}: give Unix seconds that are not in the future."
            )
        for name in ("key", "model", "session_id"):
            if len(getattr(outcome, name)) > MOST_CHARS:
                raise InvalidRequest(f"{field}.{name}: give at most {MOST_CHARS} characters.")
        for name in ("headers", "labels"):
            _check_entries(f"{field}.{name}", getattr(outcome, name))


def heard(outcome: pb.Outcome) -> Heard | None:
    """What an outcome tells of load and health; None if it tells nothing of these."""
    fault = FAULTS[outcome.error]
    timed = outcome.HasField("latency_ms") or outcome.HasField("first_token_ms") or outcome.HasField("output_tokens")
    if fault is Fault.NONE and (not timed or outcome.source in LATE_SOURCES):
        return None
    return Heard(
        fault,
        outcome.first_token_ms / 1000.0 if outcome.HasField("first_token_ms") else math.nan,
        outcome.latency_ms / 1000.0 if outcome.HasField("latency_ms") else math.nan,
        float(outcome.output_tokens) if outcome.HasField("output_tokens") else math.nan,
        outcome.retry_after_ms / 1000.0 if outcome.HasField("retry_after_ms") else math.nan,
        not outcome.in_progress,
    )


def _check_entries(field: str, entries: "dict[str, str]") -> None:
    if len(entries) > MOST_ENTRIES:
        raise InvalidRequest(f"{field}: {len(entries)} entries; send at most {MOST_ENTRIES}.")
    for name, value in entries.items():
        if len(name) > MOST_CHARS or len(value) > MOST_VALUE_CHARS:
            raise InvalidRequest(
                f"{field}: give names of at most {MOST_CHARS} and values of at most {MOST_VALUE_CHARS} characters."
            )
