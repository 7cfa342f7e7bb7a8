"""What each version of a bundle decided since the start, and what score caches were good for, ended ones included."""

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

from sidecar.lanes.engine import Engine
from sidecar.scoring.cache import CacheCounts

# Engines whose turn is over are counted on under their version; of so many versions.
MOST_VERSIONS = 16
OLDER = "(older)"


class Decisions(NamedTuple):
    """What one version decided since the start."""

    decisions: int
    degraded: int
    batches: int


NONE_YET = Decisions(0, 0, 0)


class Versions:
    """Counts on what engines counted whose turn is over. Not safe for use from several threads at once."""

    def __init__(self) -> None:
        self._retired: dict[str, Decisions] = {}
        self._forgotten_caches = CacheCounts()

    def decisions(self, engines: Iterable[Engine]) -> dict[str, Decisions]:
        """By version, with those of the engines at work, which come last."""
        found = dict(self._retired)
        for engine in engines:
            found[engine.version] = _more(found.pop(engine.version, NONE_YET), engine)
        return found

    def cache(self, engines: Iterable[Engine]) -> CacheCounts:
        """Of all score caches, with those of the engines at work."""
        return reduce(_added, (engine.cache for engine in engines), self._forgotten_caches)

    def retire(self, engine: Engine) -> None:
        """Keeps what an engine decided: under its version, or of the versions that ended longest ago, all together."""
        retired = self._retired
        retired[engine.version] = _more(retired.pop(engine.version, NONE_YET), engine)
        self._forgotten_caches = _added(self._forgotten_caches, engine.cache)._replace(held_bytes=0)
        engine.retire()
        while len(retired) > MOST_VERSIONS:
            oldest = next(version for version in retired if version != OLDER)
            older = zip(retired.pop(OLDER, NONE_YET), retired.pop(oldest), strict=True)
            retired[OLDER] = Decisions(*map(sum, older))


def _more(before: Decisions, engine: Engine) -> Decisions:
    """With what an engine decided."""
    tally = engine.tally
    return Decisions(
        before.decisions + tally.decisions, before.degraded + tally.degraded, before.batches + tally.batches
    )


def _added(some: CacheCounts, more: CacheCounts) -> CacheCounts:
    return CacheCounts(*map(sum, zip(some, more, strict=True)))
