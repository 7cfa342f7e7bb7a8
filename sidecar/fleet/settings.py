"""What the configuration says about the fleet's live state."""

from collections.abc import Collection, Sequence
from typing import Annotated, Literal

import msgspec

from sidecar.errors import ConfigError
from sidecar.fleet.peers.settings import PeersConfig
from sidecar.fleet.sources.settings import EngineConfig
from sidecar.misfit import nearest

Seconds = Annotated[float, msgspec.Meta(gt=0.0, le=86400.0)]
SecondsOrOff = Annotated[float, msgspec.Meta(ge=0.0, le=86400.0)]
Share = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Limit = Annotated[float, msgspec.Meta(gt=0.0, le=1e15)]


MINUTE_S = 60.0


class BreakerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a candidate that fails is left alone, and how it comes back.

    Attributes:
        consecutive_errors: it opens after so many errors in a row, seen by all workers together.
        error_rate: it opens when this share of the recent calls failed ...
        min_volume: ... of at least so many (decayed) calls.
        window_seconds: recent is about so long: the half-life of the counts.
        first_backoff_seconds: how long it stays open at first; doubled with each failed probe.
        max_backoff_seconds: it never stays open for longer, except where the candidate itself asks for it (retry-after).
        jitter: share of the backoff by which it is drawn out at random, so that sidecars do not probe in step.
        probes: calls that may be out at a time, of all workers together, while it is tried.
        probe_successes: it closes after so many of them succeeded.
        slow_start_seconds: time in which its share of the traffic grows back; 0 is at once.
        slow_start_from: share with which it begins.
        forget_seconds: closed for so long, it begins with first_backoff_seconds again.
        max_cool_down_seconds: a retry-after beyond this is taken as this.
        silence_phi: it opens also where calls hang: when the silence of its calls would come about by chance once in
            10**silence_phi times if it worked as before, see sidecar.fleet.silence; 0: it never does ...
        silence_seconds: and has lasted for so long ...
        silence_calls: with so many calls overdue.
    """

    consecutive_errors: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 5
    error_rate: Share = 0.5
    min_volume: Annotated[float, msgspec.Meta(ge=1.0, le=1e6)] = 20.0
    window_seconds: Seconds = 10.0
    first_backoff_seconds: Seconds = 0.5
    max_backoff_seconds: Seconds = 3.0
    jitter: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.1
    probes: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    probe_successes: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    slow_start_seconds: SecondsOrOff = 4.0
    slow_start_from: Share = 0.1
    forget_seconds: Seconds = 60.0
    max_cool_down_seconds: Seconds = 3600.0
    silence_phi: Annotated[float, msgspec.Meta(ge=0.0, le=300.0)] = 8.0
    silence_seconds: Seconds = 1.0
    silence_calls: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 5


class FleetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long what is known of the candidates counts.

    Attributes:
        enabled: whether decisions heed live load and outcomes at all; if not, only configured times count, and no breaker,
            session or budget does.
        telemetry_half_life_seconds: the weight of what servers said of their load halves in this time.
        telemetry_unknown_after_seconds: older than this it counts for nothing.
        latency_half_life_seconds: the weight of measured times halves in this time.
        prior_weight: the configured times count as much as so many measured ones.
        telemetry_weight: times that a server states count as much as so many measured ones, while they are fresh.
        expiry_factor: a call without an outcome counts as in flight for so many times its expected seconds ...
        min_expiry_seconds: ... but for no less than this ...
        max_expiry_seconds: ... and no more than this.
        tie_ms: candidates whose expected times differ by less are taken to be as fast as each other, and one is drawn.
        congestion_factor: a call that waits its turn makes those wait longer that come while the queue lasts, so in the choice
            each second of its wait counts so many times. In a queue that is filled at `load` times the rate at which it is
            served, a wait of one second costs all of them 1 / (1 - load) seconds together: 3 is a load of 2/3. 1: each
            request minds only itself, which lets the cheapest candidate's queue grow longest.
        merge_ms: what other processes found out is looked at again after so many milliseconds.
        dead_after_seconds: the calls in flight of a process that was silent for so long no longer count.
        max_open: most calls in flight of one worker that are followed, a power of two; the oldest are given up first.
        max_names: most candidates and budgets that one worker may meet in its life.
        breaker: when a candidate that fails is left alone.
        peers: how the sidecars of a group hear of each other.
        engines: metric names by kind of model server, beside the built-in ones; what is given here wins.
    """

    enabled: bool = True
    telemetry_half_life_seconds: Seconds = 5.0
    telemetry_unknown_after_seconds: Seconds = 30.0
    latency_half_life_seconds: Seconds = 60.0
    prior_weight: Annotated[float, msgspec.Meta(ge=0.1, le=1e6)] = 5.0
    telemetry_weight: Annotated[float, msgspec.Meta(ge=0.0, le=1e6)] = 20.0
    expiry_factor: Annotated[float, msgspec.Meta(ge=1.0, le=1000.0)] = 4.0
    min_expiry_seconds: Seconds = 10.0
    max_expiry_seconds: Seconds = 600.0
    tie_ms: Annotated[float, msgspec.Meta(ge=0.0, le=60_000.0)] = 10.0
    congestion_factor: Annotated[float, msgspec.Meta(ge=1.0, le=100.0)] = 3.0
    merge_ms: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 5.0
    dead_after_seconds: Annotated[float, msgspec.Meta(ge=2.0, le=600.0)] = 4.0
    max_open: Annotated[int, msgspec.Meta(ge=64, le=1 << 22)] = 1 << 16
    max_names: Annotated[int, msgspec.Meta(ge=16, le=1 << 14)] = 512
    breaker: BreakerConfig = BreakerConfig()
    peers: PeersConfig = PeersConfig()
    engines: dict[str, EngineConfig] = {}

    def checked(self) -> "FleetConfig":
        """These settings, if they fit together.

        Raises:
            ConfigError: the message names the key and the remedy.
        """
        if self.max_open & (self.max_open - 1):
            raise ConfigError(f"fleet.max_open is {self.max_open}: give a power of two, as 65536.")
        if self.max_expiry_seconds < self.min_expiry_seconds:
            raise ConfigError(
                f"fleet.max_expiry_seconds is {self.max_expiry_seconds:g}: give at least fleet.min_expiry_seconds "
                f"({self.min_expiry_seconds:g})."
            )
        self.peers.checked()
        breaker = self.breaker
        if breaker.max_backoff_seconds < breaker.first_backoff_seconds:
            raise ConfigError(
                f"fleet.breaker.max_backoff_seconds is {breaker.max_backoff_seconds:g}: give at least "
                f"fleet.breaker.first_backoff_seconds ({breaker.first_backoff_seconds:g})."
            )
        return self


class BudgetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A limit on what some segments may ask of some candidates, all workers of this sidecar and of its peers together.

    Attributes:
        name: of the budget, for messages and metrics.
        candidates: that it covers together; empty: all.
        segments: that it covers together; empty: all.
        requests_per_minute: None is no limit.
        tokens_per_minute: of prompt and answer, as expected at the decision; None is no limit.
        usd_per_day: as expected at the decision, by days of UTC; None is no limit.
        burst_seconds: what was not used in so many seconds may be used at once.
        when_used_up: what becomes of a request that nothing but candidates with used-up budgets is left for. `last_resort`: one
            of them answers all the same (reason LAST_RESORT), so the budget steers, and does not cap. `refuse`: the request
            gets RESOURCE_EXHAUSTED and the time when the budget opens again, so it does cap, but for what is decided between
            two merges. Candidates whose budgets do not refuse are a last resort even then; requests in log-only mode are never
            refused, since their callers' own models answer.
    """

    name: str
    candidates: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    usd_per_day: Limit | None = None
    burst_seconds: Annotated[float, msgspec.Meta(ge=1.0, le=3600.0)] = 10.0
    when_used_up: Literal["last_resort", "refuse"] = "last_resort"


def check_budgets(budgets: Sequence[BudgetConfig], candidates: Collection[str] = ()) -> None:
    """Sees to it that budgets are sound.

    Args:
        budgets: as configured.
        candidates: names that budgets may use; if empty, any.

    Raises:
        ConfigError: the message names the key and the remedy.
    """
    seen: set[str] = set()
    for budget in budgets:
        if not budget.name:
            raise ConfigError("budgets: one has no name; give every budget a name.")
        if budget.name in seen:
            raise ConfigError(f"budgets.{budget.name}: two have this name; names are unique.")
        seen.add(budget.name)
        if budget.requests_per_minute is None and budget.tokens_per_minute is None and budget.usd_per_day is None:
            raise ConfigError(
                f"budgets.{budget.name}: limits nothing; give requests_per_minute, tokens_per_minute or usd_per_day."
            )
        for key in ("requests_per_minute", "tokens_per_minute"):
            rate = getattr(budget, key)
            if rate is not None and rate * budget.burst_seconds < MINUTE_S:
                raise ConfigError(
                    f"budgets.{budget.name}.burst_seconds is {budget.burst_seconds:g}: with {key} = {rate:g} not one is "
                    f"saved up in that time; give at least {MINUTE_S / rate:g}."
                )
        unknown = sorted(set(budget.candidates) - set(candidates)) if candidates else ()
        if unknown:
            raise ConfigError(
                f"budgets.{budget.name}.candidates: {unknown[0]!r} is unknown; known are {', '.join(sorted(candidates))}"
                f"{nearest(unknown[0], candidates)}."
            )
