from pathlib import Path

import numpy as np
import pytest

from benchmarks.client import OK, UNAVAILABLE
from benchmarks.long_loop import Calls
from benchmarks.swap import MARKS, NAMES, UNSCORED, make_registry, mark_of, verdicts
from benchmarks.swap_figures import Swap, around, astray, levels, overlapping, stale
from sidecar.bundle.manifest import TOKENIZER
from sidecar.bundle.registry import Registry
from sidecar.bundle.verify import verify
from sidecar.wire import router_pb2 as pb

A, B, C = MARKS.values()


def calls(*each: tuple[float, float, int], status: int = OK) -> Calls:
    """Calls of (sent, done, mark)."""
    sent, done, mark = zip(*each, strict=True)
    return Calls(np.array(sent), np.array(done), np.full(len(each), status), np.array(mark))


def swap(to: int, began: float, acknowledged: float, resident_mb: float = 100.0) -> Swap:
    """One whose gate takes most of the time: loading takes the last 0.2 s, the switch the last 0.1 s of these."""
    return Swap(to, began, acknowledged, acknowledged - began - 0.3, 0.1, 0.1, resident_mb)


def test_a_call_overlaps_a_span_if_it_was_under_way_at_any_moment_of_it() -> None:
    made = calls(
        (0.0, 0.9, A), (0.0, 1.5, A), (1.2, 1.3, A), (1.9, 2.5, A), (2.1, 2.9, A), (2.5, 4.5, A), (0.0, 9.0, A)
    )
    assert overlapping(made, [(1.0, 2.0), (3.0, 4.0)]).tolist() == [False, True, True, True, False, True, True]
    assert not overlapping(made, []).any()


def test_a_reply_by_an_older_version_after_the_acknowledgement_is_stale() -> None:
    swaps = [swap(B, 1.0, 2.0), swap(C, 3.0, 4.0)]
    made = calls(
        (1.9, 2.1, A),  # sent before the acknowledgement
        (2.1, 2.2, B),
        (2.3, 2.4, A),  # stale
        (3.1, 3.2, B),  # the next swap has begun, but cannot have switched
        (3.2, 3.3, C),  # nobody may be ahead of the switch either
        (3.5, 3.95, C),  # may have been switched already
        (4.1, 4.2, C),
    )
    assert stale(made, swaps) == (2, 5)


def test_failed_calls_are_not_stale() -> None:
    assert stale(calls((2.1, 2.2, 0), status=UNAVAILABLE), [swap(B, 1.0, 2.0)]) == (0, 0)


def test_around_a_swap_only_the_versions_before_and_after_may_answer() -> None:
    swaps = [swap(B, 1.0, 2.0), swap(C, 3.0, 4.0)]
    fine = calls(
        (0.1, 0.2, A), (1.7, 1.9, A), (1.8, 1.9, B), (2.1, 2.2, B), (3.8, 3.95, C), (3.9, 4.1, B), (5.0, 5.1, C)
    )
    assert astray(fine, A, swaps) == 0
    assert astray(calls((1.8, 1.9, C), (4.1, 4.2, A), (0.5, 0.6, A | B)), A, swaps) == 3


def test_latency_and_throughput_are_told_inside_and_outside() -> None:
    outside = [(0.01 * number, 0.01 * number + 0.002, A) for number in range(200)]  # until 2.0 s
    inside = [(2.0 + 0.01 * number, 2.0 + 0.01 * number + 0.004, A) for number in range(1, 100)]
    later = [(3.01 + 0.01 * number, 3.01 + 0.01 * number + 0.002, B) for number in range(100)]
    rows = levels(calls(*outside, *inside, *later), [swap(B, 2.005, 3.005)])
    assert [row["p50_us"] for row in rows] == pytest.approx([2000.0, 4000.0, 4000.0], rel=0.01)
    assert [row["calls"] for row in rows[:2]] == [300, 99]
    assert rows[1]["p50_ratio"] == pytest.approx(2.0, rel=0.01)
    assert rows[1]["throughput_ratio"] == pytest.approx(1.0, rel=0.05)
    assert rows[2]["per_second"] == pytest.approx(100, rel=0.1)


def test_where_too_few_calls_were_made_there_is_no_ratio() -> None:
    rows = levels(calls(*((0.01 * number, 0.01 * number + 0.002, A) for number in range(200))), [swap(B, 1.0, 1.1)])
    assert rows[1]["p99_us"] is None
    assert rows[1]["p99_ratio"] is None


def test_windows_around_an_acknowledgement_hold_the_calls_that_ended_there() -> None:
    found = around(calls((0.9, 0.98, A), (0.99, 1.02, B)), [swap(B, 0.5, 1.0)], 0.1, 0.05, 0.05)
    assert [each.tolist() for each in found[1:]] == [[pytest.approx(0.08)], [pytest.approx(0.03)]]
    assert np.isnan(found[0]).all()


def test_memory_is_compared_with_that_after_ten_swaps() -> None:
    swaps = [swap(B, 10.0 * number, 10.0 * number + 1, 100.0 if number < 10 else 120.0) for number in range(12)]
    made = calls((0.1, 0.2, A))
    section = verdicts(made, swaps, [], levels(made, swaps))
    memory = next(row for row in section.rows if "memory" in row["subject"])
    assert (memory["value"], memory["verdict"]) == (1.2, "MISSED")


def test_a_reply_tells_which_version_scored_it() -> None:
    body = pb.RouteResponse(bundle_name="exam", bundle_version=NAMES[1]).SerializeToString()
    assert mark_of(body) == B
    assert mark_of(b"") == 0
    assert mark_of(b"swap-a swap-c") == A | C
    assert mark_of(pb.RouteResponse(reasons=[pb.REASON_DEGRADED]).SerializeToString()) == UNSCORED


def test_an_answer_of_the_safe_candidate_is_told_apart_from_a_reply_without_a_version() -> None:
    made = calls((0.1, 0.2, A), (2.1, 2.2, UNSCORED), (2.3, 2.4, 0))
    section = verdicts(made, [swap(B, 1.0, 2.0)], [], levels(made, [swap(B, 1.0, 2.0)]))
    found = {row["subject"].split(",")[0]: row["value"] for row in section.rows}
    assert found["replies that do not name exactly one version"] == 1
    assert found["answered by the safe candidate"] == 1


@pytest.mark.parametrize("other_tokenizer", [False, True])
def test_the_bundles_of_the_registry_are_sound_and_differ(tmp_path: Path, *, other_tokenizer: bool) -> None:
    make_registry(tmp_path, other_tokenizer=other_tokenizer)
    assert Registry(tmp_path).active() == NAMES[0]
    found = [verify(tmp_path / name)[0] for name in NAMES]
    assert [manifest.version for manifest in found] == list(NAMES)
    assert len({manifest.files[TOKENIZER].sha256 for manifest in found}) == (3 if other_tokenizer else 1)


def test_a_swap_knows_its_parts_from_what_its_caller_told() -> None:
    line = {"to": "swap-b", "began": 1.0, "acknowledged": 2.0, "gate_ms": 600, "prepare_ms": 200, "switch_ms": 10}
    found = Swap.of({**line, "resident_mb": 100.0}, MARKS)
    assert found.to == B
    assert list(found.loading) == pytest.approx([1.79, 2.0])
    assert found.earliest == pytest.approx(1.8)
