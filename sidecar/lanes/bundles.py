"""BundleService at the edge: operators' calls go to the control process, and events come back from it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sidecar.control.messages import (
    Activate,
    Happened,
    ListBundles,
    Listed,
    Operation,
    Result,
    Rollback,
    State,
    Target,
)
from sidecar.errors import Aborted, BundleError, InvalidRequest, NotFound, RouterError, Unavailable
from sidecar.lanes.lane import Cold, Watch
from sidecar.lanes.malformed import parsed
from sidecar.routing.recorded import Comparison
from sidecar.wire import bundle_pb2 as pb
from sidecar.wire import router_pb2

SERVICE = "router.v1.BundleService"
# Loading a large bundle in all workers, after a trial of a minute.
OPERATION_S = 300.0
MOST_EVENTS = 64
# How often a watch looks whether its caller is still there.
LOOK_S = 1.0
ERRORS: dict[str, type[RouterError]] = {
    error.status: error for error in (Aborted, BundleError, InvalidRequest, NotFound, Unavailable, RouterError)
}


class Bundles:
    """The methods of BundleService.

    Args:
        operate: has the control process do something, within so many seconds.

    Attributes:
        cold: methods of one reply.
        watches: methods of many.
    """

    def __init__(self, operate: Callable[[Operation, float], Result]) -> None:
        self._operate = operate
        self.cold: dict[str, Cold] = {
            f"/{SERVICE}/ListBundles": self._list,
            f"/{SERVICE}/ActivateBundle": self._activate,
            f"/{SERVICE}/RollbackBundle": self._rollback,
        }
        self.watches: dict[str, Watch] = {f"/{SERVICE}/WatchBundles": self._watch}
        self._state = State()
        self._events: deque[tuple[int, Happened]] = deque(maxlen=MOST_EVENTS)
        self._count = 0
        self._news = threading.Condition()
        self._closed = False

    def hear(self, event: Happened | State) -> None:
        """Takes what the control process tells: an event, or what runs."""
        with self._news:
            if isinstance(event, Happened):
                self._state = event.state
                self._count += 1
                self._events.append((self._count, event))
            else:
                self._state = event
            self._news.notify_all()

    def close(self) -> None:
        """Ends all watches."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _list(self, raw: bytes) -> bytes:
        parsed(pb.ListBundlesRequest, raw)
        result = self._done(ListBundles())
        return pb.ListBundlesResponse(
            state=_state(result.state, result.workers), bundles=[_listed(one) for one in result.listed]
        ).SerializeToString()

    def _activate(self, raw: bytes) -> bytes:
        request = parsed(pb.ActivateBundleRequest, raw)
        share = request.canary_share if request.HasField("canary_share") else None
        agreement = request.require_agreement if request.HasField("require_agreement") else None
        if share is not None and not 0.0 < share < 1.0:
            raise InvalidRequest(f"canary_share is {share:g}: give a share above 0 and below 1, or leave it out.")
        if agreement is not None and not 0.0 <= agreement <= 1.0:
            raise InvalidRequest(f"require_agreement is {agreement:g}: give a share between 0 and 1.")
        result = self._done(Activate(request.directory, share, agreement, request.dry_run))
        cost = result.cost
        return pb.ActivateBundleResponse(
            state=_state(result.state, result.workers),
            comparison=_comparison(result.comparison) if result.comparison else None,
            cost=pb.SwapCost(
                gate_ms=cost.gate_s * 1e3,
                prepare_ms=cost.prepare_s * 1e3,
                switch_ms=cost.switch_s * 1e3,
                p99_before_us=cost.p99_before_s * 1e6,
                p99_during_us=cost.p99_during_s * 1e6,
            ),
        ).SerializeToString()

    def _rollback(self, raw: bytes) -> bytes:
        parsed(pb.RollbackBundleRequest, raw)
        result = self._done(Rollback())
        return pb.RollbackBundleResponse(
            state=_state(result.state, result.workers), switch_ms=result.cost.switch_s * 1e3
        ).SerializeToString()

    def _done(self, operation: Operation) -> Result:
        result = self._operate(operation, OPERATION_S)
        if result.status != "OK":
            raise ERRORS.get(result.status, RouterError)(result.error)
        return result

    def _watch(self, raw: bytes, here: Callable[[], bool]) -> Iterator[bytes]:
        parsed(pb.WatchBundlesRequest, raw)
        with self._news:
            seen, state = self._count, self._state
        yield _event(time.time(), "SNAPSHOT", "what runs now", state)
        while here() and not self._closed:
            with self._news:
                self._news.wait_for(lambda: self._count > seen or self._closed, LOOK_S)  # noqa: B023 - called at once
                news = [event for number, event in self._events if number > seen]
                seen = self._count
            for event in news:
                yield _event(event.unix_s, event.event, event.message, event.state)


def _event(unix_s: float, name: str, message: str, state: State) -> bytes:
    told = pb.WatchBundlesResponse(event=f"BUNDLE_EVENT_{name}", message=message, state=_state(state, 0))
    told.time.FromNanoseconds(int(unix_s * 1e9))
    return told.SerializeToString()


def _state(state: State, workers: int) -> pb.BundleState:
    return pb.BundleState(
        running=_running(state.running),
        previous=_running(state.previous),
        canary=_running(state.canary),
        canary_share=state.share,
        workers=workers,
    )


def _running(target: Target | None) -> pb.RunningBundle | None:
    if target is None:
        return None
    return pb.RunningBundle(
        directory=Path(target.directory).name, version=target.version, manifest_sha256=target.digest
    )


def _listed(one: Listed) -> pb.ListedBundle:
    bundle = router_pb2.BundleInfo(name=one.name, version=one.version, family=one.family, manifest_sha256=one.digest)
    return pb.ListedBundle(directory=one.directory, bundle=None if one.refusal else bundle, refusal=one.refusal)


def _comparison(found: Comparison) -> pb.Comparison:
    before, after = found.before, found.after
    names: Sequence[str] = sorted({*before.share, *after.share})
    return pb.Comparison(
        requests=found.requests,
        agreement=found.agreement,
        candidates=[
            pb.CandidateShare(candidate=name, before=before.share.get(name, 0.0), after=after.share.get(name, 0.0))
            for name in names
        ],
        cost_usd_before=before.mean_cost_usd,
        cost_usd_after=after.mean_cost_usd,
        quality_before=before.mean_quality,
        quality_after=after.mean_quality,
    )
