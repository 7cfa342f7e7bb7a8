import numpy as np
import pytest

from benchmarks.client import OK
from benchmarks.samples import Samples
from benchmarks.stages import decode, queueing_s, stages, waiting_s
from sidecar.wire import router_pb2 as pb


def reply(size: int, total: int = 100, *reasons: pb.Reason) -> pb.RouteResponse:
    timings = pb.Timings(
        intake_us=1, queue_us=2, tokenize_us=3, score_us=4, decide_us=5, total_us=total, batch_size=size
    )
    return pb.RouteResponse(reasons=reasons, timings=timings)


def test_the_mean_batch_is_a_mean_over_batches_not_over_requests() -> None:
    # One batch of 8 and two of 1: three batches for ten requests.
    assert stages([reply(8)] * 8 + [reply(1)] * 2)["mean_batch"] == pytest.approx(10 / 3, abs=0.01)


def test_every_stage_has_its_percentiles() -> None:
    row = stages([reply(1, total) for total in range(1, 201)])
    assert (row["intake_p50_us"], row["queue_p50_us"], row["tokenize_p99_us"]) == (1.0, 2.0, 3.0)
    assert (row["score_p50_us"], row["decide_p50_us"]) == (4.0, 5.0)
    assert (row["total_p50_us"], row["total_p99_us"]) == (100.0, 198.0)


def test_degraded_replies_lower_the_coverage() -> None:
    row = stages([reply(1, 1, pb.REASON_DEGRADED)] + [reply(1, 1, pb.REASON_LEARNED)] * 3)
    assert row["degraded_share"] == 0.25
    assert row["coverage"] == 0.75


def test_without_replies_there_are_no_figures() -> None:
    row = stages([])
    assert row["total_p50_us"] is None
    assert row["mean_batch"] is None
    assert row["coverage"] is None


def test_only_good_replies_are_decoded() -> None:
    body = reply(2).SerializeToString()
    times = np.zeros(3)
    run = Samples(times, times, times, np.array([OK, 3, OK]), [body, b"", body], 1.0)
    assert [good.timings.batch_size for good in decode(run)] == [2, 2]


def test_waiting_is_the_time_at_the_client_in_which_no_stage_worked() -> None:
    times = np.array([0.0, 0.0, 0.0])
    run = Samples(times, np.array([0.5, 0.0, 0.0]), np.array([0.501, 0.002, 0.003]), np.array([OK, 3, OK]), [], 1.0)
    # 100 us in all, of which 2 us in the queue: 98 us of work.
    assert waiting_s(run, [reply(1, 100), reply(1, 100)]) == pytest.approx([0.001 - 98e-6, 0.003 - 98e-6])


def test_queueing_is_what_exceeds_an_unloaded_call_and_never_negative() -> None:
    waiting = np.full(200, 0.001)
    waiting[-4:] = 0.005
    assert queueing_s(waiting, 0.002) == pytest.approx(0.003)
    assert queueing_s(waiting, 1.0) == 0.0
    assert queueing_s(waiting[:50], 0.0) is None
