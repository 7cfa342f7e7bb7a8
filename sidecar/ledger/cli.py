"""`router-sidecar ledger`: look at the ledger, take it elsewhere, cut it back."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="TOML file of the sidecar, with the section [ledger].",
)
LAST = b"\xff" * 16
DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def ledger() -> None:
    """Look at recorded decisions and outcomes, export them, delete them."""


@ledger.command()
@CONFIG
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory to write to.")
@click.option("--since", type=DAY, help="First day, UTC. [the first there is]")
@click.option("--until", type=DAY, help="The day behind the last, UTC. [tomorrow]")
@click.option("--training", is_flag=True, help="Only decisions with a stored prompt and a known quality.")
def export(config: Path, to: Path, since: datetime | None, until: datetime | None, training: bool) -> None:
    """Write decisions and what became of them as Parquet, a directory for each day; exported days are replaced."""
    from datetime import timedelta

    from sidecar.ledger.export import export as write

    with _opened(config) as (_, store):
        oldest = store.decisions(b"", LAST, 1)
        first = since or datetime.fromtimestamp(oldest[0].decided_at if oldest else time.time(), UTC)
        behind = until or datetime.fromtimestamp(time.time(), UTC) + timedelta(days=1)
        done = write(store, to, first.date(), behind.date(), training=training)
    click.echo(f"{done.rows} decisions, {done.labelled} of them with a known quality, in {done.files} files under {to}")
    if done.narrower:
        click.echo(
            f"note: {len(done.narrower)} days exported before ({done.narrower[0]} first) lack the columns of candidates that are "
            "new since; export them again, or read with the union of columns.",
            err=True,
        )


@ledger.command()
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def stat(config: Path, as_json: bool) -> None:
    """Print how much the ledger holds, from when, what waits in the journals and what was dropped."""
    import msgspec

    from sidecar.ledger.state import journals

    with _opened(config) as (settings, store):
        found, lying = store.stat(), journals(settings, store.positions())
    if as_json:
        everything = {**found._asdict(), "journals": lying._asdict()}
        click.echo(msgspec.json.format(msgspec.json.encode(everything), indent=2).decode())
        return
    dropped = ", ".join(f"{amount} ({reason})" for reason, amount in found.dropped.items())
    for name, value in (
        ("decisions", f"{found.decisions}, {_time(found.oldest)} to {_time(found.newest)}"),
        ("outcomes", f"{found.outcomes}, {found.unknown} of decisions that are not here"),
        ("dropped", dropped or "none"),
        ("store", f"{found.used_bytes} bytes"),
        ("journals", f"{lying.segments} files, {lying.backlog_bytes} bytes not imported yet"),
        ("faults", f"{lying.spoilt} spoilt files, {lying.refused_bytes} bytes of refused records"),
    ):
        click.echo(f"{name:<10} {value}")


@ledger.command()
@CONFIG
def prune(config: Path) -> None:
    """Delete now what ledger.keep_days and ledger.keep_bytes say is not to be kept."""
    from sidecar.ledger.retention import Retention

    with _opened(config) as (settings, store):
        before = store.stat()
        Retention(settings).prune(store, time.time())
        after = store.stat()
    decisions, outcomes = before.decisions - after.decisions, before.outcomes - after.outcomes
    click.echo(f"deleted {decisions} decisions and {outcomes} outcomes; {after.used_bytes} bytes are used")


@ledger.command()
@CONFIG
def verify(config: Path) -> None:
    """Check the store and the journals; exit with status 1 if something is wrong with them."""
    from sidecar.ledger.state import faults

    with _opened(config) as (settings, store):
        found = faults(settings, store)
    if found:
        raise click.ClickException("\n".join(found))
    click.echo("sound")


@contextmanager
def _opened(config: Path) -> Iterator[tuple[Any, Any]]:
    from sidecar.config import load_config
    from sidecar.ledger.state import existing_store

    settings = load_config(config).ledger
    store = existing_store(settings)
    try:
        yield settings, store
    finally:
        store.close()


def _time(unix_seconds: float | None) -> str:
    return "-" if unix_seconds is None else datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="seconds")
