from pathlib import Path

import pytest

from benchmarks.plot import draw
from benchmarks.report import Section

CLOSED = Section(
    "closed_loop",
    "",
    (),
    [
        {"subject": subject, "in_flight": level, "p50_us": 100.0 * level, "p99_us": None, "per_second": 1000.0}
        for subject in ("Route", "empty handler, http2")
        for level in (1, 16)
    ],
)


def test_what_was_measured_is_drawn_and_missing_figures_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "figures.png"
    draw(picture, [CLOSED, Section("ratios", "", ())], "caption")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw_is_told(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="closed_loop"):
        draw(tmp_path / "figures.png", [Section("ratios", "", (), [{"ratio": 1.0}])], "caption")
