import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from sidecar.config import Config
from sidecar.control.messages import (
    Activate,
    Cost,
    Event,
    Happened,
    ListBundles,
    Listed,
    Operation,
    Result,
    Rollback,
    State,
    Target,
)
from sidecar.errors import InvalidRequest, RouterError, Unavailable
from sidecar.lanes.bundles import MOST_EVENTS, Bundles
from sidecar.routing.recorded import Comparison, Figures
from sidecar.server import Server
from sidecar.wire import bundle_pb2 as pb
from sidecar.wire import bundle_pb2_grpc as rpc

ONE = Target("/registry/v1", "tiny 1", "11" * 32)
TWO = Target("/registry/v2", "tiny 2", "22" * 32)
STATE = State(TWO, ONE)


class Operator:
    """Stands for the control process."""

    def __init__(self, result: Result | RouterError) -> None:
        self.result = result
        self.asked: list[Operation] = []

    def __call__(self, operation: Operation, patience_s: float) -> Result:
        assert patience_s > 0
        self.asked.append(operation)
        if isinstance(self.result, RouterError):
            raise self.result
        return self.result


def call(bundles: Bundles, method: str, request: Any) -> bytes:
    return bundles.cold[f"/router.v1.BundleService/{method}"](request.SerializeToString())


def happened(message: str, event: Event = "ACTIVATED", state: State = STATE) -> Happened:
    return Happened(12.5, event, message, state)


def watch(bundles: Bundles, here: Any = lambda: True) -> Iterator[pb.WatchBundlesResponse]:
    method = bundles.watches["/router.v1.BundleService/WatchBundles"]
    return map(pb.WatchBundlesResponse.FromString, method(b"", here))


def test_a_list_tells_what_runs_and_what_is_refused() -> None:
    listed = (Listed("v1", "tiny", "1", "static", "11" * 32), Listed("bad", refusal="manifest.json: is missing"))
    operator = Operator(Result(1, state=STATE, workers=3, listed=listed))
    reply = pb.ListBundlesResponse.FromString(call(Bundles(operator), "ListBundles", pb.ListBundlesRequest()))
    assert operator.asked == [ListBundles()]
    assert (reply.state.running.directory, reply.state.previous.directory, reply.state.workers) == ("v2", "v1", 3)
    assert reply.state.running.manifest_sha256 == TWO.digest
    assert not reply.state.HasField("canary")
    sound, bad = reply.bundles
    assert (sound.directory, sound.bundle.version, sound.refusal) == ("v1", "1", "")
    assert (bad.HasField("bundle"), bad.refusal) == (False, "manifest.json: is missing")


def test_an_activation_is_passed_on_and_its_cost_and_comparison_come_back() -> None:
    before = Figures(share={"small": 1.0}, mean_quality=0.5, mean_cost_usd=0.1, undecided=0, unscored=0)
    after = Figures(share={"small": 0.25, "large": 0.75}, mean_quality=0.7, mean_cost_usd=0.3, undecided=0, unscored=0)
    comparison = Comparison(requests=8, agreement=0.25, before=before, after=after)
    cost = Cost(1.0, 0.5, 0.25, 0.001, 0.002)
    operator = Operator(Result(1, state=STATE, workers=2, comparison=comparison, cost=cost))
    request = pb.ActivateBundleRequest(directory="v2", canary_share=0.25, require_agreement=0.5, dry_run=True)
    reply = pb.ActivateBundleResponse.FromString(call(Bundles(operator), "ActivateBundle", request))
    assert operator.asked == [Activate("v2", 0.25, 0.5, dry_run=True)]
    assert (reply.cost.gate_ms, reply.cost.prepare_ms, reply.cost.switch_ms) == (1000, 500, 250)
    assert (reply.cost.p99_before_us, reply.cost.p99_during_us) == (1000, 2000)
    assert (reply.comparison.requests, reply.comparison.agreement) == (8, 0.25)
    shares = {row.candidate: (row.before, row.after) for row in reply.comparison.candidates}
    assert shares == {"small": (1.0, 0.25), "large": (0.0, 0.75)}
    assert (reply.comparison.quality_after, reply.comparison.cost_usd_before) == (0.7, 0.1)


def test_what_is_left_out_is_none() -> None:
    operator = Operator(Result(1))
    call(Bundles(operator), "ActivateBundle", pb.ActivateBundleRequest(directory="v2"))
    call(Bundles(operator), "RollbackBundle", pb.RollbackBundleRequest())
    assert operator.asked == [Activate("v2", None, None), Rollback()]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"canary_share": 0.0}, "canary_share is 0"),
        ({"canary_share": 1.0}, "canary_share is 1"),
        ({"canary_share": float("nan")}, "canary_share is nan"),
        ({"require_agreement": -0.1}, "require_agreement is -0.1"),
        ({"require_agreement": float("nan")}, "require_agreement is nan"),
    ],
)
def test_shares_out_of_bounds_get_no_further(fields: dict[str, Any], words: str) -> None:
    operator = Operator(Result(1))
    with pytest.raises(InvalidRequest, match=words):
        call(Bundles(operator), "ActivateBundle", pb.ActivateBundleRequest(directory="v2", **fields))
    assert operator.asked == []


@pytest.mark.parametrize("method", ["ListBundles", "ActivateBundle", "RollbackBundle"])
def test_malformed_bytes_are_an_invalid_request(method: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{method}Request"):
        Bundles(Operator(Result(1))).cold[f"/router.v1.BundleService/{method}"](b"\xff")


@pytest.mark.parametrize(
    "status", ["ABORTED", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE", "INTERNAL"]
)
def test_a_status_of_the_control_process_is_the_calls(status: str) -> None:
    with pytest.raises(RouterError, match="it said so") as caught:
        call(Bundles(Operator(Result(1, status, "it said so"))), "RollbackBundle", pb.RollbackBundleRequest())
    assert caught.value.status == status


def test_without_a_control_process_the_call_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        call(Bundles(Operator(Unavailable("gone"))), "ListBundles", pb.ListBundlesRequest())


def test_a_watch_begins_with_what_runs_and_goes_on_with_every_event_in_order() -> None:
    bundles = Bundles(Operator(Result(1)))
    bundles.hear(STATE)
    bundles.hear(happened("before the watch"))
    replies = watch(bundles)
    first = next(replies)
    assert first.event == pb.BUNDLE_EVENT_SNAPSHOT
    assert (first.state.running.directory, first.state.previous.directory) == ("v2", "v1")
    bundles.hear(happened("first"))
    bundles.hear(happened("second", "ROLLED_BACK", State(ONE, TWO)))
    told = [next(replies), next(replies)]
    assert [(one.event, one.message) for one in told] == [
        (pb.BUNDLE_EVENT_ACTIVATED, "first"),
        (pb.BUNDLE_EVENT_ROLLED_BACK, "second"),
    ]
    assert told[1].state.running.directory == "v1"
    assert told[0].time.ToNanoseconds() == 12_500_000_000
    bundles.close()
    assert list(replies) == []


def test_an_event_during_the_snapshot_is_not_missed() -> None:
    bundles = Bundles(Operator(Result(1)))
    replies = watch(bundles)
    next(replies)
    for number in range(MOST_EVENTS):
        bundles.hear(happened(str(number)))
    assert [next(replies).message for _ in range(MOST_EVENTS)] == [str(number) for number in range(MOST_EVENTS)]
    bundles.close()


def test_a_watch_ends_when_its_caller_is_gone() -> None:
    bundles = Bundles(Operator(Result(1)))
    here = [True]
    replies = watch(bundles, lambda: here[0])
    next(replies)
    here[0] = False
    bundles.hear(happened("nobody hears it"))
    assert list(replies) == []


def test_a_watch_that_waits_is_woken_by_an_event_and_by_the_end() -> None:
    bundles = Bundles(Operator(Result(1)))
    heard: list[str] = []
    one = threading.Event()

    def listen() -> None:
        for reply in watch(bundles):
            heard.append(reply.message)
            one.set()

    listener = threading.Thread(target=listen)
    listener.start()
    assert one.wait(30)
    one.clear()
    bundles.hear(happened("news"))
    assert one.wait(30)
    bundles.close()
    listener.join(30)
    assert not listener.is_alive()
    assert heard == ["what runs now", "news"]


@pytest.fixture
def operator() -> Operator:
    return Operator(Result(1, state=STATE, workers=1))


@pytest.fixture
def bundles(operator: Operator) -> Bundles:
    return Bundles(operator)


@pytest.fixture
def stub(bundles: Bundles, transport: str, tiny_bundle: Any) -> Iterator[Any]:
    """BundleService over a real connection."""
    config = Config(transport=transport, bundle=str(tiny_bundle), listen="127.0.0.1:0", drain_seconds=5.0)  # type: ignore[arg-type]
    server = Server(config, cold=bundles.cold, watches=bundles.watches)
    with grpc.insecure_channel(server.start()) as channel:
        yield rpc.BundleServiceStub(channel)  # type: ignore[no-untyped-call]
    bundles.close()
    server.drain()


def test_over_a_lane_a_status_arrives_with_its_words(stub: Any, operator: Operator) -> None:
    assert stub.ListBundles(pb.ListBundlesRequest(), timeout=30).state.workers == 1
    operator.result = Result(1, "ABORTED", "nothing is changed")
    with pytest.raises(grpc.RpcError) as caught:
        stub.ActivateBundle(pb.ActivateBundleRequest(directory="v2"), timeout=30)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.ABORTED, "nothing is changed")


def test_over_a_lane_a_watch_hears_events_and_leaves_its_place_when_it_hangs_up(stub: Any, bundles: Bundles) -> None:
    for number in range(5):  # more than there are places
        calls = stub.WatchBundles(pb.WatchBundlesRequest(), timeout=60, wait_for_ready=True)
        while True:
            try:
                assert next(calls).event == pb.BUNDLE_EVENT_SNAPSHOT
                break
            except grpc.RpcError as error:  # the place of one that hung up just now
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017
                calls = stub.WatchBundles(pb.WatchBundlesRequest(), timeout=60)
        bundles.hear(happened(str(number)))
        assert next(calls).message == str(number)
        calls.cancel()


def test_over_a_lane_too_many_watches_are_refused_and_the_end_ends_them(stub: Any, bundles: Bundles) -> None:
    calls = [stub.WatchBundles(pb.WatchBundlesRequest(), timeout=60) for _ in range(2)]
    assert [next(each).event for each in calls] == [pb.BUNDLE_EVENT_SNAPSHOT] * 2
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.WatchBundles(pb.WatchBundlesRequest(), timeout=60))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    bundles.close()
    assert [list(each) for each in calls] == [[], []]
