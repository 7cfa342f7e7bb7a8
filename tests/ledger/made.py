"""Made-up decisions and outcomes."""

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from threading import Event

import numpy as np

from sidecar.errors import NoCandidate, RouterError
from sidecar.ledger.journal import Journal
from sidecar.ledger.noted import Noted, Origin, Recorder, Redact
from sidecar.ledger.outcome import Outcome, checked
from sidecar.ledger.rows import Import, outcome_row
from sidecar.ledger.settings import LedgerConfig
from sidecar.routing.ask import Ask
from sidecar.routing.decision import Choice, Expectations, Reason
from sidecar.routing.policy import Terms

NOW = 1_800_000_000.0
ORIGIN = Origin(("demo", "3", "ab" * 32), ("small", "large"), ("acme/small-1", "acme/large-2"))
PATIENCE_S = 20.0
_numbers = count()


def name(at: float = NOW, number: int | None = None) -> str:
    """An id of a decision made at that time; a new one if no number is given."""
    return f"{int(at * 1000):012x}{7:010x}{next(_numbers) if number is None else number:010x}"


def noted(  # noqa: PLR0913 - a test names what it is about
    ids: Sequence[str],
    *,
    origin: Origin = ORIGIN,
    chosen: int = 0,
    segment: str = "shop",
    prompt: str = "the secret prompt",
    width: int = 4,
    excluded: Sequence[int] = (),
    sessions: Sequence[str] = (),
    current: Sequence[str] = (),
    applied: Sequence[bool] = (),
    propensity: Sequence[float] = (),
    ranking: Sequence[int] = (),
) -> Noted:
    """A batch of these decisions; `excluded` rows got no candidate."""
    size, wide = len(ids), len(origin.candidates)
    grid = np.arange(size * wide, dtype=np.float64).reshape(size, wide)
    ranked = list(ranking) or [chosen, *(index for index in range(wide) if index != chosen)]
    outcomes = [
        NoCandidate("none")
        if row in excluded
        else Choice(ranked, (Reason.LEARNED, Reason.NOVEL), 0.96, propensity[row] if propensity else 1.0)
        for row in range(size)
    ]
    asks = [
        Ask(
            f"{prompt} {row}",
            "",
            segment,
            "balanced",
            Terms(0.01, 0.002),
            12 + row,
            np.inf,
            None,
            limited=False,
            arrived=0.0,
            ready=0.0,
            session=sessions[row] if sessions else "",
            current_model=current[row] if current else "",
            log_only=not applied[row] if applied else False,
        )
        for row in range(size)
    ]
    return Noted(
        origin,
        ids,
        asks,
        outcomes,
        Expectations(grid / 10, grid / 1000, grid, grid / 100, grid),
        (np.arange(size * width) / 8).reshape(size, width).astype(np.float32) if width else None,
    )


def said(decision_id: str, source: str = "gateway", *, received: float = NOW + 1, **fields: object) -> Outcome:
    """An outcome, checked."""
    return checked(Outcome(decision_id=decision_id, source=source, received=received, **fields))  # type: ignore[arg-type]


def imported(*batches: Noted, outcomes: Sequence[Outcome] = (), keep_prompt: Redact | None = None) -> Import:
    """What an importer would make of them."""
    made = Import()
    for record in Recorder(keep_prompt)(batches):
        made.add(record)
    made.outcomes += map(outcome_row, outcomes)
    return made


def config_in(directory: Path, **keys: object) -> LedgerConfig:
    """A configuration with small figures."""
    figures: dict[str, object] = {"flush_ms": 2.0, "segment_bytes": 1 << 16, "journal_bytes": 8 << 20, "free_bytes": 0}
    return LedgerConfig(directory=str(directory), **{**figures, **keys})  # type: ignore[arg-type]


def journal_of(config: LedgerConfig, keep_prompt: Redact | None = None) -> Journal:
    """A journal that writes."""
    journal = Journal(config, Recorder(keep_prompt))
    journal.start()
    return journal


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for something that other threads bring about."""
    waiting = Event()
    for _ in range(int(PATIENCE_S / 0.002)):
        if condition():
            return
        waiting.wait(0.002)
    raise AssertionError("it did not come about in time")


class Acknowledged:
    """Takes acknowledgements and waits for them."""

    def __init__(self) -> None:
        self.answers: list[RouterError | None] = []

    def __call__(self, answer: RouterError | None) -> None:
        self.answers.append(answer)

    def wait(self, amount: int) -> list[RouterError | None]:
        wait_until(lambda: len(self.answers) >= amount)
        return self.answers


def acknowledge(journal: Journal, *outcomes: Outcome) -> None:
    """Submits outcomes, and returns when all are durable."""
    done = Acknowledged()
    for outcome in outcomes:
        journal.submit(outcome, done)
    assert done.wait(len(outcomes)) == [None] * len(outcomes)
