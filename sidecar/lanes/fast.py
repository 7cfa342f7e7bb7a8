"""The fast lane: hot methods on a completion queue of their own, everything else on the public grpc.server, one port.

The public server spends most of a call's time in Python around the C core: locks, a thread hand-over, objects for each
call. Here one thread polls a second completion queue of the same C server, where only the hot methods arrive. Draining
the queue until it is momentarily empty *is* the batching.

This uses grpcio's private Cython layer (see private). Where the installed grpcio lacks what is needed, the portable lane
serves.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sidecar.faults import place
from sidecar.lanes.calls import FOREVER, StreamCall, UnaryCall, refuse
from sidecar.lanes.entrance import Entrance
from sidecar.lanes.lane import Services, Take, bound
from sidecar.lanes.private import cygrpc
from sidecar.lanes.public import PublicServer
from sidecar.lanes.roles import role_of

log = logging.getLogger(__name__)

# Calls that the core may hand over before the loop asks again; the core queues what is above.
STANDING_REQUESTS = 64
# Events after which a request is answered though the queue never falls silent: a flood of calls that are refused at
# once must not keep others waiting.
MOST_EVENTS = 256
# The loop cannot be woken, so while it is idle it looks this often whether something is to be changed between batches.
IDLE_S = 0.02
# The time that a call needs is learned from so much of each new one, times a margin; see FastLane._leave.
NEED_LEARNING, NEED_MARGIN, NEED_DECAY = 0.05, 1.5, 0.995
# Only while the queue has had no silent moment for so long is anything left: else what was learned may be out of date.
BUSY_S = 0.01
# The server has stopped by then; what is left is to read the events of its calls.
JOIN_SECONDS = 5.0


class FastLane:
    """Serves hot methods from one thread; see Lane.

    Args:
        services: what is served.
        entrance: how calls get in.
        fault: why nothing is scored at the start; empty if scoring works.
    """

    name = "fast"

    def __init__(self, services: Services, entrance: Entrance, fault: str = "") -> None:
        self._services = services
        self._entrance = entrance
        self._batcher = services.batcher
        self._public = PublicServer(services, entrance, fault)
        self._core = self._public.server._cy_server  # type: ignore[attr-defined]  # noqa: SLF001 - the point of this lane
        self._queue = cygrpc.CompletionQueue()
        self._core.register_completion_queue(self._queue)
        for path in (*services.unary, *services.streams):
            self._core.register_method(path)
        self._due = 0  # events that the queue owes us
        # What a call with a deadline needs from its acceptance to its reply, as measured, and a margin.
        self._need_s = 0.0
        self._silent = 0.0  # when the queue last was
        self._left: deque[tuple[float, Any]] = deque()
        self.thread = threading.Thread(target=self._serve, name="fast-lane", daemon=True)

    def start(self, listen: str) -> str:
        """See Lane."""
        port = self._entrance.add_port(self._public.server, listen)
        self._public.server.start()
        for path, take in self._services.unary.items():
            for _ in range(STANDING_REQUESTS):
                self._ask_for(path, UnaryCall, take)
        for path, take in self._services.streams.items():
            self._ask_for(path, StreamCall, take)
        self.thread.start()
        return bound(listen, port)

    def report(self, name: str, serving: bool) -> None:  # noqa: FBT001 - see Lane
        """See Lane."""
        self._public.report(name, serving)

    def drain(self, grace: float) -> None:
        """See Lane."""
        self._public.stop(grace)
        self.thread.join(JOIN_SECONDS)

    def _ask_for(self, path: str, kind: type[UnaryCall | StreamCall], take: Take) -> None:
        admission, now, clock = self._entrance.admission, time.time, time.perf_counter
        admit = admission.keeper(role_of(path)) if admission else None

        def accept_all(event: Any) -> None:
            if event.success:
                with suppress(ValueError):  # the server has begun to stop
                    request()
                admit_in_time(event)

        def admit_in_time(event: Any) -> None:
            expires = event.call_details.deadline
            if expires < FOREVER and expires - now() < self._need_s and clock() - self._silent > BUSY_S:
                self._leave(event.call, expires)
            else:
                kind(self, event.call, take, expires)

        def accept_checked(event: Any) -> None:
            if event.success:
                with suppress(ValueError):
                    request()
                error = admit(event.invocation_metadata)  # type: ignore[misc]  # not None here
                if error is None:
                    admit_in_time(event)
                else:
                    refuse(self, event.call, error)

        accept = accept_all if admit is None else accept_checked

        def request() -> None:
            self._core.request_registered_call(self._queue, self._queue, path, accept)
            self._due += 1

        request()

    def _leave(self, call: Any, expires: float) -> None:
        """Lets a call expire unread, which costs a fraction of an answer that would come too late.

        Where calls come to us nearly expired since they queued elsewhere, working for all of them would serve none.
        """
        self._services.unread()
        self._need_s *= NEED_DECAY  # if all are left, nothing is measured any more: try again with less
        self._left.append((expires, call))  # given up before, it would end as CANCELLED

    def served(self, seconds: float) -> None:
        """Learns what a call with a deadline needed."""
        self._need_s += (NEED_MARGIN * seconds - self._need_s) * NEED_LEARNING

    def start_batch(self, call: Any, operations: tuple[Any, ...], tag: Any) -> None:
        """Starts operations on a call; `tag(event)` is called when they are done."""
        if call.start_server_batch(operations, tag) == cygrpc.CallError.ok:
            self._due += 1  # else the call is over and no event will come

    def resume(self, call: Any, then: Callable[[], None] | None = None) -> Callable[[], None]:
        """A function that any thread may call, once; the loop does `then`, or flushes. The call must not be over before.

        An empty batch of operations is done at once, and its event wakes the loop, which nothing else outside can.
        """
        self._due += 1

        def wake() -> None:
            call.start_server_batch((), lambda _event: todo())

        todo = then or self._flush
        return wake

    def _serve(self) -> None:
        poll, batcher, services, now, clock = (
            self._queue.poll,
            self._batcher,
            self._services,
            time.time,
            time.perf_counter,
        )
        timeout = cygrpc.CompletionType.queue_timeout
        patience, enough = MOST_EVENTS, 0.0
        while self._due or batcher:  # what waits to be answered owes no event
            event = poll(0.0 if batcher.ready else now() + IDLE_S)
            if event.completion_type == timeout:
                self._flush()
                self._silent = clock()
                patience, enough = MOST_EVENTS, self._silent + services.busy_s
                continue
            self._due -= 1
            try:
                event.tag(event)
            except Exception as error:  # noqa: BLE001 - one call must not end the others
                log.error("the fast lane failed on an event; the call is lost, the lane lives: %s", place(error))  # noqa: TRY400
            # A reference to a finished call keeps the core from closing its connection.
            event = None
            patience -= 1
            # Where more comes than can be answered, half of the time goes into taking it in.
            if not patience or (batcher.full and clock() >= enough):
                self._flush()
                patience, enough = MOST_EVENTS, clock() + services.busy_s
        self._queue.shutdown()
        while self._queue.poll().completion_type != cygrpc.CompletionType.queue_shutdown:
            pass

    def _flush(self) -> None:
        left = self._left
        if left:
            now = time.time()
            while left and left[0][0] < now:
                left.popleft()
        try:
            self._services.flush()
        except Exception as error:  # noqa: BLE001 - one batch must not end the others
            log.error("the fast lane failed to deliver a batch; the lane lives: %s", place(error))  # noqa: TRY400
