"""A worker's senses: the fleet's live state, budgets and sessions, and the decision rule over them."""

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sidecar.config import Config
from sidecar.errors import OverBudget
from sidecar.fleet import sessions
from sidecar.fleet.budget import Budgets, BudgetView, Use
from sidecar.fleet.closed import Closed
from sidecar.fleet.estimate import Priors
from sidecar.fleet.live import LiveFleet
from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.regions import FLEET, SESSIONS
from sidecar.fleet.settings import BudgetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.telemetry import Telemetry
from sidecar.fleet.view import FleetView
from sidecar.routing.ask import Ask
from sidecar.routing.assign import Assignment, Rules
from sidecar.routing.candidates import CandidateTable
from sidecar.routing.conversations import Conversations
from sidecar.routing.counts import Counts
from sidecar.routing.decision import Choice
from sidecar.routing.live import Barred, Live
from sidecar.routing.rule import Decision
from sidecar.types import Scores

# Between batches the fleet is merged every few milliseconds; before one, only if it was not for so long.
SPARE_S = 0.02
# Others look every few milliseconds, so of batches that follow closely not each is published by itself.
PUBLISH_S = 0.001


class Sensing:
    """What one worker senses. But for `of` and `report`, all belongs to the transport's thread.

    Args:
        config: checked.
        number: of the worker, from 0.
        runtime: where Shared made the memory.
        clock: monotonic seconds.
        unix: Unix seconds.
        draw: where chance comes from.

    Attributes:
        table: the fleet's, as all processes share it.
        live: the fleet.
        counts: what was decided.
        clock: monotonic seconds.
        blur_s: see Live.blur.

    Raises:
        ConfigError: the memory cannot be had.
    """

    def __init__(
        self,
        config: Config,
        number: int,
        runtime: Path,
        *,
        clock: Callable[[], float],
        unix: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self.clock, self.blur_s = clock, config.fleet.tie_ms / 1000.0
        self._unix = unix
        self._draw = draw
        self.table = FleetTable.attach(runtime / FLEET)
        self.counts = Counts()
        self.live = LiveFleet(self.table, number, config.fleet, clock=clock, unix=unix, chance=draw)
        self._budgets = Budgets(self.live, config.budgets, unix, clock()) if config.budgets else None
        self._sessions = sessions.SessionTable(runtime / SESSIONS, number)
        self._models: dict[str, str] = {}  # by the other names of the candidates

    def of(self, table: CandidateTable) -> "Sensed":
        """The decision rule over the candidates of one bundle. From any thread.

        Raises:
            ConfigError: the models' names cannot be kept in the fleet table.
        """
        config = self._config
        view = FleetView(self.live, priors_of(table))
        self._models = {**self._models, **_models_of(table)}
        budgets = BudgetView(self._budgets, table.names) if self._budgets else None
        counts, rules = self.counts, Rules(config.sessions.max_switch_share, config.last_resort)
        conversations = Conversations(table, self._sessions, config.sessions.forget_seconds, self._unix, counts)
        assignment = Assignment(table, rules, self._draw, counts)
        return Sensed(self, table, assignment, view, budgets, conversations)

    def report(self, model: str, telemetry: Telemetry) -> None:
        """A model's server or provider said something of its load. From any thread."""
        model = self._models.get(model, model)
        if model in self.live.writer.names():
            self.live.report(model, telemetry)

    def hear(self, decision_id: str, outcome: Outcome, model: str, session: str) -> None:
        """A call has ended, or its first token has come."""
        self.live.hear(decision_id, outcome, self.clock(), self._models.get(model, model))
        if session and outcome.fault not in (Fault.NONE, Fault.CLIENT):
            self._sessions.fail(session, self._unix())

    def between(self) -> None:
        """Hears what others found out; to be called after each batch, and now and then when none comes."""
        now = self.clock()
        self.live.refresh(now)
        # Else a worker without requests would take what the others use for one burst, when its own next one comes.
        if self._budgets:
            self._budgets.refresh(now)

    def uses(self) -> list[tuple[BudgetConfig, float, list[Use]]]:
        """The budgets, in the order of the configuration: seconds until each opens, and what is used of it. From any thread."""
        buckets = self._budgets.buckets if self._budgets else ()
        return [(bucket.config, bucket.wait_s, bucket.uses()) for bucket in buckets]

    def close(self) -> None:
        """Leaves the worker's section of the fleet table to its successor."""
        self.live.close()


class Sensed:
    """The decision rule of one bundle's candidates, with the fleet's live state and the sessions. A Rule.

    Made in any thread, as bundles are loaded; all else belongs to the transport's thread.

    Args:
        sensing: of the worker.
        table: the candidates.
        assignment: of requests to them.
        view: of the fleet.
        budgets: None where there are none.
        conversations: the sessions.
    """

    def __init__(
        self,
        sensing: Sensing,
        table: CandidateTable,
        assignment: Assignment,
        view: FleetView,
        budgets: BudgetView | None,
        conversations: Conversations,
    ) -> None:
        self._sensing = sensing
        self._table = table
        self._assignment = assignment
        self._view = view
        self._budgets = budgets
        self._barred: Barred | None = self._used_up if budgets else None
        self._conversations = conversations
        self._clock, self._blur_s = sensing.clock, sensing.blur_s
        self._congestion = sensing.live.settings.congestion_factor
        self._version = -1
        self._crowd = 1.0
        self._first_token_seconds: list[float]
        self._seconds_per_token: list[float]
        self._live: Live

    def choose(self, asks: Sequence[Ask], scores: Scores) -> Decision:
        """See Rule."""
        if not any([ask.session for ask in asks]):  # noqa: C419 - a generator costs more than the few are worth
            return self._assignment.choose(asks, scores, self._look(), [None] * len(asks))
        held = self._conversations.held(asks)
        expected, outcomes = self._assignment.choose(asks, scores, self._look(), held)
        self._conversations.decided(asks, held, expected, outcomes)
        return expected, outcomes

    def degrade(self, asks: Sequence[Ask]) -> Decision:
        """See Rule. Sessions stay as they were: the safe candidate is not where they belong."""
        return self._assignment.degrade(asks, self._look())

    def took(self, first: int, asks: Sequence[Ask], decision: Decision) -> None:
        """See Rule. Counts the decisions, and the calls that they lead to."""
        expected, outcomes = decision
        now, began = self._clock(), self._view.decided
        tokens_of, seconds_of = expected.tokens.item, expected.seconds.item
        first_token, per_token = self._first_token_seconds, self._seconds_per_token
        counts = self._sensing.counts
        reasons = counts.reasons
        for row, (ask, outcome) in enumerate(zip(asks, outcomes, strict=True)):
            if not isinstance(outcome, Choice):
                counts.over_budget += isinstance(outcome, OverBudget)
                continue
            reasons[outcome.reasons] = reasons.get(outcome.reasons, 0) + 1
            chosen = outcome.ranking[0]
            if ask.log_only:
                current = self._table.find(ask.current_model)
                counts.log_only += 1
                counts.disagreements += current != chosen
                if current < 0:
                    continue  # a model of the caller's that is none of ours
                chosen = current
            answer, seconds = tokens_of(row, chosen), seconds_of(row, chosen)
            waits = seconds - (first_token[chosen] + answer * per_token[chosen])
            tokens = ask.prompt_tokens + answer
            began(first + row, chosen, tokens, seconds, max(0.0, waits), now)
            if self._budgets:
                self._budgets.decided(ask.segment, chosen, tokens, expected.cost.item(row, chosen))
        if self._crowd > 1.0:  # else nobody decides beside this worker, and who only watches is in no hurry
            self._sensing.live.publish(now, PUBLISH_S)

    def _look(self) -> Live:
        """The fleet as of the last merge; what was decided here since then is in the assignment's own account."""
        shared, now = self._sensing.live, self._clock()
        shared.refresh(now, SPARE_S)
        if shared.version != self._version:
            fleet = self._view.read(now, SPARE_S)
            self._version = shared.version
            self._crowd = fleet.crowd
            self._first_token_seconds = fleet.first_token_seconds.tolist()
            self._seconds_per_token = fleet.seconds_per_token.tolist()
            self._live = Live(fleet, self._barred, self._blur_s, self._congestion)
        return self._live

    def _used_up(self, segment: str) -> Closed | None:
        return self._budgets.closed(segment, self._clock()) if self._budgets else None


def priors_of(table: CandidateTable) -> Priors:
    """What is known of candidates before anything was measured."""
    configs = [row.config for row in table.rows]
    return Priors(
        [row.model for row in table.rows],
        np.array([np.nan if c.first_token_seconds is None else c.first_token_seconds for c in configs]),
        np.array([np.nan if c.seconds_per_output_token is None else c.seconds_per_output_token for c in configs]),
        table.mean_output_tokens,
        np.array([c.concurrency or np.nan for c in configs], np.float64),
    )


def _models_of(table: CandidateTable) -> dict[str, str]:
    """Models by the other names by which gateways may call them."""
    return {name: row.model for row in table.rows for name in (row.name, *row.config.aliases) if name != row.model}


def configured(config: Config) -> dict[str, tuple[float, float, float, float]]:
    """What is configured of each model, as sidecar.fleet.figures takes it."""

    def given(value: float | None) -> float:
        return math.nan if value is None else value

    return {
        entry.model or entry.name: (
            given(entry.first_token_seconds),
            given(entry.seconds_per_output_token),
            0.0,
            entry.concurrency or math.nan,
        )
        for entry in config.candidates
    }
