"""What both lanes serve: bytes in, bytes or errors out, the same to the letter."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from sidecar.batching import Batcher, Bounds, Caller
from sidecar.config import Config
from sidecar.coverage import Coverage
from sidecar.errors import Expired, InvalidRequest, Overloaded, RouterError, TooLarge
from sidecar.faults import place
from sidecar.lanes.canary import Canary
from sidecar.lanes.engine import Engine
from sidecar.lanes.flight import Flight, Job, Slowest
from sidecar.lanes.lane import SERVICE, Deliver, Encoded, Take
from sidecar.lanes.malformed import explain
from sidecar.lanes.reply import delimited
from sidecar.scoring.cache import CacheCounts
from sidecar.wire import router_pb2 as pb

log = logging.getLogger(__name__)

ROUTE, ROUTE_BATCH, ROUTE_STREAM, REPORT_OUTCOME, INFO = (
    f"/{SERVICE}/{method}" for method in ("Route", "RouteBatch", "RouteStream", "ReportOutcome", "Info")
)

RESPONSE = pb.RouteResult.RESPONSE_FIELD_NUMBER
ERROR = pb.RouteResult.ERROR_FIELD_NUMBER
RESULTS = pb.RouteBatchResponse.RESULTS_FIELD_NUMBER
RESULT = pb.RouteStreamResponse.RESULT_FIELD_NUMBER

# Numbers of https://github.com/grpc/grpc/blob/master/doc/statuscodes.md for the names in sidecar.errors.
STATUS_NUMBERS = {
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
}
EXPIRED = Expired("the deadline passed before the request's turn came; give it a longer one.")
# Engines whose turn is over are counted on under their version; of so many versions.
MOST_VERSIONS = 16
LATEST_BATCHES = 2048
IDLE_S = 0.1
OLDER = "(older)"
# Calls that are turned away before they are read have no segment yet.
UNREAD = "(not read)"


class Drops:
    """Requests that got no decision of their own, since the start; written by the lane's thread alone."""

    __slots__ = ("cancelled", "expired", "invalid", "shed")

    def __init__(self) -> None:
        self.invalid = self.shed = self.expired = self.cancelled = 0


class Decisions(NamedTuple):
    """What one version decided since the start."""

    decisions: int
    degraded: int
    batches: int


NONE_YET = Decisions(0, 0, 0)


class _Switch:
    """What the lane's thread is asked to change between two batches.

    Attributes:
        taken: new requests go to the new engine already.
        done: and none is left with an earlier one.
    """

    def __init__(self, engine: Engine, canary: Canary | None) -> None:
        self.engine = engine
        self.canary = canary
        self.taken = False
        self.done = threading.Event()


class RouterServices:
    """The hot methods over one batcher, and what else a lane serves.

    A method that takes `deliver` calls `deliver(key, encoded)` once for the call, at once or at a later flush, with the
    reply's bytes or a RouterError. It never raises. Only `switch` and what only reads may be used from other threads.

    Args:
        config: limits.
        engine: the first one.
        coverage: the one that the engines count in.
        clock: monotonic seconds.
        unix: Unix seconds.
        on_fault: called with the running engine's fault whenever it changes, or when another engine takes over.
    """

    def __init__(
        self,
        config: Config,
        engine: Engine,
        coverage: Coverage,
        *,
        clock: Callable[[], float],
        unix: Callable[[], float],
        on_fault: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self.engine = engine
        self.canary: Canary | None = None
        self.coverage = coverage
        self.drops = Drops()
        self.on_fault = on_fault
        self._busy_since: float | None = None
        self.busy_s = 0.0
        # The latest batches: when each ended, the seconds since its first request arrived, its size.
        self.batches: deque[tuple[float, float, int]] = deque(maxlen=LATEST_BATCHES)
        self._clock = clock
        self._max_batch_items = config.max_batch_items
        overload = config.overload
        self.batcher: Batcher[Job, Encoded] = Batcher(
            self._answer,
            Bounds(config.max_score_batch, overload.max_waiting, overload.max_queue_ms / 1000.0),
            clock=clock,
            unix=unix,
            shed=self._degraded if overload.action == "degrade" else self._rejected,
            expire=self._expired,
            forget=self._forgotten,
        )
        self.unary: dict[str, Take] = {ROUTE: self.route, ROUTE_BATCH: self.route_batch}
        self.streams: dict[str, Take] = {ROUTE_STREAM: self.route_stream}
        self.cold: dict[str, Callable[[bytes], bytes]] = {}
        self.watches: dict[str, Callable[[bytes, Callable[[], bool]], Any]] = {}
        self._pace_batches()
        self.idle: Callable[[], None] = lambda: None  # called now and then, between batches
        self._idle_due = 0.0
        self._switch: _Switch | None = None
        # Held while something changes, and by other threads that must not look in the midst of it. Not on the hot path.
        self._changing = threading.Lock()
        self._outgoing: set[Engine] = set()
        self._retired: dict[str, Decisions] = {}
        self._forgotten_caches = CacheCounts()

    @property
    def busy_since(self) -> float | None:
        """Since when one batch has been worked on, by the lane's thread or by the one that runs the model, or None."""
        begun = [at for at in (self._busy_since, self.batcher.flying_since) if at is not None]
        return min(begun, default=None)

    def decisions(self) -> dict[str, Decisions]:
        """What each version decided since the start, the running ones last."""
        with self._changing:
            found = dict(self._retired)
            for engine in dict.fromkeys((*self._outgoing, *self._running())):
                found[engine.version] = _more(found.pop(engine.version, NONE_YET), engine)
        return found

    def cache(self) -> CacheCounts:
        """What the score caches of all engines were good for since the start."""
        with self._changing:
            engines = dict.fromkeys((*self._outgoing, *self._running()))
            return reduce(_added, (engine.cache for engine in engines), self._forgotten_caches)

    def _running(self) -> list[Engine]:
        canary = self.canary
        return [self.engine, canary.engine] if canary else [self.engine]

    def listen(self, outcomes: Callable[[bytes, Deliver, Any, Caller], None]) -> None:
        """Takes reports of outcomes as well. Before the lane is made."""

        def report(raw: bytes, deliver: Deliver, key: Any, caller: Caller) -> None:
            try:
                outcomes(raw, deliver, key, caller)
            except Exception as error:  # noqa: BLE001 - the caller gets it as a status
                deliver(key, self._refused(error, raw, pb.ReportOutcomeRequest))

        self.unary[REPORT_OUTCOME] = report

    def unread(self) -> None:
        """See Services."""
        self.drops.expired += 1
        self.coverage.unscored(UNREAD)

    def flush(self) -> None:
        """Answers one batch of what waits; between two batches also changes what is asked to be changed."""
        began = self._busy_since = self._clock()
        if began >= self._idle_due:
            self._idle_due = began + IDLE_S
            self.idle()
        self.batcher.flush()
        self._busy_since = None
        self.busy_s = self._clock() - began
        if self._switch is not None:
            with self._changing:
                if self._switch is not None:  # else whoever asked for it took it back just now
                    self._change(self._switch)

    def switch(self, engine: Engine, canary: Canary | None, patience_s: float) -> bool:
        """Hands over to another engine between two batches. From another thread, one at a time.

        Returns:
            Whether it is done, and no reply of an engine that is not among these will be made any more. False: the
            lane's thread did not get to it within patience_s seconds, and nothing is changed; or it did, but is stuck
            since then with a request that an earlier engine took in.
        """
        switch = _Switch(engine, canary)
        self._switch = switch
        if switch.done.wait(patience_s):
            return True
        with self._changing:
            if not switch.taken:
                self._switch = None
                return False
        return switch.done.wait(patience_s)  # taken over just now; old requests are about to be answered

    def _change(self, switch: _Switch) -> None:
        before = self._running()
        switch.taken = True
        self.engine, self.canary = switch.engine, switch.canary
        self._pace_batches()
        after = self._running()
        self._outgoing = self._outgoing.union(before).difference(after)
        if before[0].fault != after[0].fault:
            self.on_fault(after[0].fault)
        if any(engine in self._outgoing for engine, _ in self.batcher.jobs()):
            return  # requests that an earlier engine took in are answered by it; what comes now, by the new one
        for engine in self._outgoing:
            self._retire(engine)
        self._outgoing = set()
        self._switch = None
        switch.done.set()

    def _pace_batches(self) -> None:
        scorers = [engine.ahead for engine in self._running() if engine.ahead is not None]
        self.batcher.ahead = Slowest(scorers) if scorers else None

    def _retire(self, engine: Engine) -> None:
        """Keeps what an engine decided: under its version, or of the versions that ended longest ago, all together."""
        retired = self._retired
        retired[engine.version] = _more(retired.pop(engine.version, NONE_YET), engine)
        self._forgotten_caches = _added(self._forgotten_caches, engine.cache)._replace(held_bytes=0)
        engine.retire()
        while len(retired) > MOST_VERSIONS:
            oldest = next(version for version in retired if version != OLDER)
            older = zip(retired.pop(OLDER, NONE_YET), retired.pop(oldest), strict=True)
            retired[OLDER] = Decisions(*map(sum, older))

    def fault(self, engine: Engine, reason: str) -> None:
        """What an engine reports; of the running one it is passed on."""
        if engine is self.engine:
            self.on_fault(reason)

    def route(self, raw: bytes, deliver: Deliver, key: Any, caller: Caller) -> None:
        """Takes the bytes of a RouteRequest; delivers those of a RouteResponse."""
        arrived = self._clock()
        try:
            request = pb.RouteRequest.FromString(raw)
            engine = self.engine if self.canary is None else self.canary.pick(request, self.engine)
            ask = engine.intake(request, arrived)
        except Exception as error:  # noqa: BLE001 - the caller gets it as a status
            deliver(key, self._refused(error, raw, pb.RouteRequest))
            return
        self.batcher.add((engine, ask), deliver, key, caller, ask.segment)

    def route_batch(self, raw: bytes, deliver: Deliver, key: Any, caller: Caller) -> None:
        """Takes the bytes of a RouteBatchRequest; delivers those of a RouteBatchResponse."""
        try:
            requests = self._items(raw)
        except Exception as error:  # noqa: BLE001 - the caller gets it as a status
            deliver(key, self._refused(error, raw, pb.RouteBatchRequest))
            return
        group = _Group(len(requests), deliver, key)
        for index, request in enumerate(requests):
            arrived = self._clock()
            try:
                engine = self.engine if self.canary is None else self.canary.pick(request, self.engine)
                ask = engine.intake(request, arrived)
            except Exception as error:  # noqa: BLE001 - the item gets it as its error
                group.put(index, self._refused(error))
            else:
                self.batcher.add((engine, ask), group.put, index, caller, ask.segment)

    def route_stream(self, raw: bytes, deliver: Deliver, key: Any, caller: Caller) -> None:
        """Takes the bytes of a RouteStreamRequest; delivers those of a RouteStreamResponse, errors inside it."""
        arrived = self._clock()
        sequence = 0
        try:
            message = pb.RouteStreamRequest.FromString(raw)
            sequence = message.sequence
            engine = self.engine if self.canary is None else self.canary.pick(message.request, self.engine)
            ask = engine.intake(message.request, arrived)
        except Exception as error:  # noqa: BLE001 - the message gets it as its error
            deliver(key, _stream_response(sequence, self._refused(error, raw, pb.RouteStreamRequest)))
            return
        answered: Deliver = lambda to, encoded: deliver(to, _stream_response(sequence, encoded))  # noqa: E731
        self.batcher.add((engine, ask), answered, key, caller, ask.segment)

    def _items(self, raw: bytes) -> Sequence[pb.RouteRequest]:
        requests = pb.RouteBatchRequest.FromString(raw).requests
        if not requests:
            raise InvalidRequest("requests is empty: send at least one request.")
        if len(requests) > self._max_batch_items:
            raise TooLarge(f"requests: {len(requests)} items; send at most {self._max_batch_items} in one call.")
        return requests

    def _answer(self, jobs: Sequence[Job]) -> list[Encoded] | Flight:
        if self.batcher.ahead is not None and any(engine.ahead is not None for engine, _ in jobs):
            return Flight(jobs, self._landed)
        first, ask = jobs[0]
        try:
            if all(engine is first for engine, _ in jobs):
                replies = first.answer([ask for _, ask in jobs])
            else:
                replies = _answer_each(jobs)
        except Exception as error:  # noqa: BLE001 - the callers get it as a status
            return _unanswered(jobs, error)
        ended = self._clock()
        self.batches.append((ended, ended - ask.arrived, len(jobs)))
        return replies

    def _landed(self, jobs: Sequence[Job], answers: Callable[[], list[Encoded]]) -> list[Encoded]:
        try:
            replies = answers()
        except Exception as error:  # noqa: BLE001 - the callers get it as a status
            return _unanswered(jobs, error)
        ended = self._clock()
        self.batches.append((ended, ended - jobs[0][1].arrived, len(jobs)))
        return replies

    def _degraded(self, job: Job, _wait_s: float) -> Encoded:
        engine, ask = job
        self.drops.shed += 1
        return engine.degrade(ask)

    def _rejected(self, job: Job, wait_s: float) -> Encoded:
        self.drops.shed += 1
        self.coverage.unscored(job[1].segment)
        return Overloaded(wait_s)

    def _expired(self, job: Job) -> Encoded:
        self.drops.expired += 1
        self.coverage.unscored(job[1].segment)
        return EXPIRED

    def _forgotten(self, _job: Job) -> None:
        self.drops.cancelled += 1

    def _refused(self, error: Exception, raw: bytes = b"", kind: Any = None) -> RouterError:
        self.drops.invalid += 1
        if isinstance(error, RouterError):
            return error
        if isinstance(error, DecodeError):
            return explain(raw, kind.DESCRIPTOR)
        log.error("a request could not be read: %s", place(error))
        return RouterError("the sidecar failed to read the request; its log says why.")


def _unanswered(jobs: Sequence[Job], error: Exception) -> list[Encoded]:
    log.error("a batch of %d requests could not be answered: %s", len(jobs), place(error))
    return [RouterError("the sidecar failed to answer; its log says why.")] * len(jobs)


def _answer_each(jobs: Sequence[Job]) -> list[Encoded]:
    """Answers a batch of several engines, in its order."""
    answers: list[Encoded] = [b""] * len(jobs)
    for engine in dict.fromkeys(engine for engine, _ in jobs):
        rows = [row for row, (owner, _) in enumerate(jobs) if owner is engine]
        for row, reply in zip(rows, engine.answer([jobs[row][1] for row in rows]), strict=True):
            answers[row] = reply
    return answers


def _more(before: Decisions, engine: Engine) -> Decisions:
    """With what an engine decided."""
    tally = engine.tally
    return Decisions(
        before.decisions + tally.decisions, before.degraded + tally.degraded, before.batches + tally.batches
    )


def _added(some: CacheCounts, more: CacheCounts) -> CacheCounts:
    return CacheCounts(*map(sum, zip(some, more, strict=True)))


class _Group:
    """Gathers the results of one RouteBatch."""

    def __init__(self, size: int, deliver: Deliver, key: Any) -> None:
        self._results = [b""] * size
        self._missing = size
        self._deliver = deliver
        self._key = key

    def put(self, index: int, encoded: Encoded) -> None:
        self._results[index] = delimited(RESULTS, _result(encoded))
        self._missing -= 1
        if self._missing == 0:
            self._deliver(self._key, b"".join(self._results))


def _result(encoded: Encoded) -> bytes:
    if isinstance(encoded, bytes):
        return delimited(RESPONSE, encoded)
    error = pb.RouteError(code=STATUS_NUMBERS[encoded.status], message=str(encoded))
    return delimited(ERROR, error.SerializeToString())


def _stream_response(sequence: int, encoded: Encoded) -> bytes:
    return pb.RouteStreamResponse(sequence=sequence).SerializeToString() + delimited(RESULT, _result(encoded))
