"""What `router-export compare` prints: files in, a table and a record out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.choices import ground
from export.comparison import ANSWER_VALUES_USD, Side, common_candidates, compare, labels, of_candidates
from export.evaluate import Fitted
from export.outcomes import Outcomes, read_outcomes, read_prompts
from export.prices import read_prices
from export.report import Answer
from export.serve import forecast_of
from export.timing import SIZES, microseconds
from export.windows import windows_of
from sidecar.bundle.load import Bundle, load

_DASH = "-"


def of_bundles(directories: Sequence[Path], data: Path, llms: Path, options: Mapping[str, Any]) -> Answer:
    """Judges several bundles on the same prompts.

    Args:
        directories: of the bundles; differences are to the first one.
        data: Parquet file.
        llms: prices.
        options: of the command line: train_data, unseen, answer_value, timing_seconds, seed, plot.

    Returns:
        A table for people, and the record for `--json`.

    Raises:
        DataError: the data does not fit the bundles, or these have no candidate in common.
        BundleError: a bundle does not load.
    """
    bundles = [load(directory) for directory in directories]
    names = common_candidates(bundles)
    outcomes = read_outcomes(data, names)
    prices = read_prices(llms, names, data)
    unseen = None if options["unseen"] is None else read_prompts(options["unseen"])
    known = None if options["train_data"] is None else read_outcomes(options["train_data"], names)
    sides = [
        _side(label, bundle, names, outcomes, unseen, known)
        for label, bundle in zip(labels(bundles), bundles, strict=True)
    ]
    trained = {candidate.name: candidate for candidate in bundles[0].manifest.candidates}
    usual = np.array([trained[name].mean_output_tokens for name in names], np.float32)
    values = (options["answer_value"],) if options["answer_value"] else ANSWER_VALUES_USD
    record = {
        "data": data.name,
        "unseen": None if options["unseen"] is None else options["unseen"].name,
        **compare(ground(outcomes, prices, usual), sides, values, options["seed"]),
    }
    if options["timing_seconds"]:
        scorers = [
            (bundle.scorer, windows_of(bundle.manifest.text_recipe, outcomes.prompts[:10_000])) for bundle in bundles
        ]
        for row, times in zip(record["bundles"], microseconds(scorers, options["timing_seconds"]), strict=True):
            row["microseconds_per_request"] = times
    if options["plot"] is not None:
        # A second to import, and seldom asked for.
        from export.comparison_plot import draw  # noqa: PLC0415

        draw(record, options["plot"], f"{len(bundles)} bundles on {data.stem}")
    return table(record), record


def _side(
    label: str,
    bundle: Bundle,
    names: Sequence[str],
    outcomes: Outcomes,
    unseen: Sequence[str] | None,
    known: Outcomes | None,
) -> Side:
    return Side(
        label,
        bundle,
        of_candidates(forecast_of(bundle, outcomes.prompts), bundle, names),
        None if unseen is None else forecast_of(bundle, unseen).novelty,
        None if known is None else Fitted(known, forecast_of(bundle, known.prompts).embedding),
    )


def table(record: Mapping[str, Any]) -> str:
    """A comparison as text: one column for each bundle."""
    rows = record["bundles"]
    best = record["best_single"]
    lines = [
        f"{record['prompts']} prompts of {record['data']}, {len(record['candidates'])} candidates, "
        f"{record['labels_known']:.1%} of the labels known",
        f"best single candidate {best['name']}: quality {best['quality']:.4f} at ${best['cost_usd_per_1k']:.3f}/1k; "
        f"oracle {record['oracle_quality']:.4f}",
    ]
    lines += [
        f"note: {row['label']} also knows {', '.join(row['left_out'])}; only the common candidates are compared"
        for row in rows
        if row["left_out"]
    ]
    body = [
        ("", *(row["label"] for row in rows)),
        ("family", *(row["family"] for row in rows)),
        ("max quality", *(f"{row['max_quality']:.4f}" for row in rows)),
        ("  less the first's", *(_difference(row["difference_of_max_quality"]) for row in rows)),
        *_at_equal_cost(record),
        ("best single's quality at", *(_share(row["cost_ratio_at_best_single_quality"]) for row in rows)),
        ("97 % of it at", *(_share(row["cost_ratio_at_97pct"]) for row in rows)),
        ("calibration error", *(f"{row['ece']:.4f}" for row in rows)),
        ("novelty AUROC", *(_number(row["novelty_auroc"]) for row in rows)),
        ("megabytes", *(f"{row['bytes'] / 1e6:.1f}" for row in rows)),
    ]
    if all("microseconds_per_request" in row for row in rows):
        body += [
            (f"us a request, batch of {size}", *(_times(row["microseconds_per_request"][str(size)]) for row in rows))
            for size in SIZES
        ]
    lines += ["", *_aligned(body), ""]
    worths = ", ".join(f"${given['answer_value_usd']:g}" for given in record["equal_cost"])
    lines.append(f"quality at: all may spend what the first one does where an answer is worth {worths}")
    lines.append("less the first's: points of quality [95 % of paired bootstrap resamples by group]; * zero is outside")
    if record["unseen"]:
        lines.append(f"novelty AUROC: prompts of {record['unseen']} above those of {record['data']}, ties half")
    lines.append("at: of the best single candidate's cost; us: median / p99 of tokenizer, model and novelty, in turn")
    return "\n".join(lines)


def _at_equal_cost(record: Mapping[str, Any]) -> list[Sequence[str]]:
    lines: list[Sequence[str]] = []
    for number, given in enumerate(record["equal_cost"]):
        found = [row["at_equal_cost"][number] for row in record["bundles"]]
        lines.append((f"quality at ${given['cost_usd_per_1k']:.3f}/1k", *(_number(one["quality"]) for one in found)))
        lines.append(("  less the first's", *(_difference(one["difference"]) for one in found)))
    return lines


def _aligned(body: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in body) for column in range(len(body[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in body
    ]


def _difference(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return _DASH
    mean, low, high = (100.0 * found[name] for name in ("mean", "low", "high"))
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]{'*' if found['clear'] else ' '}"


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "never" if value is None else f"{value:.1%}"


def _times(found: Mapping[str, Any]) -> str:
    slowest = _DASH if found["p99"] is None else f"{found['p99']:.0f}"
    return f"{found['median']:.0f} / {slowest}"
