"""The candidates as columns of numbers, in the bundle's output order."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.bundle.manifest import TrainedCandidate
from sidecar.config import CandidateConfig, Config
from sidecar.errors import ConfigError, InvalidRequest
from sidecar.fleet.settings import check_budgets

# Of a caller's words no more than this is repeated in an error.
MAX_NAME_CHARS = 64

Mask = NDArray[np.bool_]
Column = NDArray[np.float64]


class Candidate(NamedTuple):
    """One candidate, the bundle's figures and the operator's joined; `config` says what the fields mean."""

    name: str
    model: str
    prior_quality: float
    input_usd_per_mtok: float
    output_usd_per_mtok: float
    mean_output_tokens: float
    offered: bool
    config: CandidateConfig


class CandidateTable:
    """All candidates, [C] columns and the names by which requests may call them.

    Attributes:
        rows: the candidates in output order.
        input_usd: [C] USD per input token.
        output_usd: [C] USD per output token.
        first_token_seconds: [C]; 0 where unknown.
        seconds_per_token: [C]; 0 where unknown.
        latency_known: [C] whether the operator gave latency figures.
        timed: whether the operator gave any latency figures.
        context_window: [C] tokens; inf where unknown.
        prior_quality: [C].
        mean_output_tokens: [C].
        cache_saving_usd: [C] USD that a prompt token saves if it is read from the provider's cache; 0 where unknown.
        offered: [C] whether the operator offers the candidate at all.
        safe: index of the safe candidate.
    """

    def __init__(self, rows: Sequence[Candidate], safe_candidate: str) -> None:
        self.rows = tuple(rows)
        self.names = tuple(row.name for row in rows)
        self.input_usd = _column(row.input_usd_per_mtok / 1e6 for row in rows)
        self.output_usd = _column(row.output_usd_per_mtok / 1e6 for row in rows)
        self.first_token_seconds = _column(row.config.first_token_seconds or 0.0 for row in rows)
        self.seconds_per_token = _column(row.config.seconds_per_output_token or 0.0 for row in rows)
        self.latency_known = _mask(
            row.config.first_token_seconds is not None or row.config.seconds_per_output_token is not None
            for row in rows
        )
        self.timed = bool(self.latency_known.any())
        self.context_window = _column(row.config.context_window or np.inf for row in rows)
        self.smallest_window = float(self.context_window.min())
        self.prior_quality = _column(row.prior_quality for row in rows)
        self.mean_output_tokens = _column(row.mean_output_tokens for row in rows)
        # What reading one token from the provider's prompt cache saves.
        self.cache_saving_usd = _column(_cache_saving(row) for row in rows)
        self.offered = _mask(row.offered for row in rows)
        self._index: dict[str, int] = {}
        for index, row in enumerate(rows):
            for name in (row.name, row.model, *row.config.aliases):
                if self._index.setdefault(name, index) != index:
                    raise ConfigError(
                        f"candidates.{row.name}: {name!r} also names {rows[self._index[name]].name!r}; "
                        "names, models and aliases are unique."
                    )
        self._capable: dict[str, Mask] = {
            capability: _mask(capability in row.config.capabilities for row in rows)
            for capability in {word for row in rows for word in row.config.capabilities}
        }
        self.safe = self._safe(safe_candidate)

    def __len__(self) -> int:
        return len(self.rows)

    def index(self, name: str, field: str) -> int:
        """The output index of the candidate that a name or alias means.

        Raises:
            InvalidRequest: no candidate has that name; the message begins with `field`.
        """
        try:
            return self._index[name]
        except KeyError:
            raise InvalidRequest(
                f"{field}: no candidate is called {name[:MAX_NAME_CHARS]!r}; known are {', '.join(self.names)}."
            ) from None

    def find(self, name: str) -> int:
        """The output index of the candidate that a name or alias means; -1 if none does."""
        return self._index.get(name, -1)

    def capable(self, capability: str) -> Mask:
        """[C] which candidates have a capability; none has one that the configuration never names."""
        return self._capable.get(capability, np.zeros(len(self.rows), np.bool_))

    def _safe(self, name: str) -> int:
        if not name:
            return int(np.where(self.offered, self.prior_quality, -1.0).argmax())
        if name not in self._index:
            raise ConfigError(f"safe_candidate: {name!r} is unknown; known are {', '.join(self.names)}.")
        index = self._index[name]
        if not self.offered[index]:
            raise ConfigError(f"safe_candidate: {name!r} is not among `candidates`; add it there.")
        return index


def join(config: Config, trained: Sequence[TrainedCandidate]) -> CandidateTable:
    """The table of the bundle's candidates with the operator's figures.

    Raises:
        ConfigError: the configuration names a candidate that the bundle does not score, also in a budget, or an unknown
            safe candidate.
    """
    configured = {entry.name: entry for entry in config.candidates}
    unscored = sorted(configured.keys() - {candidate.name for candidate in trained})
    if unscored:
        raise ConfigError(
            f"candidates.{unscored[0]}: the bundle does not score it; it scores "
            f"{', '.join(candidate.name for candidate in trained)}. Remove the entry or train a bundle with it."
        )
    # Else a budget with a slip in it would limit nothing, and nobody would know.
    check_budgets(config.budgets, [candidate.name for candidate in trained])
    rows = [_joined(candidate, configured) for candidate in trained]
    return CandidateTable(rows, config.safe_candidate)


def without_bundle(config: Config, fault: str) -> CandidateTable:
    """The table where no bundle can be used: the configured candidates, ranked after the safe one.

    Args:
        config: names the candidates.
        fault: why there is no bundle.

    Raises:
        ConfigError: the configuration does not say which candidates there are and which of them is safe.
    """
    if not config.candidates or not config.safe_candidate:
        raise ConfigError(
            f"{fault}; there is no usable bundle to take candidates from: mend it, or set `candidates` and "
            "`safe_candidate`, so that the sidecar can answer without one."
        )
    rows = [
        Candidate(
            entry.name,
            entry.model or entry.name,
            0.0,
            entry.input_usd_per_mtok or 0.0,
            entry.output_usd_per_mtok or 0.0,
            0.0,
            True,  # noqa: FBT003 - a positional field of a tuple
            entry,
        )
        for entry in config.candidates
    ]
    return CandidateTable(rows, config.safe_candidate)


def _joined(trained: TrainedCandidate, configured: Mapping[str, CandidateConfig]) -> Candidate:
    entry = configured.get(trained.name, CandidateConfig(name=trained.name))
    given_in, given_out = entry.input_usd_per_mtok, entry.output_usd_per_mtok
    return Candidate(
        name=trained.name,
        model=entry.model or trained.name,
        prior_quality=trained.prior_quality,
        input_usd_per_mtok=trained.input_usd_per_mtok if given_in is None else given_in,
        output_usd_per_mtok=trained.output_usd_per_mtok if given_out is None else given_out,
        mean_output_tokens=trained.mean_output_tokens,
        offered=not configured or trained.name in configured,
        config=entry,
    )


def _cache_saving(row: Candidate) -> float:
    cached = row.config.cached_input_usd_per_mtok
    return 0.0 if cached is None else max(0.0, row.input_usd_per_mtok - cached) / 1e6


def _column(values: Iterable[float]) -> Column:
    return np.array(list(values), np.float64)


def _mask(values: Iterable[bool]) -> Mask:
    return np.array(list(values), np.bool_)
