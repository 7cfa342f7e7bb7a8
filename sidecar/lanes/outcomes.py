"""ReportOutcome: what became of decisions, for the fleet's live state and for the ledger."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sidecar.batching import Caller
from sidecar.errors import InvalidRequest, RouterError, TooLarge
from sidecar.fleet.outcome import Fault
from sidecar.fleet.outcome import Outcome as Heard
from sidecar.fleet.sources.headers import rate_limits
from sidecar.fleet.telemetry import Telemetry
from sidecar.lanes.intake import MAX_SESSION_CHARS
from sidecar.lanes.lane import Deliver
from sidecar.ledger.outcome import Outcome, checked
from sidecar.wire import router_pb2 as pb

# Labels of quality come long after the call; who gives them says nothing of the candidate's load.
LIVE_SOURCES = frozenset({"", "gateway"})
GATEWAY = "gateway"
MOST_HEADERS = 64
MOST_HEADER_CHARS = 4096
# A clock that is further ahead of ours is set wrongly.
AHEAD_S = 86400.0
FAULTS = {
    pb.OUTCOME_ERROR_UNSPECIFIED: (Fault.NONE, None),
    pb.OUTCOME_ERROR_RATE_LIMITED: (Fault.RATE_LIMIT, "rate_limited"),
    pb.OUTCOME_ERROR_TIMEOUT: (Fault.TIMEOUT, "timeout"),
    pb.OUTCOME_ERROR_SERVER: (Fault.SERVER, "server"),
    pb.OUTCOME_ERROR_CLIENT: (Fault.CLIENT, "client"),
    pb.OUTCOME_ERROR_REFUSED: (Fault.CLIENT, "refused"),
}
MEASURES = ("quality", "latency_ms", "input_tokens", "output_tokens", "cached_tokens", "cost_usd")

Submit = Callable[[Outcome, Callable[[RouterError | None], None]], None]  # see sidecar.ledger.journal


class Senses(Protocol):
    """Who hears of calls that have ended."""

    def hear(self, decision_id: str, outcome: Heard, model: str, session: str, /) -> None:
        """A call has ended, or its first token has come."""
        ...

    def report(self, model: str, telemetry: Telemetry, /) -> None:
        """A provider said something of its load."""
        ...


class Outcomes:
    """Takes ReportOutcome calls; a transport's Take. Belongs to the transport's thread.

    Args:
        most: outcomes of one call.
        senses: who hears of them.
        submit: keeps them; None where there is no ledger.
        unix: Unix seconds.

    Attributes:
        accepted: outcomes that were sound.
        invalid: that were refused for what they said; a call that cannot be read counts as one.
    """

    def __init__(self, most: int, senses: Senses, submit: Submit | None, unix: Callable[[], float] = time.time) -> None:
        self._most = most
        self._senses = senses
        self._submit = submit
        self._unix = unix
        self.accepted = self.invalid = 0

    def __call__(self, raw: bytes, deliver: Deliver, key: Any, caller: Caller) -> None:
        """Takes the bytes of a ReportOutcomeRequest; delivers those of a ReportOutcomeResponse, when all is on disk.

        Raises:
            InvalidRequest: nothing was taken; the message names the outcome, its field and the remedy.
            DecodeError: it is no such message.
        """
        refused = 1
        try:
            outcomes = self._read(raw)
            refused = len(outcomes)
            kept = [self._kept(index, outcome) for index, outcome in enumerate(outcomes)]
        except Exception:
            self.invalid += refused
            raise
        self.accepted += len(kept)
        for outcome in outcomes:
            self._hear(outcome)
        reply = pb.ReportOutcomeResponse(accepted=len(outcomes), durable=self._submit is not None)
        if self._submit is None:
            deliver(key, reply.SerializeToString())
            return
        pending = _Pending(len(kept), reply.SerializeToString())
        pending.wake = caller.resume(lambda: deliver(key, pending.encoded))
        for at, one in enumerate(kept):
            try:
                self._submit(one, pending.done)
            except RouterError as error:
                pending.refused(len(kept) - at, error)
                break

    def _read(self, raw: bytes) -> Sequence[pb.Outcome]:
        outcomes = pb.ReportOutcomeRequest.FromString(raw).outcomes
        if not outcomes:
            raise InvalidRequest("outcomes is empty: send at least one.")
        if len(outcomes) > self._most:
            raise TooLarge(f"outcomes: {len(outcomes)} items; send at most {self._most} in one call.")
        return outcomes

    def _kept(self, index: int, outcome: pb.Outcome) -> Outcome:
        """The outcome as the ledger keeps it, if it is sound."""
        now = self._unix()
        try:
            if outcome.error not in FAULTS:
                raise InvalidRequest(f"error: {outcome.error} is no OutcomeError.")  # noqa: TRY301 - one place names them
            if outcome.observed_unix_seconds > now + AHEAD_S:
                raise InvalidRequest("observed_unix_seconds: lies in the future; give Unix seconds.")  # noqa: TRY301
            if len(outcome.session_id) > MAX_SESSION_CHARS:
                raise InvalidRequest(f"session_id: give at most {MAX_SESSION_CHARS} characters.")  # noqa: TRY301
            _check_headers(outcome.headers, outcome.model)
            return checked(
                Outcome(
                    decision_id=outcome.decision_id,
                    source=outcome.source or GATEWAY,
                    received=now,
                    observed=outcome.observed_unix_seconds,
                    key=outcome.key,
                    model=outcome.model or None,
                    ttft_ms=outcome.first_token_ms if outcome.HasField("first_token_ms") else None,
                    error=_error(outcome),
                    labels=dict(outcome.labels),
                    **{name: getattr(outcome, name) for name in MEASURES if outcome.HasField(name)},
                )
            )
        except InvalidRequest as error:
            raise InvalidRequest(f"outcomes[{index}].{error}") from None

    def _hear(self, outcome: pb.Outcome) -> None:
        if outcome.source not in LIVE_SOURCES:
            return
        if outcome.headers:
            self._senses.report(outcome.model, rate_limits(outcome.headers, self._unix()))
        fault, _ = FAULTS[outcome.error]
        timed = [outcome.HasField(name) for name in ("latency_ms", "first_token_ms", "output_tokens")]
        if fault is Fault.NONE and not any(timed):
            return
        latency, first, tokens = timed
        heard = Heard(
            fault=fault,
            first_token_seconds=outcome.first_token_ms / 1000.0 if first else math.nan,
            latency_seconds=outcome.latency_ms / 1000.0 if latency else math.nan,
            output_tokens=float(outcome.output_tokens) if tokens else math.nan,
            retry_after_seconds=outcome.retry_after_ms / 1000.0 if outcome.HasField("retry_after_ms") else math.nan,
            ended=fault is not Fault.NONE or not outcome.in_progress,
        )
        self._senses.hear(outcome.decision_id, heard, outcome.model, outcome.session_id)


class _Pending:
    """A call that waits until all its outcomes are on disk."""

    __slots__ = ("_missing", "encoded", "wake")

    def __init__(self, missing: int, encoded: bytes) -> None:
        self._missing = missing
        self.encoded: bytes | RouterError = encoded
        self.wake: Callable[[], None]

    def done(self, error: RouterError | None) -> None:
        """One of them is, or could not be. In the journal's thread."""
        if error is not None:
            self.encoded = error
        self._missing -= 1
        if not self._missing:
            self.wake()

    def refused(self, amount: int, error: RouterError) -> None:
        """So many were not even taken."""
        self.encoded = error
        self._missing -= amount
        if not self._missing:
            self.wake()


def _error(outcome: pb.Outcome) -> str | None:
    fault, word = FAULTS[outcome.error]
    if fault is Fault.NONE:
        return "" if outcome.HasField("latency_ms") and not outcome.in_progress else None
    return word


def _check_headers(headers: Mapping[str, str], model: str) -> None:
    if not headers:
        return
    if not model:
        raise InvalidRequest("model: is missing; say whose headers these are.")
    if len(headers) > MOST_HEADERS:
        raise InvalidRequest(f"headers: {len(headers)} of them; send the provider's rate limits only.")
    if any(len(name) + len(value) > MOST_HEADER_CHARS for name, value in headers.items()):
        raise InvalidRequest(f"headers: one has more than {MOST_HEADER_CHARS} characters; send the rate limits only.")
