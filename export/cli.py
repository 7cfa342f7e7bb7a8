"""The command line: router-export train, evaluate, compare, keygen, sign."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
from tqdm import tqdm

from sidecar.errors import RouterError

_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


class Failure(click.ClickException):
    """A failure that the user can mend: one line, no traceback."""

    def show(self, file: Any = None) -> None:
        """Prints the line."""
        click.echo(f"error: {self.message}", err=True, file=file)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Trains routers on recorded outcomes of LLMs, exports them as bundles, and judges them."""


def _shared_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--llms", type=_EXISTING, required=True, help="llms.json with the prices of the candidates."),
        click.option("--data", type=_EXISTING, required=True, help="Parquet file with one row per prompt."),
    ):
        command = option(command)
    return command


@main.command()
@_shared_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory of the bundle; new or empty.")
@click.option("--candidates", default="", help="Comma-separated names; all of the file's if left out.")
@click.option("--family", type=click.Choice(["static"]), default="static", show_default=True, help="Kind of router.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Equal seeds give equal bundles.")
@click.option("--name", default="router", show_default=True, help="Name of the router.")
@click.option("--version", default="1", show_default=True, help="Version of the router.")
@click.option("--source", default="", help="What the data is, in words; the file's name if left out.")
@click.option("--licence", default="not stated", show_default=True, help="Licence of the data.")
@click.option("--limits", default="", help="What users must know before they trust it; joins the model card.")
@click.option("--max-chars", type=click.IntRange(16), default=None, help="Characters that are scored of a prompt.")
@click.option(
    "--shrink-floor",
    type=click.FloatRange(0.0, 1.0),
    default=None,
    help="Share of the differences between candidates that shrinks on every prompt, however familiar; 0.4 if left out."
    " Lower it where your data covers your traffic.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def train(data: Path, llms: Path, out: Path, candidates: str, seed: int, **other: Any) -> None:
    """Trains a router and writes its bundle."""
    # These take a second to import, which --help need not wait for.
    from export.bundle import Label, check_free, write_bundle
    from export.outcomes import read_outcomes
    from export.prices import read_prices
    from export.train import Options
    from export.train import train as train_router

    try:
        check_free(out)
        outcomes = read_outcomes(data, _names(candidates))
        prices = read_prices(llms, outcomes.candidates, data)
        options = Options(seed=seed, workers=min(2, os.cpu_count() or 1))
        if other["shrink_floor"] is not None:
            options = replace(options, shrinkage={**options.shrinkage, "floor": other["shrink_floor"]})
        if other["max_chars"]:
            options = replace(options, recipe=msgspec.structs.replace(options.recipe, max_chars=other["max_chars"]))
        with tqdm(total=options.rounds(len(outcomes)), desc="training", unit="epoch", disable=other["quiet"]) as bar:
            trained = train_router(outcomes, options, bar.update)
        label = Label(other["name"], other["version"], other["source"] or data.name, other["licence"], other["limits"])
        manifest = write_bundle(out, trained, outcomes, prices, options, label)
    except RouterError as error:
        raise Failure(str(error)) from None
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in manifest.metrics.items())
    size = sum(entry.size for entry in manifest.files.values()) / 1e6
    click.echo(
        f"{out}: {manifest.name} {manifest.version}, {len(manifest.candidates)} candidates, {size:.1f} MB; {metrics}"
    )


@main.command()
@_shared_options
@click.option("--bundle", type=click.Path(path_type=Path), help="Directory of the bundle.")
@click.option("--train", "train_data", type=_EXISTING, help="The router's training data: baselines are fitted on it.")
@click.option(
    "--answer-value", type=click.FloatRange(0.0, min_open=True), default=None, help="USD of an answer, for the tables."
)
@click.option("--leave-one-segment-out", is_flag=True, help="Train without each segment in turn and test on it.")
@click.option("--candidates", default="", help="With --leave-one-segment-out: comma-separated names.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of training, with --leave-one-segment-out."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write the cost-quality plot to this PNG."
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def evaluate(data: Path, llms: Path, **other: Any) -> None:
    """Judges a bundle, or the way it is trained, on recorded outcomes."""
    from export.report import leave_one_segment_out, of_bundle

    try:
        if other["leave_one_segment_out"]:
            text, record = leave_one_segment_out(data, llms, other, _names(other["candidates"]))
        elif other["bundle"] is None:
            raise Failure("--bundle: name the directory of the bundle, or ask for --leave-one-segment-out.")
        else:
            text, record = of_bundle(data, llms, other)
    except RouterError as error:
        raise Failure(str(error)) from None
    click.echo(json.dumps(record, indent=2) if other["as_json"] else text)


@main.command()
@click.argument("bundles", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="BUNDLE...")
@_shared_options
@click.option("--train", "train_data", type=_EXISTING, help="Training data: baselines in the record are fitted on it.")
@click.option(
    "--unseen", type=_EXISTING, help="Parquet file of prompts unlike the training data: is novelty higher there?"
)
@click.option(
    "--answer-value",
    type=click.FloatRange(0.0, min_open=True),
    default=None,
    help="USD of an answer, for the first one.",
)
@click.option(
    "--timing-seconds", type=click.FloatRange(0.0), default=5.0, show_default=True, help="For each batch size; 0: none."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write all cost-quality curves to this PNG."
)
def compare(bundles: tuple[Path, ...], data: Path, llms: Path, **other: Any) -> None:
    """Sets BUNDLEs side by side on recorded outcomes; differences are to the first one."""
    from export.comparison_report import of_bundles

    try:
        text, record = of_bundles(bundles, data, llms, other)
    except RouterError as error:
        raise Failure(str(error)) from None
    click.echo(json.dumps(record, indent=2) if other["as_json"] else text)


@main.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Directory; made if need be."
)
def keygen(out: Path) -> None:
    """Makes a key pair to sign bundles with: private.pem, which you keep, and public.pem, which servers trust."""
    from export.signing import generate

    try:
        name = generate(out)
    except RouterError as error:
        raise Failure(str(error)) from None
    click.echo(f"{out}: key {name}; keep private.pem to yourself, give public.pem to `trust` of the sidecar.")


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", type=_EXISTING, required=True, help="private.pem of `keygen`.")
def sign(bundle: Path, key: Path) -> None:
    """Signs BUNDLE; signatures by other keys stay."""
    from export.signing import sign as sign_bundle

    try:
        name, signers = sign_bundle(bundle, key)
    except RouterError as error:
        raise Failure(str(error)) from None
    click.echo(f"{bundle}: signed by key {name}; signatures: {', '.join(signers)}.")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
