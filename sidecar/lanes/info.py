"""What Info answers: what this sidecar runs and within which limits."""

from collections.abc import Callable

import sidecar
from sidecar.bundle.load import Bundle
from sidecar.config import Config
from sidecar.lanes.auto import LaneChoice
from sidecar.routing.candidates import Candidate
from sidecar.routing.policy import Policy
from sidecar.routing.router import Router
from sidecar.wire import router_pb2 as pb


def describe(config: Config, bundle: Bundle | None, router: Router, lane: LaneChoice) -> Callable[[], pb.InfoResponse]:
    """A function that gives the present InfoResponse; all but the counters and the fault is settled now."""
    table = router.table
    fixed = pb.InfoResponse(
        version=sidecar.__version__,
        lane=lane.make.name,
        lane_reason=lane.reason,
        execution_provider=bundle.execution_provider if bundle else "",
        bundle=_bundle(bundle) if bundle else None,
        candidates=[_candidate(row) for row in table.rows if row.offered],
        policies={name: _policy(policy) for name, policy in config.all_policies().items()},
        default_policy=config.default_policy,
        safe_candidate=table.rows[table.safe].name,
        limits=pb.Limits(
            max_message_bytes=config.max_message_bytes,
            max_batch_items=config.max_batch_items,
            max_score_batch=config.max_score_batch,
            max_scored_chars=bundle.manifest.text_recipe.max_chars if bundle else 0,
        ),
    )

    def info() -> pb.InfoResponse:
        present = pb.InfoResponse()
        present.CopyFrom(fixed)
        present.degraded = router.fault
        tally = router.tally
        present.counters.CopyFrom(
            pb.Counters(
                decisions=tally.decisions, degraded=tally.degraded, invalid=tally.invalid, batches=tally.batches
            )
        )
        return present

    return info


def _bundle(bundle: Bundle) -> pb.BundleInfo:
    manifest = bundle.manifest
    return pb.BundleInfo(
        name=manifest.name, version=manifest.version, family=manifest.family, manifest_sha256=bundle.manifest_sha256
    )


def _candidate(row: Candidate) -> pb.CandidateInfo:
    return pb.CandidateInfo(
        name=row.name,
        model=row.model,
        aliases=row.config.aliases,
        input_usd_per_mtok=row.input_usd_per_mtok,
        output_usd_per_mtok=row.output_usd_per_mtok,
        context_window=row.config.context_window,
        capabilities=row.config.capabilities,
        prior_quality=row.prior_quality,
    )


def _policy(policy: Policy) -> pb.Policy:
    return pb.Policy(
        answer_value_usd=policy.answer_value_usd,
        second_value_usd=policy.second_value_usd,
        min_quality=policy.min_quality,
        max_cost_usd=policy.max_cost_usd,
        max_latency_ms=policy.max_latency_ms,
    )
