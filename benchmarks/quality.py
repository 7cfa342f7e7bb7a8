"""How well the router decides: every quality figure that the project states, from the shared data sets.

    python benchmarks/quality.py [--data DIR] [--only cost,holdout,pair,dress] [--json FILE] [--plot FILE.png]

Some minutes on two cores, most of them for leaving out one segment at a time. Nothing here chooses anything: settings
were chosen on training files alone.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

if __package__ in (None, ""):  # run by path: make `export` and `sidecar` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from export.apgr import apgr
from export.baselines import subject_table
from export.bundle import Label, write_bundle
from export.choices import Forecast, ground
from export.evaluate import ANSWER_VALUE_USD, Fitted, evaluate
from export.holdout import hold_out
from export.outcomes import Outcomes, read_outcomes
from export.plot import draw
from export.prices import read_prices
from export.report import holdout_table, table
from export.robustness import PERTURBATIONS, compare
from export.serve import forecast_of
from export.train import Options, train
from sidecar.bundle.load import Bundle, load
from sidecar.config import BUILT_IN_POLICIES

ROOT = Path(__file__).resolve().parents[1]
PAIR_ROWS = 1500
PAIR_SEEDS = 5
WEAK, STRONG = "mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"
SECTIONS = ("cost", "holdout", "pair", "dress")

Record = dict[str, Any]


class Bench:
    """The data sets and the bundle under test."""

    def __init__(self, data: Path, bundle: Path) -> None:
        self.data, self.llms = data, data / "llms.json"
        self.bundle: Bundle = load(bundle)
        self.names = [candidate.name for candidate in self.bundle.manifest.candidates]
        self.train_file, self.test_file = data / "routing_train.parquet", data / "routing_test.parquet"
        self.train = read_outcomes(self.train_file, self.names)
        self.test = read_outcomes(self.test_file, self.names)
        self.prices = read_prices(self.llms, self.names, self.test_file)
        usual = np.array([candidate.mean_output_tokens for candidate in self.bundle.manifest.candidates], np.float32)
        self.ground = ground(self.test, self.prices, usual)
        self.forecast = forecast_of(self.bundle, self.test.prompts)

    def cost(self, plot: Path | None) -> Record:
        """The cost-quality curve of the bundle on routing_test."""
        if self.bundle.manifest.training_data.sha256 != self.train.sha256:
            raise click.ClickException(
                "the bundle was not trained on routing_train.parquet; its figures would not compare."
            )
        fitted = Fitted(self.train, forecast_of(self.bundle, self.train.prompts).embedding)
        record = evaluate(self.ground, self.forecast, fitted)
        if plot is not None:
            manifest = self.bundle.manifest
            draw(record, plot, f"{manifest.name} {manifest.version} on routing_test")
        return record

    def holdout(self) -> Record:
        """Training without one segment in turn, on routing_train and routing_test together."""
        return hold_out(self.train.joined(self.test), self.prices, Options())

    def pair(self) -> Record:
        """The strong-weak pair of RouteLLM, trained on 1,500 random rows, judged on MMLU."""
        file = self.data / "routellm_train.parquet"
        known = read_outcomes(file, [WEAK, STRONG])
        prices = read_prices(self.llms, known.candidates, file)
        test = read_outcomes(self.data / "routellm_test.parquet", [WEAK, STRONG])
        test = test.take(np.char.startswith(test.segments, "mmlu/") & ~test.contaminated)
        runs = []
        for seed in range(PAIR_SEEDS):
            some = known.take(np.random.default_rng(seed).permutation(len(known))[:PAIR_ROWS])
            options = Options(seed=seed)
            with TemporaryDirectory() as scratch:
                directory = Path(scratch) / "bundle"
                label = Label("pair", "1", "routellm_train", "Apache-2.0", "")
                write_bundle(directory, train(some, options), some, prices, options, label)
                router = _preferred(forecast_of(load(directory), test.prompts), test)
            runs.append({"seed": seed, "apgr": router, "subject_table": _preferred(subject_table(some, test), test)})
        return {
            "prompts": len(test),
            "trained_on": PAIR_ROWS,
            "apgr": runs[0]["apgr"],
            "apgr_mean": float(np.mean([run["apgr"] for run in runs])),
            "subject_table_same_rows": runs[0]["subject_table"],
            "subject_table_same_rows_mean": float(np.mean([run["subject_table"] for run in runs])),
            "subject_table_all_rows": _preferred(subject_table(known, test), test),
            "runs": runs,
        }

    def dress(self) -> Record:
        """The same questions in another dress, under each built-in policy."""
        record: Record = {}
        for name, perturb in PERTURBATIONS.items():
            rng = np.random.default_rng(0)
            other = forecast_of(self.bundle, [perturb(prompt, rng) for prompt in self.test.prompts])
            record[name] = {
                policy: compare(self.ground, self.forecast, other, terms.answer_value_usd)
                for policy, terms in BUILT_IN_POLICIES.items()
            }
        return record


def _preferred(forecast: Forecast, test: Outcomes) -> float:
    strong, weak = test.candidates.index(STRONG), test.candidates.index(WEAK)
    preference = forecast.quality[:, strong] - forecast.quality[:, weak]
    return apgr(preference, test.quality[:, strong], test.quality[:, weak])


def _pair_table(record: Record) -> str:
    return "\n".join(
        [
            f"APGR on {record['prompts']} MMLU prompts, trained on {record['trained_on']} random rows",
            f"this router (seed 0; mean of {len(record['runs'])} seeds)     {record['apgr']:.4f}; {record['apgr_mean']:.4f}",
            f"subject table, same rows                {record['subject_table_same_rows']:.4f};"
            f" {record['subject_table_same_rows_mean']:.4f}",
            f"subject table, all of routellm_train    {record['subject_table_all_rows']:.4f}",
        ]
    )


def _dress_table(record: Record) -> str:
    lines = [f"{'perturbed by':16} {'policy':10} {'same choice':>12} {'or within 1 %':>14} {'utility change':>15}"]
    for name, policies in record.items():
        for policy, figures in policies.items():
            lines.append(
                f"{name:16} {policy:10} {figures['same_choice']:12.1%} {figures['same_or_close']:14.1%}"
                f" {figures['utility_change']:+15.2%}"
            )
    return "\n".join(lines)


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=ROOT.parent / "shared" / "data",
    help="Directory of the data sets.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    default=ROOT / "sidecar" / "bundles" / "default",
    help="Bundle under test.",
)
@click.option("--only", default=",".join(SECTIONS), show_default=True, help="Comma-separated sections.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures to this file.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write the cost-quality plot to this PNG.")
def main(data: Path, bundle: Path, only: str, json_file: Path | None, plot: Path | None) -> None:
    """Prints every quality figure of the project."""
    if not (data / "llms.json").is_file():
        raise click.ClickException(f"the shared data sets are not at {data}; name their directory with --data.")
    bench = Bench(data, bundle)
    wanted = [name.strip() for name in only.split(",")]
    record: Record = {}
    runs = {"cost": lambda: bench.cost(plot), "holdout": bench.holdout, "pair": bench.pair, "dress": bench.dress}
    tables = {"cost": table, "holdout": holdout_table, "pair": _pair_table, "dress": _dress_table}
    titles = {
        "cost": f"routing_test, trained on routing_train: {bench.bundle.manifest.name} {bench.bundle.manifest.version}",
        "holdout": f"one segment left out, routing_train + routing_test, an answer worth ${ANSWER_VALUE_USD:g}",
        "pair": "routellm",
        "dress": "robustness, routing_test",
    }
    for name in SECTIONS:
        if name in wanted:
            record[name] = runs[name]()
            click.echo(f"\n== {titles[name]}\n{tables[name](record[name])}")
    if json_file is not None:
        json_file.write_text(json.dumps(record, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
