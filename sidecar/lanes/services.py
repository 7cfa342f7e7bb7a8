"""What both lanes serve: bytes in, bytes or errors out, the same to the letter."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from sidecar.batching import Batcher, Bounds, Caller
from sidecar.config import Config
from sidecar.coverage import Coverage
from sidecar.errors import InvalidRequest, RouterError, TooLarge
from sidecar.faults import place
from sidecar.lanes.answers import Answers
from sidecar.lanes.canary import Canary
from sidecar.lanes.engine import Engine
from sidecar.lanes.flight import Job, Slowest
from sidecar.lanes.lane import SERVICE, Cold, Deliver, Encoded, Take, Watch
from sidecar.lanes.malformed import explain
from sidecar.lanes.results import BatchResult, stream_response
from sidecar.lanes.versions import Decisions, Versions
from sidecar.scoring.cache import CacheCounts
from sidecar.wire import router_pb2 as pb

log = logging.getLogger(__name__)

ROUTE, ROUTE_BATCH, ROUTE_STREAM, REPORT_OUTCOME, INFO = (
    f"/{SERVICE}/{method}" for method in ("Route", "RouteBatch", "RouteStream", "ReportOutcome", "Info")
)


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

    Attributes:
        engine: the one that runs.
        canary: who decides a share of the requests in its place, if anybody.
        drops: requests that got no decision of their own.
        batches: see Answers.
        batcher: what was taken and not yet answered.
        busy_s: seconds that the latest flush took.
        between: called after each batch, and now and then when none comes.
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
        self.on_fault = on_fault
        self._busy_since: float | None = None
        self.busy_s = 0.0
        self._clock = clock
        self._max_batch_items = config.max_batch_items
        overload = config.overload
        self._answers = answers = Answers(coverage, clock)
        self.drops, self.batches = answers.drops, answers.batches
        self.unread = answers.unread
        self.batcher: Batcher[Job, Encoded] = Batcher(
            answers.answer,
            Bounds(config.max_score_batch, overload.max_waiting, overload.max_queue_ms / 1000.0),
            clock=clock,
            unix=unix,
            shed=answers.degrade if overload.action == "degrade" else answers.reject,
            expire=answers.expire,
            forget=answers.forget,
        )
        self.unary: dict[str, Take] = {ROUTE: self.route, ROUTE_BATCH: self.route_batch}
        self.streams: dict[str, Take] = {ROUTE_STREAM: self.route_stream}
        self.cold: dict[str, Cold] = {}
        self.watches: dict[str, Watch] = {}
        self._pace_batches()
        self.between: Callable[[], None] = lambda: None
        self._switch: _Switch | None = None
        # Held while something changes, and by other threads that must not look in the midst of it. Not on the hot path.
        self._changing = threading.Lock()
        self._outgoing: set[Engine] = set()
        self._versions = Versions()

    @property
    def busy_since(self) -> float | None:
        """Since when one batch has been worked on, by the lane's thread or by the one that runs the model, or None."""
        begun = [at for at in (self._busy_since, self.batcher.flying_since) if at is not None]
        return min(begun, default=None)

    def decisions(self) -> dict[str, Decisions]:
        """What each version decided since the start, the running ones last. From any thread."""
        with self._changing:
            return self._versions.decisions(self._at_work())

    def cache(self) -> CacheCounts:
        """What the score caches of all engines were good for since the start. From any thread."""
        with self._changing:
            return self._versions.cache(self._at_work())

    def _at_work(self) -> Iterable[Engine]:
        return dict.fromkeys((*self._outgoing, *self._running()))

    def _running(self) -> list[Engine]:
        canary = self.canary
        return [self.engine, canary.engine] if canary else [self.engine]

    def listen(self, outcomes: Take) -> None:
        """Takes reports of outcomes as well; `outcomes` may raise. Before the lane is made."""

        def report(raw: bytes, deliver: Deliver, key: Any, caller: Caller) -> None:
            try:
                outcomes(raw, deliver, key, caller)
            except Exception as error:  # noqa: BLE001 - the caller gets it as a status
                deliver(key, self._refused(error, raw, pb.ReportOutcomeRequest))

        self.unary[REPORT_OUTCOME] = report

    def flush(self) -> None:
        """Answers one batch of what waits; between two batches also changes what is asked to be changed."""
        began = self._busy_since = self._clock()
        self.batcher.flush()
        self._busy_since = None
        self.busy_s = self._clock() - began
        self.between()
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
            self._versions.retire(engine)
        self._outgoing = set()
        self._switch = None
        switch.done.set()

    def _pace_batches(self) -> None:
        scorers = [engine.ahead for engine in self._running() if engine.ahead is not None]
        self.batcher.ahead = Slowest(scorers) if scorers else None
        self._answers.ahead = bool(scorers)

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
        group = BatchResult(len(requests), deliver, key)
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
            deliver(key, stream_response(sequence, self._refused(error, raw, pb.RouteStreamRequest)))
            return
        answered: Deliver = lambda to, encoded: deliver(to, stream_response(sequence, encoded))  # noqa: E731
        self.batcher.add((engine, ask), answered, key, caller, ask.segment)

    def _items(self, raw: bytes) -> Sequence[pb.RouteRequest]:
        requests = pb.RouteBatchRequest.FromString(raw).requests
        if not requests:
            raise InvalidRequest("requests is empty: send at least one request.")
        if len(requests) > self._max_batch_items:
            raise TooLarge(f"requests: {len(requests)} items; send at most {self._max_batch_items} in one call.")
        return requests

    def _refused(self, error: Exception, raw: bytes = b"", kind: Any = None) -> RouterError:
        self.drops.invalid += 1
        if isinstance(error, RouterError):
            return error
        if isinstance(error, DecodeError):
            return explain(raw, kind.DESCRIPTOR)
        log.error("a request could not be read: %s", place(error))
        return RouterError("the sidecar failed to read the request; its log says why.")
