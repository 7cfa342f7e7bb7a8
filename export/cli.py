"""The command line: router-export train, evaluate, compare, keygen, sign."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from sidecar.errors import RouterError

_FILE = click.Path(dir_okay=False, path_type=Path)
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


def _family_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            "--folds",
            type=click.IntRange(2),
            default=None,
            help="Parts of the cross-validation that calibrates; 4 if left out. Fewer are faster.",
        ),
        click.option(
            "--tune-rate", type=click.FloatRange(0.0, min_open=True), default=None, help="Learning rate of fine-tuning."
        ),
        click.option(
            "--tune-epochs",
            type=click.IntRange(1),
            default=None,
            help="Most passes over the data while fine-tuning; held-out prompts say how many are kept.",
        ),
        click.option(
            "--tune-layers",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Last layers of an encoder to fine-tune with its heads; 0 leaves it as it is. Slow.",
        ),
        click.option("--base", default=None, help="Encoder to build on: minilm, a directory, or a name on the hub."),
        click.option(
            "--family",
            type=click.Choice(["static", "encoder"]),
            default="static",
            show_default=True,
            help="Kind of router.",
        ),
    ):
        command = option(command)
    return command


@main.command()
@_shared_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory of the bundle; new or empty.")
@click.option("--candidates", default="", help="Comma-separated names; all of the file's if left out.")
@_family_options
@click.option(
    "--max-tokens",
    type=click.IntRange(8),
    default=None,
    help="Tokens that an encoder reads of a prompt; 256 if left out.",
)
@click.option(
    "--keep-fp32", is_flag=True, help="Keep an encoder in full precision in the bundle too, to measure the others by."
)
@click.option(
    "--out-of-fold", type=_FILE, help="Write what cross-validation expected of the data to this Parquet file."
)
@click.option(
    "--distill-from",
    type=click.Path(path_type=Path),
    help="A bundle of the same candidates that teaches a static router.",
)
@click.option(
    "--teacher-scores", type=_EXISTING, help="The teacher's --out-of-fold, for prompts that it was trained on."
)
@click.option(
    "--unlabelled", type=_EXISTING, multiple=True, help="Parquet file of prompts that only the teacher labels."
)
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
    from export.families import training_of
    from export.outcomes import read_outcomes
    from export.prices import read_prices
    from export.unseen import write_unseen

    try:
        check_free(out)
        training = training_of(other["family"], seed, other)
        outcomes = read_outcomes(data, _names(candidates))
        prices = read_prices(llms, outcomes.candidates, data)
        if other["distill_from"] or other["unlabelled"] or other["teacher_scores"]:
            from export.distill import taught

            training = taught(training, outcomes, other)
        with tqdm(total=training.rounds(len(outcomes)), desc="training", disable=other["quiet"]) as bar:
            trained = training.train(outcomes, prices, bar.update)
        if other["out_of_fold"]:
            write_unseen(other["out_of_fold"], outcomes, trained.unseen)
        label = Label(other["name"], other["version"], other["source"] or data.name, other["licence"], other["limits"])
        manifest = write_bundle(out, trained, outcomes, prices, training, label)
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
@_family_options
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of training, with --leave-one-segment-out."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--plot", type=_FILE, help="Write the cost-quality plot to this PNG.")
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
