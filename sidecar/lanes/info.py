"""What Info answers: what this sidecar runs, within which limits, what it served, and how much of it was scored."""

from collections.abc import Callable, Mapping, Sequence

import sidecar
from sidecar.bundle.load import Bundle
from sidecar.config import Config
from sidecar.coverage import ENOUGH, Covered
from sidecar.lanes.services import RouterServices
from sidecar.lanes.versions import Decisions
from sidecar.routing.candidates import Candidate, CandidateTable
from sidecar.routing.policy import Policy
from sidecar.stats import Stats
from sidecar.wire import router_pb2 as pb

MOST_SEGMENTS_SHOWN = 100


class Info:
    """Answers Info.

    Args:
        config: limits and policies.
        services: what is served.
        more: what else was counted: decisions by reason, outcomes, the ledger.

    Attributes:
        worker: number of this worker.
        others: what the other workers served, as last told.
        workers: how many there are; 0 while it is not known.
        window: requests of this worker in the coverage window, by segment, as of the last tick.
    """

    def __init__(self, config: Config, services: RouterServices, more: Callable[[], Stats] = Stats) -> None:
        self._config = config
        self._services = services
        self._more = more
        self.worker = 0
        self.workers = 0
        self.others = Stats()
        self.window: Mapping[str, Covered] = {}

    def __call__(self, _raw: bytes) -> bytes:
        """The bytes of the present InfoResponse."""
        return self.describe().SerializeToString()

    def own(self) -> Stats:
        """What this worker served."""
        drops, cache, bundle = self._services.drops, self._services.cache(), self._services.engine.bundle
        return self._more() + Stats(
            versions={name: tuple(counts) for name, counts in self._services.decisions().items()},
            invalid=drops.invalid,
            shed=drops.shed,
            expired=drops.expired,
            cancelled=drops.cancelled,
            cache_hits=cache.hits,
            cache_misses=cache.misses,
            cache_evictions=cache.evictions,
            cache_bytes=cache.held_bytes,
            window={segment: tuple(covered) for segment, covered in self.window.items()},
            providers=_providers(bundle),
            device_faults=bundle.placement.faults if bundle else 0,
        )

    def describe(self) -> pb.InfoResponse:
        """The present InfoResponse."""
        config, services = self._config, self._services
        engine, canary = services.engine, services.canary
        bundle, table = engine.bundle, engine.table
        served = self.own() + self.others
        decided = [Decisions(*counts) for counts in served.versions.values()]
        overload = config.overload
        return pb.InfoResponse(
            version=sidecar.__version__,
            transport=config.transport,
            lane=config.transport,
            execution_provider=bundle.execution_provider if bundle else "",
            bundle=describe_bundle(bundle) if bundle else None,
            degraded=engine.fault,
            candidates=[_candidate(row) for row in table.rows if row.offered],
            policies={name: _policy(policy) for name, policy in config.all_policies().items()},
            default_policy=config.default_policy,
            safe_candidate=_safe(table),
            limits=pb.Limits(
                max_message_bytes=config.max_message_bytes,
                max_batch_items=config.max_batch_items,
                max_score_batch=config.max_score_batch,
                max_scored_chars=bundle.manifest.text_recipe.max_chars if bundle else 0,
                max_waiting=overload.max_waiting,
                max_queue_ms=overload.max_queue_ms,
                overload_action=overload.action,
                cache_max_bytes=config.cache.max_bytes,
            ),
            counters=pb.Counters(
                decisions=sum(one.decisions for one in decided),
                degraded=sum(one.degraded for one in decided),
                invalid=served.invalid,
                batches=sum(one.batches for one in decided),
                shed=served.shed,
                over_budget=served.over_budget,
                expired=served.expired,
                cancelled=served.cancelled,
                cache_hits=served.cache_hits,
                cache_misses=served.cache_misses,
                cache_evictions=served.cache_evictions,
                cache_bytes=served.cache_bytes,
            ),
            versions=[
                pb.VersionCounters(version=version, **counts._asdict())
                for version, counts in zip(served.versions, decided, strict=True)
            ],
            coverage=self._coverage(served.covered()),
            canary=describe_bundle(canary.engine.bundle) if canary and canary.engine.bundle else None,
            canary_share=canary.share if canary else 0.0,
            worker=self.worker,
            workers=self.workers,
            device_fault=bundle.placement.fault if bundle else "",
            execution_provider_reason=bundle.placement.reason if bundle else "",
        )

    def _coverage(self, window: Mapping[str, Covered]) -> pb.Coverage:
        alarm_below = self._config.coverage.alarm_below

        def told(segment: str, covered: Covered) -> pb.SegmentCoverage:
            alarm = covered.total >= ENOUGH and covered.share < alarm_below
            return pb.SegmentCoverage(segment=segment, scored=covered.scored, unscored=covered.unscored, alarm=alarm)

        lowest: Sequence[tuple[str, Covered]] = sorted(window.items(), key=lambda item: item[1].share)
        return pb.Coverage(
            window_seconds=self._config.coverage.window_seconds,
            alarm_below=alarm_below,
            overall=told("", sum(window.values(), Covered(0, 0))),
            segments=[told(segment, covered) for segment, covered in lowest[:MOST_SEGMENTS_SHOWN]],
        )


def _providers(bundle: Bundle | None) -> dict[str, tuple[int, ...]]:
    return {bundle.execution_provider: (1,)} if bundle else {}


def describe_bundle(bundle: Bundle) -> pb.BundleInfo:
    """A bundle in the contract's words."""
    manifest = bundle.manifest
    return pb.BundleInfo(
        name=manifest.name, version=manifest.version, family=manifest.family, manifest_sha256=bundle.manifest_sha256
    )


def _safe(table: CandidateTable) -> str:
    return table.rows[table.safe].name


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
