"""The command line of router-sidecar. Commands import what they need when they run: `--help` stays instant."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

import sidecar
from sidecar import operating
from sidecar.access import Access, access_options
from sidecar.decisions.cli import decisions
from sidecar.errors import RouterError
from sidecar.ledger.cli import ledger
from sidecar.operating import TARGET

DIRECTORY = click.Path(path_type=Path, file_okay=False)
TRUST = click.option(
    "--trust",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Public key by which bundles must be signed, or a directory of *.pem; give it again for further keys.",
)


class _Command(click.Group):
    """Turns our errors into one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RouterError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Command, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(sidecar.__version__, prog_name="router-sidecar")
def main() -> None:
    """Decides, inline, which model answers each LLM request."""


@main.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML file; see `config show`.")
@click.option("--bundle", type=DIRECTORY, help="Bundle directory instead of the embedded default bundle.")
@click.option("--listen", metavar="HOST:PORT", help=f"Where to listen; port 0 lets the system choose. [{TARGET}]")
@click.option("--transport", type=click.Choice(["http2", "grpcio"]), help="What carries calls: our own, or grpc's.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that serve. [one per core but one]")
@click.option("--registry", type=DIRECTORY, help="Directory of bundles that can be activated while it runs.")
@click.option("--insecure", is_flag=True, help="Serve strangers too, where the address is reachable from elsewhere.")
@TRUST
def serve(config: Path | None, **options: Any) -> None:
    """Serve Route over gRPC until SIGTERM or SIGINT; SIGHUP reads the configuration anew and replaces all processes."""
    from sidecar.start import collector_at_rest

    with collector_at_rest():
        import asyncio

        from sidecar import logs
        from sidecar.bundle.embedded import configured_bundle
        from sidecar.supervisor import Supervisor

        logs.begin()
        settings = _settings(config, options)
        _warn(settings)
    supervisor = Supervisor(
        settings,
        configured_bundle(settings),
        say=lambda line: click.echo(line, err=True),
        again=lambda: _settings(config, options),
    )
    asyncio.run(supervisor.run())


def _settings(file: Path | None, options: dict[str, Any]) -> Any:
    """The configuration of the file, with what the command line says instead."""
    import msgspec

    from sidecar.bundle.signature import Trust
    from sidecar.config import Config, load_config
    from sidecar.door.check import check_door

    settings = load_config(file) if file else Config()
    given = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
    given["trust"] = tuple(map(str, options["trust"]))
    settings = msgspec.structs.replace(settings, **{key: value for key, value in given.items() if value}).checked()
    check_door(settings)
    Trust.read(map(Path, settings.trust))
    return settings


@main.command()
@click.argument("text")
@click.option("--target", default=TARGET, metavar="HOST:PORT", help="The sidecar to ask.")
@click.option("--segment", default="", help="Slice of traffic.")
@click.option("--policy", default="", help="Name of a policy.")
@click.option("--session", default="", help="Conversation whose next turn this is.")
@click.option("--current-model", default="", help="The model that answers today; log-only segments ask for it.")
@click.option("--json", "as_json", is_flag=True, help="Print the reply as JSON.")
@access_options
def route(
    text: str,
    target: str,
    segment: str,
    policy: str,
    session: str,
    current_model: str,
    *,
    as_json: bool,
    access: Access,
) -> None:
    """Ask a running sidecar which model should answer TEXT (`-` reads standard input).

    It counts as a decision: it is recorded, and the chosen model as called.
    """
    from sidecar.terminal import connect, render_decision, show
    from sidecar.wire import router_pb2 as pb

    request = pb.RouteRequest(
        text=sys.stdin.read() if text == "-" else text,
        segment=segment,
        session_id=session,
        current_model=current_model,
    )
    if policy:
        request.policy_name = policy
    with connect(target, access) as call:
        reply = call("Route", request)
    show(reply, as_json, render_decision)


@main.command()
@click.option("--target", default=TARGET, metavar="HOST:PORT", help="The sidecar to ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the reply as JSON.")
@access_options
def info(target: str, as_json: bool, access: Access) -> None:
    """Ask a running sidecar what it runs and within which limits."""
    from sidecar.terminal import connect, render_info, show
    from sidecar.wire import router_pb2 as pb

    with connect(target, access) as call:
        reply = call("Info", pb.InfoRequest())
    show(reply, as_json, render_info)


@main.command()
@click.option("--target", default=TARGET, metavar="HOST:PORT", help="The sidecar to ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the reply as JSON.")
@click.option("--watch", is_flag=True, help="Again every second, until interrupted.")
@access_options
def fleet(target: str, as_json: bool, watch: bool, access: Access) -> None:
    """Ask a running sidecar how loaded the candidates are, and which of them may be chosen."""
    import time

    from sidecar.terminal import connect, render_fleet, show
    from sidecar.wire import fleet_pb2 as pb
    from sidecar.wire import fleet_pb2_grpc as rpc

    with connect(target, access, rpc.FleetServiceStub) as call, suppress(KeyboardInterrupt):
        while True:
            reply = call("Fleet", pb.FleetRequest())
            if watch and not as_json:
                click.clear()
            show(reply, as_json, render_fleet)
            if not watch:
                return
            time.sleep(1.0)


@main.command()
@click.option("--target", default=TARGET, metavar="HOST:PORT", help="The sidecar to ask.")
@click.option("--service", default="readiness", help="readiness: it answers; scoring: it answers with real scores.")
@access_options
def health(target: str, service: str, access: Access) -> None:
    """Exit with status 0 if a running sidecar is SERVING, else 1; for probes of containers."""
    from sidecar.terminal import check_health

    click.echo(check_health(target, service, access))


@main.command()
def demo() -> None:
    """Start a sidecar on the default bundle, route a dozen prompts through it, print what was chosen."""
    from sidecar.demo import run

    run()


@main.group()
def bundle() -> None:
    """Look at exported routers, and change the one that a running sidecar scores with."""


for operation in (operating.activate, operating.rollback, operating.list_bundles, operating.watch):
    bundle.add_command(operation)


@bundle.command()
@click.argument("directory", type=DIRECTORY)
@TRUST
def verify(directory: Path, trust: tuple[Path, ...]) -> None:
    """Check DIRECTORY as `serve` would: files, digests, signatures, graph, golden vectors."""
    from sidecar.bundle.load import load
    from sidecar.bundle.signature import Trust

    loaded = load(directory, trust=Trust.read(trust))
    manifest = loaded.manifest
    signed = f", signed by trusted {', '.join(loaded.vouched)}" if loaded.vouched else ""
    click.echo(f"{manifest.name} {manifest.version}: sound; {len(manifest.files)} files{signed}, golden vectors hold.")


@bundle.command()
@click.argument("directory", type=DIRECTORY)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def inspect(directory: Path, as_json: bool) -> None:
    """Print what the bundle in DIRECTORY is, without loading its model."""
    import msgspec

    from sidecar.bundle.summary import lines, summarise

    summary = summarise(directory)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(summary), indent=2).decode())
    else:
        click.echo("\n".join(lines(summary)))


main.add_command(ledger)
main.add_command(decisions)


@main.group()
def token() -> None:
    """Make the tokens that callers show."""


@token.command()
@click.option("--name", required=True, help="Whose it is.")
@click.option(
    "--role",
    "roles",
    required=True,
    multiple=True,
    type=click.Choice(["route", "report", "operate"]),
    help="What it is good for; may be given more than once.",
)
def new(name: str, roles: tuple[str, ...]) -> None:
    """Print a new token, and on standard error the lines for the tokens file, which hold only its digest.

    router-sidecar token new --name gateway --role route > gateway.token 2>> tokens.toml
    """
    from sidecar.door.tokens import Role, mint

    minted = mint(name, [Role(role) for role in roles])
    click.echo(minted.token)
    click.echo(minted.lines, err=True)


@main.group()
def config() -> None:
    """Look at configuration files."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check(file: Path) -> None:
    """Check FILE and all that it names, as `serve` would: bundle, certificates, tokens, ledger, registry, hooks.

    Prints what is allowed and hardly meant as warnings on standard error.
    """
    from sidecar.config import load_config
    from sidecar.doubts import doubts
    from sidecar.preflight import preflight

    settings = load_config(file)
    table, trained = preflight(settings)
    for doubt in doubts(settings, trained):
        click.echo(f"warning: {doubt}", err=True)
    click.echo(f"{file}: sound; {int(table.offered.sum())} candidates, safe is {table.rows[table.safe].name}.")


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
def show(file: Path | None) -> None:
    """Print the effective configuration of FILE, or the defaults, as JSON."""
    import msgspec

    from sidecar.config import Config, load_config
    from sidecar.ledger.settings import shown

    settings = load_config(file) if file else Config()
    effective = {**msgspec.to_builtins(settings), "policies": msgspec.to_builtins(settings.all_policies())}
    effective["ledger"]["url"] = shown(settings.ledger.url)
    click.echo(msgspec.json.format(msgspec.json.encode(effective), indent=2).decode())


def _warn(settings: Any) -> None:
    from sidecar.door.exposure import lacking
    from sidecar.doubts import doubts

    for doubt in doubts(settings):
        click.echo(f"warning: {doubt}", err=True)
    missing = lacking(settings.listen, settings.tls, settings.tokens)
    if missing:
        host = settings.listen.rpartition(":")[0]
        click.echo(f"warning: {host} is reachable from elsewhere, and {missing}", err=True)


if __name__ == "__main__":
    main()
