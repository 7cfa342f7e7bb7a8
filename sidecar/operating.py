"""Commands that change what a running sidecar scores with, and what they print."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from sidecar.access import Access, access_options

TARGET = "127.0.0.1:8470"
# A trial of a minute, and loading in all workers.
PATIENCE_S = 300.0


def _options(command: Callable[..., None]) -> Callable[..., None]:
    target = click.option("--target", default=TARGET, metavar="HOST:PORT", help="The sidecar to ask.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Print the reply as JSON.")
    return target(as_json(access_options(command)))


@click.command()
@click.argument("directory")
@click.option(
    "--canary", "share", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Only for this share."
)
@click.option("--require-agreement", type=click.FloatRange(0, 1), help="Refuse it if it chooses otherwise more often.")
@click.option("--dry-run", is_flag=True, help="Do everything up to the switch, and stop there.")
@_options
def activate(
    directory: str,
    share: float | None,
    require_agreement: float | None,
    dry_run: bool,
    target: str,
    as_json: bool,
    access: Access,
) -> None:
    """Activate the bundle in DIRECTORY of the registry, without a restart. That of the running canary promotes it."""
    from sidecar.wire import bundle_pb2 as pb

    request = pb.ActivateBundleRequest(
        directory=directory, canary_share=share, require_agreement=require_agreement, dry_run=dry_run
    )
    with _service(target, access) as call:
        _print(call("ActivateBundle", request), as_json, render_activation)


@click.command()
@_options
def rollback(target: str, as_json: bool, access: Access) -> None:
    """End the running canary; without one, bring back the bundle before, which is still in memory."""
    from sidecar.wire import bundle_pb2 as pb

    with _service(target, access) as call:
        _print(
            call("RollbackBundle", pb.RollbackBundleRequest()),
            as_json,
            lambda reply: [*render_state(reply.state), f"switched in {reply.switch_ms:.0f} ms"],
        )


@click.command("list")
@_options
def list_bundles(target: str, as_json: bool, access: Access) -> None:
    """Print what runs, and what lies in the registry."""
    from sidecar.wire import bundle_pb2 as pb

    with _service(target, access) as call:
        _print(call("ListBundles", pb.ListBundlesRequest()), as_json, render_list)


@click.command()
@_options
def watch(target: str, as_json: bool, access: Access) -> None:
    """Print what runs, and then every change as it happens, until interrupted."""
    from sidecar.wire import bundle_pb2 as pb

    with _service(target, access) as call, suppress(KeyboardInterrupt):
        for event in call("WatchBundles", pb.WatchBundlesRequest()):
            _print(event, as_json, render_event)


@contextmanager
def _service(target: str, access: Access) -> Iterator[Callable[[str, Any], Any]]:
    from sidecar.terminal import connect
    from sidecar.wire import bundle_pb2_grpc as rpc

    with connect(target, access, rpc.BundleServiceStub, PATIENCE_S) as call:
        yield call


def _print(reply: Any, as_json: bool, render: Callable[[Any], Sequence[str]]) -> None:
    from sidecar.terminal import show

    show(reply, as_json, render)


def render_state(state: Any) -> list[str]:
    """A BundleState as lines."""
    lines = []
    for role in ("running", "previous", "canary"):
        if state.HasField(role):
            bundle = getattr(state, role)
            share = f", {state.canary_share:.1%} of the traffic" if role == "canary" else ""
            lines.append(f"{role:<9} {bundle.directory}: {bundle.version} ({bundle.manifest_sha256[:12]}){share}")
    return lines or ["nothing runs"]


def render_activation(reply: Any) -> list[str]:
    """An ActivateBundleResponse as lines."""
    from sidecar.terminal import table

    lines = render_state(reply.state)
    found, cost = reply.comparison, reply.cost
    if found.requests:
        rows = [(row.candidate, f"{row.before:.1%}", f"{row.after:.1%}") for row in found.candidates]
        lines += [
            "",
            f"on {found.requests} recent requests: the same choice for {found.agreement:.1%}; "
            f"USD per 1k calls {1000 * found.cost_usd_before:.4f} -> {1000 * found.cost_usd_after:.4f}; "
            f"quality, each by its own account, {found.quality_before:.3f} -> {found.quality_after:.3f}",
            *table([("candidate", "before", "after"), *rows]),
        ]
    else:
        lines += ["", "no recent requests to compare on"]
    lines += ["", f"gate {cost.gate_ms:.0f} ms, loading {cost.prepare_ms:.0f} ms, switch {cost.switch_ms:.0f} ms"]
    if cost.p99_before_us and cost.p99_during_us:
        lines.append(f"p99 in the server {cost.p99_before_us:.0f} us before, {cost.p99_during_us:.0f} us meanwhile")
    return lines


def render_list(reply: Any) -> list[str]:
    """A ListBundlesResponse as lines."""
    from sidecar.terminal import table

    rows = [
        (
            row.directory,
            f"{row.bundle.name} {row.bundle.version}" if row.HasField("bundle") else "REFUSED",
            row.bundle.manifest_sha256[:12],
            row.refusal,
        )
        for row in reply.bundles
    ]
    lines = [*render_state(reply.state), f"in {reply.state.workers} workers"]
    return [*lines, "", *table([("directory", "bundle", "digest", "why not"), *rows])] if rows else lines


def render_event(event: Any) -> list[str]:
    """A WatchBundlesResponse as lines."""
    from sidecar.logs import second
    from sidecar.wire import bundle_pb2 as pb

    kind = pb.BundleEvent.Name(event.event).removeprefix("BUNDLE_EVENT_")
    running = event.state.running
    return [
        f"{second(event.time.seconds)}  {kind}: {event.message}  [running: {running.directory or 'nothing'} {running.version}]"
    ]
