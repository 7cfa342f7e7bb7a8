"""What `router-export evaluate` prints: files in, tables and a record out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from export.choices import ground
from export.evaluate import ANSWER_VALUE_USD, Fitted, evaluate
from export.families import training_of
from export.holdout import hold_out
from export.outcomes import read_outcomes
from export.prices import read_prices
from export.serve import forecast_of
from sidecar.bundle.load import load

Answer = tuple[str, dict[str, Any]]
_CHEAP: Mapping[str, Mapping[str, Any]] = {"static": {}, "encoder": {"measure": False, "members": 1}}


def of_bundle(data: Path, llms: Path, options: Mapping[str, Any]) -> Answer:
    """Judges a bundle.

    Args:
        data: Parquet file.
        llms: prices.
        options: of the command line: bundle, train_data, answer_value, plot.

    Returns:
        Tables for people, and the record for `--json`.

    Raises:
        DataError: the data does not fit the bundle.
        BundleError: the bundle does not load.
    """
    bundle = load(options["bundle"])
    names = [candidate.name for candidate in bundle.manifest.candidates]
    outcomes = read_outcomes(data, names)
    prices = read_prices(llms, names, data)
    forecast = forecast_of(bundle, outcomes.prompts)
    usual = np.array([candidate.mean_output_tokens for candidate in bundle.manifest.candidates], np.float32)
    fitted = None
    if options["train_data"] is not None:
        known = read_outcomes(options["train_data"], names)
        fitted = Fitted(known, forecast_of(bundle, known.prompts).embedding)
    basis = ground(outcomes, prices, usual)
    record = {
        "bundle": {
            "name": bundle.manifest.name,
            "version": bundle.manifest.version,
            "manifest_sha256": bundle.manifest_sha256,
        },
        "data": data.name,
        **evaluate(basis, forecast, fitted, options["answer_value"] or ANSWER_VALUE_USD),
    }
    if options["plot"] is not None:
        # A second to import, and seldom asked for.
        from export.plot import draw  # noqa: PLC0415

        draw(record, options["plot"], f"{bundle.manifest.name} {bundle.manifest.version} on {data.stem}")
    return table(record), record


def leave_one_segment_out(data: Path, llms: Path, options: Mapping[str, Any], candidates: Sequence[str]) -> Answer:
    """Judges the way of training on segments that it never saw; with `train_data`, on both files together.

    Raises:
        DataError: the data is wrong or has one segment only.
    """
    outcomes = read_outcomes(data, candidates)
    prices = read_prices(llms, outcomes.candidates, data)
    if options["train_data"] is not None:
        outcomes = read_outcomes(options["train_data"], outcomes.candidates).joined(outcomes)
    value = options["answer_value"] or ANSWER_VALUE_USD
    # What lower precision loses is measured when a router is exported, and once is enough.
    training = training_of(options["family"], options["seed"], {**options, **_CHEAP[options["family"]]})
    with tqdm(total=len(outcomes.segment_names()), unit="segment", disable=options["quiet"]) as bar:
        record = hold_out(outcomes, prices, training, value, bar.update)
    return holdout_table(record), record


def table(record: Mapping[str, Any]) -> str:
    """An evaluation as text."""
    best = record["best_single"]
    lines = [
        f"{record['prompts']} prompts, {record['labels_known']:.1%} of the labels known",
        f"best single candidate     {best['name']}: quality {best['quality']:.4f} at ${best['cost_usd_per_1k']:.3f}/1k",
        f"max quality               {record['max_quality']:.4f} (oracle {record['oracle_quality']:.4f}, headroom captured"
        f" {_number(record['headroom_captured'])})",
        f"its quality at            {_number(record['cost_ratio_at_best_single_quality'])} of its cost",
        f"97 % of its quality at    {_number(record['cost_ratio_at_97pct'])} of its cost",
        f"calibration error         {record['ece']:.4f}",
        "",
        f"{'baseline':24} {'quality':>8} {'$/1k':>8} {'same q at':>10} {'97 % at':>8}",
    ]
    for name, entry in record["baselines"].items():
        if "curve" in entry:
            costs = f"{'':8} {_number(entry['cost_ratio_at_best_single_quality']):>10} {_number(entry['cost_ratio_at_97pct']):>8}"
            lines.append(f"{name:24} {entry['max_quality']:8.4f} {costs}")
        else:
            lines.append(f"{name:24} {entry['quality']:8.4f} {entry['cost_usd_per_1k']:8.3f}")
    value = record["operating_point"]["answer_value_usd"]
    lines += [
        "",
        f"{f'segment at ${value:g}/answer':24} {'prompts':>8} {'quality':>8} {'single':>8} {'$/1k':>8} {'novelty':>8}",
    ]
    for name, entry in record["per_segment"].items():
        lines.append(
            f"{name or '(none)':24} {entry['prompts']:8} {entry['quality']:8.4f} {_number(entry['best_single_quality']):>8}"
            f" {entry['cost_usd_per_1k']:8.3f} {entry['novelty']:8.2f}"
        )
    lines += ["", f"{'solved by':24} {'prompts':>8} {'quality':>8} {'$/1k':>8}  chosen most"]
    for name, entry in record["zones"].items():
        if entry["prompts"]:
            most = next(iter(entry["chosen"].items()))
            lines.append(
                f"{name:24} {entry['prompts']:8} {entry['quality']:8.4f} {entry['cost_usd_per_1k']:8.3f}"
                f"  {most[0]} {most[1]:.0%}"
            )
    return "\n".join(lines)


def holdout_table(record: Mapping[str, Any]) -> str:
    """The result of leaving one segment out, as text."""
    lines = [
        f"{'left out':24} {'prompts':>8} {'quality':>8} {'unshrunk':>8} {'single':>8} {'points':>8} {'novelty':>8}  best of the rest"
    ]
    for name, entry in record["per_segment"].items():
        points = 100.0 * (entry["quality"] - entry["best_single_quality"])
        lines.append(
            f"{name:24} {entry['prompts']:8} {entry['quality']:8.4f} {entry['quality_without_shrinkage']:8.4f}"
            f" {entry['best_single_quality']:8.4f} {points:+8.2f} {entry['novelty']:8.2f}  {entry['best_single']}"
        )
    lines.append(
        f"over all {record['prompts']} prompts: {record['points_under_best_single']:.2f} points under the best single"
        f" candidate ({record['points_under_best_single_mean_of_segments']:.2f} as a mean of segments), at"
        f" ${record['cost_usd_per_1k']:.3f}/1k instead of ${record['best_single_cost_usd_per_1k']:.3f}/1k,"
        f" with an answer worth ${record['answer_value_usd']:g}"
    )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:.4f}"
