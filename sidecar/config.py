"""The configuration: one frozen value, read once, checked whole.

Precedence: a command-line option wins over the file, the file over the defaults below.
"""

from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from sidecar.door.settings import LimitsConfig, TlsConfig
from sidecar.errors import ConfigError, InvalidRequest
from sidecar.fleet.settings import BudgetConfig, FleetConfig, check_budgets
from sidecar.fleet.sources.engines import engines
from sidecar.fleet.sources.settings import TelemetryConfig, check_telemetry
from sidecar.ledger.settings import LedgerConfig
from sidecar.misfit import misfits, nearest
from sidecar.routing.policy import Policy, Terms
from sidecar.scoring.providers import Wanted
from sidecar.settings import (
    CacheConfig,
    CoverageConfig,
    EncoderConfig,
    Entry,
    GateConfig,
    OverloadConfig,
    SessionsConfig,
)

# The upper bound is far beyond any price or time; it keeps infinity out.
Price = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]
# Beyond any server's; milliseconds that are taken for seconds are found out.
FirstToken = Annotated[float, msgspec.Meta(ge=0.0, le=600.0)]
EachToken = Annotated[float, msgspec.Meta(ge=0.0, le=5.0)]

# What one acceptable answer is worth decides everything. Round numbers, picked with a look at the default bundle's curve on
# routing_test: about the cheapest model's quality and a little more, the best one's at a quarter of its cost, quality first.
# A second costs a hundredth of an answer (where quality comes first, a five-hundredth): who waits 10 s for an answer has lost
# a tenth of it. It counts only where something is known of the candidates' latencies.
BUILT_IN_POLICIES = {
    "thrifty": Policy(answer_value_usd=0.005, second_value_usd=0.00005),
    "balanced": Policy(answer_value_usd=0.01, second_value_usd=0.0001),
    "quality": Policy(answer_value_usd=1.0, second_value_usd=0.002),
}
ENVELOPE_KEY = "envelope"
SEGMENT_KEY = "segment"
METADATA_KEY = "metadata."
MAX_PORT = 65535
# Of what is wrong with a file, so much is told at once.
MOST_MISFITS = 5
# Of fewer requests it says next to nothing on how many of them two bundles agree.
MIN_SAMPLE = 20
# A few entries of a bundle with as many candidates as a manifest may have.
MIN_CACHE_BYTES = 64 << 10


class CandidateConfig(Entry, frozen=True):
    """What the operator knows of a candidate; every figure that is left out comes from the bundle or is unknown.

    Attributes:
        name: in the bundle.
        model: the name that the gateway knows; the candidate's name if left out.
        aliases: other names that requests may use for it.
        input_usd_per_mtok: USD per million input tokens, instead of the bundle's.
        output_usd_per_mtok: USD per million output tokens, instead of the bundle's.
        context_window: tokens that prompt and answer may have together; 0 is unknown and unlimited.
        capabilities: what it can do beside text (vision, audio, file, tools, or words of your own).
        first_token_seconds: expected time to the first token.
        seconds_per_output_token: expected time for each token after it.
        cached_input_usd_per_mtok: USD per million input tokens that the provider reads from its prompt cache; if left out,
            nothing is known of a cache, and changing a session's model loses nothing.
        concurrency: calls that its server works on at a time; 0 is unknown, and learned where telemetry tells.
        telemetry: where its live state can be had; if left out, from outcomes and load reports only.
    """

    name: str
    model: str = ""
    aliases: tuple[str, ...] = ()
    input_usd_per_mtok: Price | None = None
    output_usd_per_mtok: Price | None = None
    context_window: Annotated[int, msgspec.Meta(ge=0)] = 0
    capabilities: tuple[str, ...] = ()
    first_token_seconds: FirstToken | None = None
    seconds_per_output_token: EachToken | None = None
    cached_input_usd_per_mtok: Price | None = None
    concurrency: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 0
    telemetry: TelemetryConfig | None = None


class SegmentConfig(Entry, frozen=True):
    """What differs for one segment.

    Attributes:
        policy: in force where a request names none; empty is `default_policy`.
        log_only: decide and record, but answer with the request's own `current_model`; if left out, as `log_only` of the
            whole configuration.
    """

    policy: str = ""
    log_only: bool | None = None


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be configured.

    Attributes:
        listen: HOST:PORT; port 0 lets the system choose.
        bundle: directory of the bundle; empty is the embedded default bundle.
        trust: PEM files of public keys, or directories of *.pem; if any are given, a bundle must be signed by one of
            them. The embedded default bundle is part of the program and needs no signature.
        transport: what carries calls: `http2`, our own, or `grpcio`, the portable one.
        candidates: if any are given, only these may be chosen; else all of the bundle's.
        safe_candidate: answers when nothing can be scored; if left out, the one with the best prior quality.
        policies: by name, beside the built-in thrifty, balanced and quality.
        default_policy: in force where neither request nor segment names one.
        quality_free_policies: names of policies that may leave quality out of the objective.
        segments: what differs per segment.
        segment_keys: what a segment is built from, joined by `/`: `segment`, `envelope`, `metadata.KEY`.
        max_message_bytes: largest message that is accepted.
        max_batch_items: most items of one RouteBatch.
        max_score_batch: most requests that are scored in one run of the model.
        provider: where encoders run: `cpu`, `cuda`, `tensorrt`, or `auto`: CUDA where it is at hand. What is demanded and
            cannot be had ends the start. Static bundles run on the CPU, whatever it says.
        encoder: how encoders run.
        drain_seconds: how long calls in flight may take to end at shutdown.
        workers: processes that serve, on one port; 0 is one for each core but one, and at least one.
        registry: directory of bundles, from which a running sidecar takes the one that its pointer file `active` names;
            empty: `bundle` runs until the end.
        cache: what is kept of scores.
        overload: what happens when more comes than can be answered in time.
        coverage: when too few requests are really scored.
        gate: what a bundle must pass before it may take over.
        hang_seconds: a worker that is stuck in one batch, or silent, for longer is killed and replaced.
        metrics: HOST:PORT where Prometheus finds /metrics; empty is nowhere.
        tls: certificate and key; if left out, calls are not encrypted.
        tokens: path of the file that lists the tokens that are let in; empty asks for none.
        insecure: whether an address that others reach may be open to strangers.
        limits: what one caller may take.
        log_only: decide and record everywhere, but answer with each request's own `current_model`.
        last_resort: who answers when every admissible candidate is cooling down: `soonest`, the one that is expected back
            first; `safe`, the safe candidate where it is admissible.
        sessions: how turns of one session hold together.
        fleet: how the live state of the candidates is kept.
        budgets: what may be asked of candidates, in requests, tokens and money.
        ledger: where decisions and outcomes are kept.
    """

    listen: str = "127.0.0.1:8470"
    bundle: str = ""
    trust: tuple[str, ...] = ()
    transport: Literal["http2", "grpcio"] = "http2"
    candidates: tuple[CandidateConfig, ...] = ()
    safe_candidate: str = ""
    policies: dict[str, Policy] = {}
    default_policy: str = "balanced"
    quality_free_policies: tuple[str, ...] = ()
    segments: dict[str, SegmentConfig] = {}
    segment_keys: tuple[str, ...] = (SEGMENT_KEY,)
    max_message_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1 << 30)] = 8 << 20
    max_batch_items: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 256
    max_score_batch: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 32
    provider: Wanted = "auto"
    encoder: EncoderConfig = EncoderConfig()
    drain_seconds: Annotated[float, msgspec.Meta(ge=0.0, le=3600.0)] = 10.0
    workers: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    registry: str = ""
    cache: CacheConfig = CacheConfig()
    overload: OverloadConfig = OverloadConfig()
    coverage: CoverageConfig = CoverageConfig()
    gate: GateConfig = GateConfig()
    hang_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3600.0)] = 10.0
    metrics: str = ""
    tls: TlsConfig | None = None
    tokens: str = ""
    insecure: bool = False
    limits: LimitsConfig = LimitsConfig()
    log_only: bool = False
    last_resort: Literal["soonest", "safe"] = "soonest"
    sessions: SessionsConfig = SessionsConfig()
    fleet: FleetConfig = FleetConfig()
    budgets: tuple[BudgetConfig, ...] = ()
    ledger: LedgerConfig = LedgerConfig()

    def all_policies(self) -> dict[str, Policy]:
        """The built-in policies and the configured ones; a configured one wins."""
        return {**BUILT_IN_POLICIES, **self.policies}

    def terms(self) -> dict[str, Terms]:
        """Every policy as Terms, by name.

        Raises:
            ConfigError: a policy is wrong; the message names it.
        """
        try:
            return {
                name: policy.terms(f"policies.{name}", quality_free=name in self.quality_free_policies)
                for name, policy in self.all_policies().items()
            }
        except InvalidRequest as error:
            raise ConfigError(str(error)) from None

    def checked(self) -> "Config":
        """This configuration, if its parts fit together.

        Raises:
            ConfigError: the message names the key and the remedy.
        """
        _check_address("listen", self.listen)
        if self.metrics:
            _check_address("metrics", self.metrics)
            if self.metrics == self.listen and not self.metrics.endswith(":0"):
                raise ConfigError(f"metrics: {self.metrics!r} is also listen; give another port.")
        if self.bundle and self.registry:
            raise ConfigError("bundle and registry are both set: the registry's pointer file says which bundle runs.")
        self._check_policies()
        for key in self.segment_keys:
            if key not in (SEGMENT_KEY, ENVELOPE_KEY) and not (key.startswith(METADATA_KEY) and key != METADATA_KEY):
                raise ConfigError(f"segment_keys: {key!r} is none of segment, envelope, metadata.KEY.")
        if 0 < self.cache.max_bytes < MIN_CACHE_BYTES:
            raise ConfigError(
                f"cache.max_bytes: {self.cache.max_bytes} bytes are too few to be of use; give at least "
                f"{MIN_CACHE_BYTES}, or 0 for no cache."
            )
        if self.gate.require_agreement and self.gate.sample < MIN_SAMPLE:
            raise ConfigError(
                f"gate.require_agreement: {self.gate.sample} requests (gate.sample) are too few to tell; compare at "
                f"least {MIN_SAMPLE}, or drop it."
            )
        self._check_names()
        self._check_fleet()
        self.ledger.checked()
        return self

    def observes(self) -> bool:
        """Whether there is anything for the observer process to do."""
        return bool(self.ledger.directory or self.fleet.peers.url) or any(
            candidate.telemetry is not None for candidate in self.candidates
        )

    def _check_policies(self) -> None:
        known = self.terms()
        _among("default_policy", self.default_policy, known)
        for name in self.quality_free_policies:
            _among("quality_free_policies", name, known)
        for segment, entry in self.segments.items():
            if entry.policy:
                _among(f"segments.{segment}.policy", entry.policy, known)

    def _check_fleet(self) -> None:
        self.fleet.checked()
        if self.budgets and not self.fleet.enabled:
            raise ConfigError("budgets: they are kept with the fleet's live state; set fleet.enabled, or drop them.")
        check_budgets(self.budgets, [candidate.name for candidate in self.candidates])
        known_engines = engines(self.fleet.engines)
        for candidate in self.candidates:
            if candidate.telemetry is not None:
                check_telemetry(f"candidates.{candidate.name}.telemetry", candidate.telemetry, known_engines)

    def _check_names(self) -> None:
        owner: dict[str, str] = {}
        for candidate in self.candidates:
            for name in {candidate.name, candidate.model or candidate.name, *candidate.aliases}:
                if not name:
                    raise ConfigError("candidates: a name or alias is empty; give every candidate a name.")
                if owner.setdefault(name, candidate.name) != candidate.name or not candidate.name:
                    raise ConfigError(
                        f"candidates.{candidate.name}: {name!r} also names {owner[name]!r}; names and aliases are unique."
                    )
        names = [candidate.name for candidate in self.candidates]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"candidates: {twice!r} stands there twice; keep one entry.")
        if self.safe_candidate and names:
            _among("safe_candidate", self.safe_candidate, owner)


def load_config(path: Path) -> Config:
    """Reads and checks a TOML file.

    Raises:
        ConfigError: it cannot be read, is no TOML, has unknown keys, wrong types, or parts that do not fit; the message
            names the keys and the remedies.
    """
    import tomllib  # noqa: PLC0415 - the other processes get it as JSON

    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    try:
        return msgspec.convert(raw, Config).checked()
    except msgspec.ValidationError as error:
        told = " ".join(islice(misfits(raw, Config), MOST_MISFITS))
        raise ConfigError(f"{path}: {told or error}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _check_address(key: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > MAX_PORT:
        raise ConfigError(f"{key}: {address!r} is no address; give HOST:PORT, with port 0 to let the system choose.")


def _among(key: str, value: str, known: dict[str, Terms] | dict[str, str]) -> None:
    if value not in known:
        raise ConfigError(f"{key}: {value!r} is unknown; known are {', '.join(sorted(known))}{nearest(value, known)}.")
