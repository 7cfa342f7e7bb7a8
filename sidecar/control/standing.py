"""How things stand: what the control process keeps up to date for /metrics, as plain data."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sidecar.control.messages import Event, State
from sidecar.control.observed import Seen
from sidecar.stats import Stats

if TYPE_CHECKING:
    from sidecar.fleet.allowances import Allowance
    from sidecar.fleet.figures import CandidateFigures


class Load(NamedTuple):
    """The fleet at one moment; counters only ever grow.

    Attributes:
        candidates: under the names of the candidates.
        budgets: in the order of the configuration.
    """

    candidates: "Sequence[CandidateFigures]"
    budgets: "Sequence[Allowance]"


class Standing:
    """How things stand in all workers together. Written by the control process's loop, read from any thread.

    Attributes:
        stats: what all workers served.
        state: what they run.
        workers: how many are connected.
        stuck: how many had to be replaced since they were stuck.
        swaps: how many swaps there were, by outcome.
        seen: what the observer sees.
        load: of the fleet.
    """

    def __init__(self) -> None:
        self.stats = Stats()
        self.state = State()
        self.workers = 0
        self.stuck = 0
        self.swaps: Mapping[Event, int] = {}
        self.seen = Seen()
        self.load = Load((), ())
