"""`router-sidecar decisions`: look at what was decided, and at what adopting the router would change."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import click

from sidecar.decisions.since import Moment, moment_of
from sidecar.errors import InvalidRequest

CONFIG = click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML file of the sidecar, with [ledger]."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON; with --follow, one object a line.")
LOOK_AGAIN_S = 1.0
# What --disagreements and --against look at if nothing is said: with days of many requests, all of it would take its time.
DAYS = 7
_ID = re.compile(r"[0-9a-f]{32}")


class _Opened(NamedTuple):
    """An open ledger.

    Attributes:
        store: of the ledger.
        config: of the sidecar.
    """

    store: Any
    config: Any


@click.group(invoke_without_command=True)
@CONFIG
@click.option(
    "--since",
    metavar="SPAN|DATE",
    callback=moment_of,
    help=f"As 1h, 7d, 2026-11-24 or 2026-11-24T03:10 (UTC). [all; --disagreements, --against: {DAYS}d]",
)
@click.option(
    "--until", metavar="SPAN|DATE", callback=moment_of, help="Only what was decided before: as --since. [now]"
)
@click.option("--segment", help="Only this slice of traffic.")
@click.option("--model", default="", help="Only what was chosen, or was the caller's own: a candidate or its model.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, help="Most decisions, or lines of each list.")
@click.option("--follow", is_flag=True, help="Go on with new decisions as they come, until interrupted.")
@click.option(
    "--disagreements", is_flag=True, help="What adopting the router would change where it is in log-only mode."
)
@click.option(
    "--against",
    metavar="CANDIDATE",
    default="",
    help="What the router's own choices save against asking CANDIDATE always.",
)
@AS_JSON
@click.pass_context
def decisions(  # noqa: PLR0913 - one for each option
    ctx: click.Context,
    config: Path | None,
    since: Moment | None,
    until: Moment | None,
    segment: str | None,
    model: str,
    limit: int,
    *,
    follow: bool,
    disagreements: bool,
    against: str,
    as_json: bool,
) -> None:
    """Print the latest decisions from the ledger, with what was expected and what became of them."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = config
        return
    from sidecar.ledger.rows import first_id
    from sidecar.ledger.store import Which

    if follow + disagreements + bool(against) > 1:
        raise click.UsageError("--follow, --disagreements and --against do not go together.")
    if follow and until:
        raise click.UsageError("--follow and --until do not go together.")
    now = time.time()
    end = None if until is None else until(now)
    if since is not None:
        begin = since(now)
    else:
        begin = (now if end is None else end) - DAYS * 86400.0 if disagreements or against else 0.0
    which = Which(first_id(begin), segment=segment, model=model)
    if end is not None:
        which = which._replace(before=first_id(end))
    with _opened(config) as opened:
        if disagreements or against:
            _disagree(opened, which, limit, against, as_json=as_json)
        elif follow:
            with suppress(KeyboardInterrupt):
                _follow(opened, which, limit, as_json=as_json)
        else:
            _list(opened, which, limit, as_json=as_json)


@decisions.command()
@click.argument("decision_id", metavar="ID")
@CONFIG
@AS_JSON
@click.pass_context
def show(ctx: click.Context, decision_id: str, config: Path | None, as_json: bool) -> None:
    """Print one decision with all candidates and all outcomes."""
    from sidecar.decisions.latest import whole
    from sidecar.decisions.text import show as lines

    if not _ID.fullmatch(decision_id):
        raise InvalidRequest("ID: is no id of a decision; give the 32 hexadecimal digits of Route's reply.")
    with _opened(config or ctx.obj) as opened:
        found = whole(opened.store, bytes.fromhex(decision_id))
        if found is None:
            raise InvalidRequest(f"{decision_id}: the ledger holds no such decision{_waiting(opened)}.")
    click.echo(_json(found) if as_json else "\n".join(lines(found)))


def _list(opened: _Opened, which: Any, limit: int, *, as_json: bool) -> None:
    from sidecar.decisions.latest import latest
    from sidecar.decisions.text import HEADING, row
    from sidecar.terminal import table

    found = latest(opened.store, which, limit)
    if as_json:
        click.echo(_json(found))
    elif found:
        click.echo("\n".join(table([HEADING, *map(row, found)])))
    else:
        click.echo(_none(opened))


def _disagree(opened: _Opened, which: Any, limit: int, against: str, *, as_json: bool) -> None:
    from sidecar.decisions.adoption import adoption
    from sidecar.decisions.text import disagreements as lines

    aliases = {alias: entry.name for entry in opened.config.candidates for alias in entry.aliases}
    found = adoption(opened.store, which, aliases, limit, against)
    if found is not None and against and found.overall.caller is None:
        raise InvalidRequest(f"--against: {against!r} was no candidate of these decisions; see `router-sidecar info`.")
    if as_json:
        click.echo(_json(found))
    elif found is not None:
        click.echo("\n".join(lines(found)))
    elif not opened.store.select(which, 1):
        click.echo(_none(opened))
    elif against:
        click.echo("none of these decisions was applied: all were made in log-only mode; see --disagreements.")
    else:
        click.echo(
            "no decision of these was made in log-only mode: set `log_only = true`, or `log_only = true` in "
            "[segments.NAME], and let callers send `current_model`."
        )


def _follow(opened: _Opened, which: Any, limit: int, *, as_json: bool) -> None:
    from sidecar.decisions.latest import Follower
    from sidecar.decisions.text import HEADING, row
    from sidecar.terminal import table, widths_of

    follower = Follower(opened.store, which)
    widths: Sequence[int] = ()
    fresh = follower.first(limit, time.time())
    while True:
        if as_json:
            for told in fresh:
                click.echo(_json(told, indent=0))
        elif fresh or not widths:
            rows = [HEADING, *map(row, fresh)]
            lines = table(rows, widths)
            click.echo("\n".join(lines[2:] if widths else lines))
            widths = [max(pair) for pair in zip(widths_of(rows), widths or [0] * len(HEADING), strict=True)]
        time.sleep(LOOK_AGAIN_S)
        fresh = follower.new(time.time())


def _none(opened: _Opened) -> str:
    from sidecar.ledger.store import Which

    if opened.store.select(Which(), 1):
        return "the ledger holds decisions, but none of these: see to --since, --until, --segment and --model."
    return f"the ledger holds no decision yet{_waiting(opened)}."


def _waiting(opened: _Opened) -> str:
    from sidecar.ledger.state import journals

    backlog = journals(opened.config.ledger, opened.store.positions()).backlog_bytes
    return f"; {backlog} bytes wait in the journals to be imported" if backlog else ""


def _json(found: Any, indent: int = 2) -> str:
    import msgspec

    encoded = msgspec.json.encode(found)
    return (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()


@contextmanager
def _opened(file: Path | None) -> Iterator[_Opened]:
    from sidecar.config import load_config
    from sidecar.ledger.state import existing_store
    from sidecar.ledger.store import StoreError

    if file is None:
        raise StoreError("--config: is missing, so there is no ledger to look at; give the sidecar's TOML file.")
    config = load_config(file)
    store = existing_store(config.ledger)
    try:
        yield _Opened(store, config)
    finally:
        store.close()
