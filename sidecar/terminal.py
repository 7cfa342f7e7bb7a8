"""What the command line prints, and its one connection."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import grpc
from google.protobuf.json_format import MessageToJson
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.access import PLAIN, Access
from sidecar.errors import RouterError
from sidecar.logs import second
from sidecar.wire import fleet_pb2 as fleet_pb
from sidecar.wire import router_pb2 as pb
from sidecar.wire import router_pb2_grpc as rpc

PATIENCE_SECONDS = 10.0
HEALTH_NAMES = "readiness, liveness, scoring, coverage, device"


@contextmanager
def connect(
    target: str, access: Access = PLAIN, service: Any = rpc.RouterServiceStub, patience_s: float = PATIENCE_SECONDS
) -> Iterator[Callable[[str, Any], Any]]:
    """A function that calls a method of a service by name, and gives its reply, or an iterator over its replies.

    Raises:
        RouterError: the call failed; the message says how, and what to do.
    """
    metadata = access.metadata(target)
    with access.channel(target) as channel:
        stub = service(channel)

        def call(method: str, request: Any) -> Any:
            ask = getattr(stub, method)
            if isinstance(ask, grpc.UnaryStreamMultiCallable):
                return _each(ask(request, metadata=metadata), target, access)
            try:
                return ask(request, timeout=patience_s, metadata=metadata)
            except grpc.RpcError as error:
                raise _failed(error, target, access) from None

        yield call


def _each(replies: Iterator[Any], target: str, access: Access) -> Iterator[Any]:
    try:
        yield from replies
    except grpc.RpcError as error:
        raise _failed(error, target, access) from None


def _failed(error: Any, target: str, access: Access) -> RouterError:
    code, details = error.code(), error.details()
    # Of the sidecar's own words that something is not there just now, none are these.
    if code is grpc.StatusCode.UNAVAILABLE and "connect" in details:
        return RouterError(_silent(target, access))
    if code is grpc.StatusCode.UNAUTHENTICATED and access.token_file is None:
        return RouterError(f"{code.name}: this sidecar wants a token: give --token-file.")
    return RouterError(f"{code.name}: {details}")


def show(reply: Any, as_json: bool, render: Callable[[Any], Sequence[str]]) -> None:  # noqa: FBT001 - a flag of the command line
    """Prints a reply, as JSON or as lines."""
    if as_json:
        click.echo(MessageToJson(reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
    else:
        click.echo("\n".join(render(reply)))


def check_health(target: str, service: str, access: Access = PLAIN) -> str:
    """The status of a health name in a word, if it is SERVING.

    Raises:
        RouterError: it is not, or nobody answers.
    """
    with access.channel(target) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_SECONDS
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise RouterError(f"{service}: is no health name of this sidecar; known are {HEALTH_NAMES}.") from None
            raise RouterError(f"{service}: {error.code().name} from {target}") from None
    status = str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise RouterError(f"{service}: {status}")
    return status


def _silent(target: str, access: Access) -> str:
    if access.tls_ca is None:
        return f"no sidecar answers at {target}: start one with `router-sidecar serve`; if it has TLS, give --tls-ca."
    return (
        f"no sidecar answers at {target} over TLS: see that it runs with [tls], that --tls-ca signed its certificate, that "
        "this is made out to the target's host (else --tls-name), and whether it wants --tls-cert and --tls-key."
    )


def table(rows: Sequence[Sequence[str]], at_least: Sequence[int] = ()) -> list[str]:
    """Rows as aligned lines; the first row is the heading. Columns of numbers stand to the right.

    Args:
        rows: each with as many cells.
        at_least: widths of the columns, for rows that continue a table; see `widths_of`.
    """
    widths = [max(pair) for pair in zip(widths_of(rows), at_least or [0] * len(rows[0]), strict=True)]
    right = [all(_is_number(row[column]) for row in rows[1:]) for column in range(len(rows[0]))]
    aligned = [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]
    return [aligned[0], "  ".join("-" * width for width in widths), *aligned[1:]]


def widths_of(rows: Sequence[Sequence[str]]) -> list[int]:
    """Characters that each column takes."""
    return [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]


def reasons(reply: pb.RouteResponse) -> str:
    """The reasons of a decision in words."""
    return ", ".join(pb.Reason.Name(reason).removeprefix("REASON_") for reason in reply.reasons)


def render_decision(reply: pb.RouteResponse) -> list[str]:
    """A RouteResponse as lines."""
    timings = reply.timings
    scored_by = f"{reply.bundle_name} {reply.bundle_version}" if reply.bundle_name else "nothing"
    heading = ("candidate", "quality", "cost USD", "seconds", "utility USD")
    ranking = [
        (
            row.candidate if row.candidate == row.model else f"{row.candidate} ({row.model})",
            f"{row.quality:.3f}",
            f"{row.cost_usd:.6f}",
            f"{row.expected_seconds:.2f}",
            f"{row.utility_usd:.6f}",
        )
        for row in reply.ranking
    ]
    only = "" if reply.applied else "; only recorded: log-only mode"
    wait = f"; back in {reply.retry_after_ms / 1000.0:.1f} s" if reply.retry_after_ms else ""
    return [
        f"{reply.model}  ({reasons(reply)}{only}{wait}; policy {reply.policy}; novelty {reply.novelty:.2f}; scored by {scored_by})",
        f"decision {reply.decision_id}",
        f"{timings.total_us} us: intake {timings.intake_us}, queue {timings.queue_us}, tokenize {timings.tokenize_us}, "
        f"score {timings.score_us}, decide {timings.decide_us}; batch of {timings.batch_size}"
        + (", scores from the cache" if timings.cached else ""),
        "",
        *table([heading, *ranking]),
    ]


def render_info(reply: pb.InfoResponse) -> list[str]:
    """An InfoResponse as lines."""
    bundle, limits, counters = reply.bundle, reply.limits, reply.counters
    running = f"{bundle.name} {bundle.version} ({bundle.family}, manifest {bundle.manifest_sha256[:12]})"
    candidates = [
        (
            row.name,
            row.model,
            ", ".join(row.aliases),
            f"{row.input_usd_per_mtok:g}",
            f"{row.output_usd_per_mtok:g}",
            str(row.context_window) if row.context_window else "unknown",
            ", ".join(row.capabilities),
            f"{row.prior_quality:.3f}",
        )
        for row in reply.candidates
    ]
    policies = [
        (
            name + (" (default)" if name == reply.default_policy else ""),
            f"{policy.answer_value_usd:g}",
            f"{policy.second_value_usd:g}",
            f"{policy.min_quality:g}",
            f"{policy.max_cost_usd:g}" if policy.HasField("max_cost_usd") else "none",
            f"{policy.max_latency_ms}" if policy.HasField("max_latency_ms") else "none",
        )
        for name, policy in sorted(reply.policies.items())
    ]
    return [
        f"router-sidecar {reply.version}, transport {reply.transport}",
        f"bundle: {running if reply.HasField('bundle') else 'none'}, {_provider(reply)}",
        *([f"DEVICE: {reply.device_fault}"] if reply.device_fault else []),
        *([f"DEGRADED: {reply.degraded}"] if reply.degraded else []),
        f"safe candidate: {reply.safe_candidate}",
        f"limits: {limits.max_message_bytes} bytes a message, {limits.max_batch_items} items a RouteBatch, "
        f"{limits.max_score_batch} requests a run, {limits.max_scored_chars} characters scored, "
        f"{limits.max_waiting} waiting for at most {limits.max_queue_ms:g} ms, then {limits.overload_action}",
        f"served: {counters.decisions} decisions in {counters.batches} runs, {counters.degraded} degraded, "
        f"{counters.invalid} invalid, {counters.shed} shed, {counters.over_budget} over budget, {counters.expired} expired, "
        f"{counters.cancelled} cancelled; "
        f"by {reply.workers or 'an unknown number of'} worker(s), this is number {reply.worker}",
        _cache(reply),
        *_coverage(reply.coverage),
        *(
            [f"canary: {reply.canary.name} {reply.canary.version}, {reply.canary_share:.1%}"]
            if reply.canary_share
            else []
        ),
        "",
        *table([("candidate", "model", "aliases", "USD/M in", "USD/M out", "context", "can", "prior"), *candidates]),
        "",
        *table([("policy", "answer USD", "second USD", "min quality", "max USD", "max ms"), *policies]),
    ]


def _cache(reply: pb.InfoResponse) -> str:
    limit, counters = reply.limits.cache_max_bytes, reply.counters
    if not limit:
        return "score cache: off"
    lookups = counters.cache_hits + counters.cache_misses
    share = f"{counters.cache_hits / lookups:.1%} hits of {lookups} lookups" if lookups else "no lookups yet"
    return (
        f"score cache: {share}, {counters.cache_bytes / 1e6:.2f} MB held, at most {limit / 1e6:.2f} MB a worker, "
        f"{counters.cache_evictions} evictions"
    )


def _provider(reply: Any) -> str:
    reason = f" ({reply.execution_provider_reason})" if reply.execution_provider_reason else ""
    return f"{reply.execution_provider or 'no provider'}{reason}"


def _coverage(coverage: pb.Coverage) -> list[str]:
    def told(covered: pb.SegmentCoverage) -> str:
        total = covered.scored + covered.unscored
        return f"{covered.scored / total:.1%} of {total}"

    overall = coverage.overall
    if not overall.scored + overall.unscored:
        return [f"coverage: no requests in the last {coverage.window_seconds} s"]
    alarms = [f"{covered.segment or '(no segment)'} {told(covered)}" for covered in coverage.segments if covered.alarm]
    return [
        f"coverage: {told(overall)} requests in the last {coverage.window_seconds} s were scored",
        *([f"COVERAGE ALARM (below {coverage.alarm_below:.1%}): {', '.join(alarms)}"] if alarms else []),
    ]


def render_fleet(reply: fleet_pb.FleetResponse) -> list[str]:
    """A FleetResponse as lines. A dash is unknown."""
    rows = [
        (
            row.candidate,
            fleet_pb.CandidateState.Name(row.state).removeprefix("CANDIDATE_STATE_").lower().replace("_", " "),
            _figure(row, "share", "{:.0%}"),
            _figure(row, "in_flight", "{:.0f}"),
            _figure(row, "slots", "{:.0f}"),
            _figure(row, "running", "{:.0f}"),
            _figure(row, "waiting", "{:.0f}"),
            _figure(row, "kv_used", "{:.0%}"),
            _figure(row, "telemetry_age_seconds", "{:.1f}"),
            _figure(row, "wait_seconds", "{:.2f}"),
            _figure(row, "first_token_seconds", "{:.2f}"),
            _figure(row, "seconds_per_token", "{:.1f}", 1000.0),
            _figure(row, "error_rate", "{:.1%}"),
            _figure(row, "decisions", "{:.0f}"),
            _figure(row, "outcomes", "{:.0f}"),
            f"{row.recovery_seconds:.1f}" if row.recovery_seconds else "",
        )
        for row in reply.candidates
    ]
    heading = (
        *("candidate", "state", "share", "in flight", "slots", "running", "waiting", "KV", "age s", "wait s"),
        *("TTFT s", "ms/token", "errors", "decisions", "outcomes", "back in s"),
    )
    lines = [f"fleet at {second(reply.time.seconds)}", "", *table([heading, *rows])]
    if reply.budgets:
        uses = [_use(budget, limit) for budget in reply.budgets for limit in budget.limits]
        lines += ["", *table([BUDGETS, *uses])]
    return lines


BUDGETS = ("budget", "candidates", "segments", "counts", "used", "limit", "in", "when used up", "opens again")


def _use(budget: fleet_pb.BudgetLoad, limit: fleet_pb.BudgetLimit) -> tuple[str, ...]:
    money = limit.unit == fleet_pb.BUDGET_UNIT_USD
    return (
        budget.budget,
        ", ".join(budget.candidates) or "(all)",
        ", ".join(segment or "(no segment)" for segment in budget.segments) or "(all)",
        fleet_pb.BudgetUnit.Name(limit.unit).removeprefix("BUDGET_UNIT_").lower(),
        f"{limit.used:.4f}" if money else f"{limit.used:.0f}",
        f"{limit.limit:g}",
        "a day" if money else f"{limit.window_seconds:g} s",
        "refuses" if budget.refuses else "last resort",
        second(budget.opens.seconds) if budget.exhausted else "-",
    )


def _figure(row: fleet_pb.CandidateLoad, name: str, form: str, times: float = 1.0) -> str:
    return form.format(times * getattr(row, name)) if row.HasField(name) else "-"


def _is_number(cell: str) -> bool:
    return cell in {"", "-"} or cell.rstrip("%").lstrip("+-").replace(".", "", 1).isdigit()
