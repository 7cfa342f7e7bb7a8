"""The gateway: sends every request where a policy says, to the next of the ranking if that fails, and keeps the record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, isnan, nan

from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.servers import Call, End, Server
from benchmarks.fleet.workload import Questions

# As many candidates are tried for one request.
MOST_ATTEMPTS = 3


@dataclass(eq=False, slots=True)
class Journey:
    """One request from its arrival to its end; times are virtual seconds, NaN before they are known.

    Attributes:
        question: which.
        arrived: when it came.
        decided: when the decision was there.
        ranking: candidates in the order in which they are tried.
        decision_id: of the sidecar; empty if it did not decide.
        answered_by: the candidate whose answer it was; -1 if there was none.
        done: when the answer was complete, or the last attempt had failed.
        attempts: calls made for it.
        expected_s: what the sidecar expected of the chosen candidate.
    """

    question: int
    arrived: float
    decided: float = nan
    ranking: Sequence[int] = ()
    decision_id: str = ""
    answered_by: int = -1
    done: float = nan
    attempts: list[Call] = field(default_factory=list)
    expected_s: float = nan

    @property
    def chosen(self) -> int:
        """The decided candidate."""
        return self.ranking[0]


class Gateway:
    """Candidates' servers and the requests on their way.

    Args:
        fleet: the candidates; their order is that of the questions' columns.
        questions: what is asked.
        calendar: virtual time.
        first_token_timeout_s: after so many virtual seconds without a token a call is given up.
        heard: is told of every attempt that ended: journey, candidate, call.

    Attributes:
        servers: one for each candidate.
        ended: journeys in the order of their ends.
    """

    def __init__(
        self,
        fleet: Sequence[Candidate],
        questions: Questions,
        calendar: Calendar,
        first_token_timeout_s: float = inf,
        heard: Callable[[Journey, int, Call], None] = lambda _journey, _candidate, _call: None,
    ) -> None:
        self.calendar = calendar
        self.servers = [Server(candidate, calendar) for candidate in fleet]
        self.ended: list[Journey] = []
        self._questions = questions
        self._timeout_s = first_token_timeout_s
        self._heard = heard

    def begin(self, journey: Journey, ranking: Sequence[int]) -> None:
        """Sends a request that was just decided.

        Raises:
            ValueError: the ranking is empty.
        """
        if not ranking:
            raise ValueError("a decision names at least one candidate.")
        journey.decided, journey.ranking = self.calendar.now, ranking
        self._attempt(journey)

    def _attempt(self, journey: Journey) -> None:
        candidate = journey.ranking[len(journey.attempts)]
        call = Call(
            float(self._questions.prompt_tokens[journey.question]),
            float(self._questions.tokens[journey.question, candidate]),
            lambda call: self._ended(journey, candidate, call),
        )
        if isnan(call.tokens):
            raise ValueError(f"candidate {candidate} never answered question {journey.question}; it cannot be chosen.")
        journey.attempts.append(call)
        server = self.servers[candidate]
        server.submit(call)
        if self._timeout_s < inf:
            self.calendar.after(self._timeout_s, lambda: server.give_up(call))

    def _ended(self, journey: Journey, candidate: int, call: Call) -> None:
        self._heard(journey, candidate, call)
        if call.end is End.ANSWERED:
            journey.answered_by = candidate
        elif len(journey.attempts) < min(MOST_ATTEMPTS, len(journey.ranking)):
            self._attempt(journey)
            return
        journey.done = self.calendar.now
        self.ended.append(journey)
