"""The p99 around the moment at which a swap is acknowledged, all swaps laid over each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.long_loop import Calls
from benchmarks.swap_figures import Swap, around

BEFORE_S, AFTER_S, WINDOW_S = 1.2, 0.3, 0.05
TARGET = 1.5
LINES = ((0.5, "median of the swaps", "tab:blue"), (0.9, "one swap in ten is worse", "tab:purple"))


def draw(path: Path, calls: Calls, swaps: Sequence[Swap], caption: str) -> None:
    """Writes a PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib as mpl  # noqa: PLC0415 - only who draws needs it

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - after the backend is set

    found = around(calls, swaps, BEFORE_S, AFTER_S, WINDOW_S)
    middle_ms = [((number + 0.5) * WINDOW_S - BEFORE_S) * 1e3 for number in range(len(found))]
    figure, axis = plt.subplots(figsize=(8, 4.6))
    for share, label, colour in LINES:
        axis.plot(
            middle_ms, [np.nanquantile(each, share) * 1e3 for each in found], "-o", ms=3, color=colour, label=label
        )
    usual_ms = float(np.nanmedian(np.concatenate(found[-round(AFTER_S / WINDOW_S) :]))) * 1e3
    axis.axhline(usual_ms, color="black", linewidth=0.8, label="usual: median of the windows afterwards")
    axis.axhline(TARGET * usual_ms, color="black", linewidth=0.8, linestyle="-.", label=f"{TARGET:g}x of it")
    loading_ms = -1e3 * float(np.median([swap.acknowledged - swap.loading[0] for swap in swaps]))
    begin_ms = -1e3 * float(np.median([swap.acknowledged - swap.began for swap in swaps]))
    axis.axvspan(loading_ms, 0, color="tab:orange", alpha=0.25, label="the worker loads and switches (median)")
    axis.axvspan(begin_ms, loading_ms, color="tab:green", alpha=0.12, label="verify, trial, comparison (median)")
    axis.set_ylim(bottom=0)
    axis.set(
        xlabel="milliseconds from the acknowledgement", ylabel=f"p99 in windows of {WINDOW_S * 1e3:g} ms, milliseconds",
        title=f"{len(swaps)} swaps at full load",
    )  # fmt: skip
    axis.grid(visible=True, alpha=0.35)
    axis.legend(fontsize=7)
    figure.suptitle(caption, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
