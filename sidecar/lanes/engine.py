"""One bundle at work: everything that changes when a bundle is swapped, and nothing else."""

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from sidecar.bundle.load import Bundle
from sidecar.config import Config
from sidecar.coverage import Coverage
from sidecar.lanes.intake import Intake
from sidecar.lanes.lane import Encoded
from sidecar.lanes.reply import Replies
from sidecar.ledger.noted import Origin
from sidecar.routing.ask import Ask
from sidecar.routing.candidates import CandidateTable, join, without_bundle
from sidecar.routing.decision_id import DecisionIds
from sidecar.routing.router import Decided, Router, Tally
from sidecar.routing.rule import MakeRule, Unsensed
from sidecar.scoring.cache import CacheCounts, ScoreCache
from sidecar.scoring.cache_ahead import remembering
from sidecar.scoring.recipe import TextRecipe
from sidecar.types import Pending, Score, ScoreAhead

Record = Callable[["Engine", Decided], None]


class Engine:
    """Reads requests, decides them and writes replies, with one bundle.

    Args:
        config: candidates, policies, segments.
        bundle: None if there is no usable one.
        fault: why there is none.
        ids: where decision ids come from.
        coverage: counts what was scored.
        make_rule: makes the decision rule over the candidates.
        record: takes what was decided; None where nobody keeps it.
        clock: monotonic seconds.
        on_fault: called with the reason when scoring begins to fail, with "" when it works again.

    Attributes:
        bundle: as given.
        table: the candidates.
        intake: from a request to an Ask.
        ahead: scores in two phases; None where one phase is quicker (a static model).
        origin: what its decisions have in common.
        recent: the latest requests that were decided, for the comparison with the next bundle.

    Raises:
        ConfigError: the configuration does not fit the bundle.
    """

    def __init__(  # noqa: PLR0913 - all that a bundle meets in one place
        self,
        config: Config,
        bundle: Bundle | None,
        fault: str,
        *,
        ids: DecisionIds,
        coverage: Coverage,
        clock: Callable[[], float],
        make_rule: MakeRule = Unsensed,
        record: Record | None = None,
        on_fault: Callable[["Engine", str], None] = lambda _engine, _reason: None,
    ) -> None:
        self.bundle = bundle
        self.table: CandidateTable = (
            join(config, bundle.manifest.candidates) if bundle else without_bundle(config, fault)
        )
        name, version = (bundle.manifest.name, bundle.manifest.version) if bundle else ("", "")
        self.version = f"{name} {version}".strip()
        self.digest = bundle.manifest_sha256 if bundle else ""
        models = tuple(row.model for row in self.table.rows)
        self.origin = Origin(
            (name, version, self.digest),
            self.table.names,
            models,
            tuple(self.table.offered.tolist()),
            tuple(self.table.context_window.tolist()),
        )
        self.intake = Intake(config, self.table, bundle.manifest.text_recipe if bundle else TextRecipe(), clock)
        self.recent: deque[Ask] = deque(maxlen=config.gate.sample)
        me = weakref.ref(self)  # no cycle: an engine whose turn is over goes at once, with its bundle

        def faulty(reason: str) -> None:
            if (engine := me()) is not None:
                on_fault(engine, reason)

        score: Score | None = bundle.scorer if bundle else None
        self._cache: ScoreCache | None = None
        if score is not None and bundle is not None and config.cache.max_bytes:
            dimensions = bundle.dimensions if record is not None else 0
            # Of this bundle alone: another one starts with an empty cache. The gate and golden vectors know no cache.
            self._cache = score = remembering(score, len(self.table), config.cache.max_bytes, dimensions)
        self.ahead = _ahead(score)
        self._router = Router(make_rule(self.table), score, ids, clock, fault, faulty)
        self._replies = Replies(self.table, (name, version), clock)
        self._record = record
        self._coverage = coverage

    @property
    def fault(self) -> str:
        """Why nothing is scored; empty if scoring works."""
        return self._router.fault

    @property
    def tally(self) -> Tally:
        """What this bundle decided."""
        return self._router.tally

    @property
    def cache(self) -> CacheCounts:
        """What its score cache was good for."""
        return self._cache.counts if self._cache else CacheCounts()

    def retire(self) -> None:
        """Begins to count anew and forgets scores, once another engine has taken over. With nothing in flight."""
        self.tally.reset()
        if self._cache:
            self._cache.clear()

    def answer(self, asks: Sequence[Ask]) -> list[Encoded]:
        """Decides a batch; replies in its order, or errors in their place."""
        return self._replied(asks, self._router.decide(asks))

    def begin(self, asks: Sequence[Ask]) -> Pending | None:
        """Begins to score a batch; None if there is nothing to wait for: answer it then."""
        if self.ahead is None:
            return None
        try:
            return self._router.begin(self.ahead, asks)
        except Exception:  # noqa: BLE001 - it will show again when they are answered, and be dealt with there
            return None

    def finish(self, asks: Sequence[Ask], pending: Pending) -> list[Encoded]:
        """Decides a batch that was begun; as answer."""
        assert self.ahead is not None  # noqa: S101 - begin gave the pending batch
        return self._replied(asks, self._router.finish(self.ahead, asks, pending))

    def _replied(self, asks: Sequence[Ask], pieces: Sequence[Decided]) -> list[Encoded]:
        replies = [encoded for piece in pieces for encoded in self._replies.encode(piece)]
        if self._record is not None:
            for piece in pieces:
                self._record(self, piece)
        for piece in pieces:
            count = self._coverage.scored if piece.scored else self._coverage.unscored
            for ask in piece.asks:
                count(ask.segment)
        self.recent.extend(asks)
        return replies

    def degrade(self, ask: Ask) -> Encoded:
        """Answers one request without scoring it: the safe candidate, marked DEGRADED."""
        decided = self._router.degrade([ask])
        (reply,) = self._replies.encode(decided)
        if self._record is not None:
            self._record(self, decided)
        self._coverage.unscored(ask.segment)
        return reply


def _ahead(score: Score | None) -> ScoreAhead | None:
    """The same scorer, if it scores in two phases."""
    return cast("ScoreAhead", score) if hasattr(score, "room") else None
