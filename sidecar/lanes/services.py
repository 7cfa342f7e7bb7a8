"""What every transport serves: bytes in, bytes or errors out, the same to the letter."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from sidecar.batching import Batcher, Caller
from sidecar.batching import Bounds as BatchBounds
from sidecar.config import SEGMENT_KEY, Config
from sidecar.coverage import Coverage
from sidecar.engine.admission import Admission, Bounds
from sidecar.engine.allowance import Allowance
from sidecar.errors import InvalidRequest, RouterError, TooLarge
from sidecar.faults import place
from sidecar.lanes import peek
from sidecar.lanes.answers import Answers
from sidecar.lanes.canary import Canary
from sidecar.lanes.engine import Engine
from sidecar.lanes.flight import Job, Slowest
from sidecar.lanes.lane import SERVICE, Call, Cold, Deliver, Encoded, Hot, Take, Watch
from sidecar.lanes.malformed import explain
from sidecar.lanes.results import BatchResult, stream_response
from sidecar.lanes.versions import Decisions, Versions
from sidecar.scoring.cache import CacheCounts
from sidecar.wire import router_pb2 as pb

log = logging.getLogger(__name__)

ROUTE, ROUTE_BATCH, ROUTE_STREAM, REPORT_OUTCOME, INFO = (
    f"/{SERVICE}/{method}" for method in ("Route", "RouteBatch", "RouteStream", "ReportOutcome", "Info")
)

# Unused allowance for degraded answers is saved up for so many seconds.
SAVED_S = 1.0
# A call needs about a flush from its turn to its answer, and a margin; learned from so much of each new one.
NEED_MARGIN, TURN_LEARNING = 1.5, 0.1
# For so long after calls waited for their turn it counts as if they still did.
CROWDED_S = 0.1
# Reports of outcomes take turns with the segments of a connection under this name.
OUTCOMES = "(outcomes)"

_Add = Callable[[Job, Deliver, Any, Caller, str], None]
_Method = Callable[[bytes, Deliver, Any, Caller, _Add], None]


def _reply(call: Call, encoded: Encoded) -> None:
    call.reply(encoded)


class _Switch:
    """What the transport's thread is asked to change between two batches.

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
    """The hot methods over one batcher, and what else a transport serves.

    Only `switch` and what only reads may be used from other threads than the transport's.

    Args:
        config: limits.
        engine: the first one.
        coverage: the one that the engines count in.
        clock: monotonic seconds; deadlines of calls are readings of it.
        on_fault: called with the running engine's fault whenever it changes, or when another engine takes over.

    Attributes:
        engine: the one that runs.
        canary: who decides a share of the requests in its place, if anybody.
        drops: requests that got no decision of their own.
        batches: see Answers.
        admission: calls that wait unparsed.
        batcher: what was parsed and not yet answered.
        between: called after each batch, and now and then when none comes.
    """

    def __init__(
        self,
        config: Config,
        engine: Engine,
        coverage: Coverage,
        *,
        clock: Callable[[], float],
        on_fault: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self.engine = engine
        self.canary: Canary | None = None
        self.on_fault = on_fault
        self._busy_since: float | None = None
        self._clock = clock
        self._max_batch_items = config.max_batch_items
        overload = config.overload
        self._answers = answers = Answers(coverage, clock)
        self.drops, self.batches = answers.drops, answers.batches
        self._allowance = Allowance(
            overload.degrade_share if overload.action == "degrade" else 0.0,
            overload.degrade_share * SAVED_S if overload.action == "degrade" else 0.0,
            clock,
        )
        # A few bytes tell a segment only where it is what the caller names.
        self._peeks = tuple(config.segment_keys) == (SEGMENT_KEY,)
        self._batch_calls = config.max_score_batch
        self._crowded_until = 0.0
        self._turn_s = 0.0  # that a flush takes while calls wait for their turn
        queue_s = overload.max_queue_ms / 1000.0
        self.admission: Admission[Call] = Admission(
            Bounds(config.max_score_batch, overload.max_waiting, overload.max_waiting_bytes, queue_s),
            segment_of=lambda call: call.method.segment(call.raw),
            shed=self._shed,
            expire=self._expire,
            forget=lambda _call, _segment: answers.forget(),
        )
        self.batcher: Batcher[Job, Encoded] = Batcher(
            answers.answer,
            BatchBounds(config.max_score_batch, overload.max_waiting, queue_s),
            clock=clock,
            unix=clock,
            shed=self._shed_job,
            expire=answers.expire,
            forget=answers.forget,
        )
        self.unary: dict[str, Hot] = {
            ROUTE: Hot(self._taker(self._route), peek.segment_of_route, self._degrader(self._route), scores=True),
            ROUTE_BATCH: Hot(self._taker(self._batch), peek.segment_of_batch, self._degrader(self._batch), scores=True),
        }
        self.streams: dict[str, Hot] = {
            ROUTE_STREAM: Hot(
                self._taker(self._stream),
                peek.segment_of_stream,
                self._degrader(self._stream),
                lambda raw, error: stream_response(peek.sequence_of(raw), error),
                scores=True,
            )
        }
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
    def ready(self) -> bool:
        """True if a flush would answer anything, or begin to."""
        return self.batcher.ready or (len(self.admission) > 0 and self.batcher.room > 0)

    @property
    def busy_since(self) -> float | None:
        """Since when one batch has been worked on, by the transport's thread or by the one that runs the model, or None."""
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
        """Takes reports of outcomes as well; `outcomes` may raise. Before the transport is made."""

        def report(raw: bytes, deliver: Deliver, key: Any, caller: Caller) -> None:
            try:
                outcomes(raw, deliver, key, caller)
            except Exception as error:  # noqa: BLE001 - the caller gets it as a status
                deliver(key, self._refused(error, raw, pb.ReportOutcomeRequest))

        self.unary[REPORT_OUTCOME] = Hot(report, lambda _raw: OUTCOMES)

    def offer(self, call: Call) -> None:
        """Takes a call of a hot method; see Services."""
        self.admission.offer(call)

    @property
    def crowded(self) -> bool:
        """True while calls wait for their turn, and for a moment after: all that waited may just have been dropped."""
        return self.admission.crowded or self._clock() < self._crowded_until

    def turn_away(self, method: Hot, calls: int) -> RouterError:
        """Counts calls of a method that are refused unread; see Services."""
        return self._answers.reject_unread(peek.UNREAD if method.scores else None, self._wait_s(), calls)

    def flush(self) -> None:
        """Parses calls whose turn it is, answers one batch; then changes what is asked to be changed."""
        began = self._busy_since = self._clock()
        batcher, admission = self.batcher, self.admission
        if len(admission) > self._batch_calls:
            self._crowded_until = began + CROWDED_S
        if admission and (room := batcher.room) > 0:
            need_s = self._turn_s * NEED_MARGIN + batcher.flight_s if admission.crowded else 0.0
            calls = admission.take(room, began, need_s)
            for number, call in enumerate(calls, 1):
                call.method.take(call.raw, _reply, call, call)
                if number < len(calls) and batcher.room <= 0:
                    admission.put_back(calls[number:])
                    break
        batcher.flush()
        self._busy_since = None
        if admission.crowded:
            took_s = self._clock() - began
            self._turn_s += (took_s - self._turn_s) * (TURN_LEARNING if self._turn_s else 1.0)
        self.between()
        if self._switch is not None:
            with self._changing:
                if self._switch is not None:  # else whoever asked for it took it back just now
                    self._change(self._switch)

    def _shed(self, call: Call, segment: str) -> None:
        """Answers a call that is beyond the bounds: degraded while the allowance lasts, else rejected unparsed."""
        method = call.method
        if method.degrade is not None and self._allowance.open():
            began = self._clock()
            method.degrade(call.raw, _reply, call, call)
            self._allowance.spend(self._clock() - began)
            return
        error = self._answers.reject_unread(self._counted(method, segment), self._wait_s())
        call.reply(method.refuse(call.raw, error))

    def _wait_s(self) -> float:
        """Seconds until all that waits unparsed would be answered."""
        return len(self.admission) / self._batch_calls * self._turn_s

    def _expire(self, call: Call, segment: str) -> None:
        method = call.method
        call.reply(method.refuse(call.raw, self._answers.expire_unread(self._counted(method, segment))))

    def _counted(self, method: Hot, segment: str) -> str | None:
        """The segment under which coverage counts an unparsed call; None if it is none that is scored."""
        if not method.scores:
            return None
        return segment if self._peeks else peek.UNREAD

    def _shed_job(self, job: Job, wait_s: float) -> Encoded:
        if not self._allowance.open():
            return self._answers.reject(job, wait_s)
        began = self._clock()
        reply = self._answers.degrade(job, wait_s)
        self._allowance.spend(self._clock() - began)
        return reply

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

    def _taker(self, method: "_Method") -> Take:
        """Takes messages of a method: their requests wait for a batch."""
        return lambda raw, deliver, key, caller: method(raw, deliver, key, caller, self.batcher.add)

    def _degrader(self, method: "_Method") -> Take:
        """Takes messages of a method: their requests are answered without scoring, at once."""

        def degrade(job: Job, deliver: Deliver, key: Any, _caller: Caller, _segment: str) -> None:
            deliver(key, self._answers.degrade(job, 0.0))

        return lambda raw, deliver, key, caller: method(raw, deliver, key, caller, degrade)

    def _route(self, raw: bytes, deliver: Deliver, key: Any, caller: Caller, add: "_Add") -> None:
        """From the bytes of a RouteRequest to those of a RouteResponse."""
        arrived = self._clock()
        try:
            request = pb.RouteRequest.FromString(raw)
            engine = self.engine if self.canary is None else self.canary.pick(request, self.engine)
            ask = engine.intake(request, arrived)
        except Exception as error:  # noqa: BLE001 - the caller gets it as a status
            deliver(key, self._refused(error, raw, pb.RouteRequest))
            return
        add((engine, ask), deliver, key, caller, ask.segment)

    def _batch(self, raw: bytes, deliver: Deliver, key: Any, caller: Caller, add: "_Add") -> None:
        """From the bytes of a RouteBatchRequest to those of a RouteBatchResponse."""
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
                add((engine, ask), group.put, index, caller, ask.segment)

    def _stream(self, raw: bytes, deliver: Deliver, key: Any, caller: Caller, add: "_Add") -> None:
        """From the bytes of a RouteStreamRequest to those of a RouteStreamResponse, errors inside it."""
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
        add((engine, ask), answered, key, caller, ask.segment)

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
