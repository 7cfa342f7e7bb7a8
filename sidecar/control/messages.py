"""What workers and the control process tell each other. Commands carry an id, and one answer comes back under it."""

from typing import Literal

import msgspec

from sidecar.routing.recorded import Comparison, Recorded
from sidecar.stats import Stats

BEAT_S = 1.0
Event = Literal["ACTIVATED", "REFUSED", "ROLLED_BACK", "CANARY_STARTED", "CANARY_ENDED"]


class Target(msgspec.Struct, frozen=True):
    """A bundle that is to be run.

    Attributes:
        directory: absolute path.
        version: its name and version, as replies tell them.
        digest: sha256 of its manifest; empty: whatever lies there (at the start, where nothing was checked yet).
    """

    directory: str
    version: str = ""
    digest: str = ""


class State(msgspec.Struct, frozen=True):
    """What all workers run.

    Attributes:
        running: in force; None before anything is known.
        previous: the one before, kept in memory.
        canary: tried on a share of the traffic.
        share: of the traffic, in [0, 1].
    """

    running: Target | None = None
    previous: Target | None = None
    canary: Target | None = None
    share: float = 0.0

    def with_bundle(self, target: Target, share: float | None) -> "State":
        """What runs once a bundle is activated: for all of the traffic, or as a canary for a share of it."""
        if share is not None:
            return State(self.running, self.previous, target, share)
        if self.running and self.running.digest == target.digest:
            return State(target, self.previous)
        return State(target, self.running)

    def differs(self, other: "State") -> bool:
        """Whether a worker that runs it answers otherwise than one that runs the other; one that runs nothing does not."""
        if not (self.running and self.running.digest and other.running and other.running.digest):
            return False
        return self.running.digest != other.running.digest or self.canary != other.canary or self.share != other.share


class Message(msgspec.Struct, frozen=True, tag=True):
    """The root of what goes over a link."""


class Hello(Message, frozen=True):
    """A worker says who it is and what it runs; the answer is Run."""

    worker: int
    pid: int
    state: State


class Beat(Message, frozen=True):
    """A worker is alive, every second.

    Attributes:
        stuck_s: for how long the transport's thread has been at work on one batch.
        stats: what was served.
    """

    stuck_s: float
    stats: Stats


class Done(Message, frozen=True):
    """A command was carried out, or not.

    Attributes:
        id: of the command.
        error: why not; empty if it was.
        state: what the worker runs now.
        sample: requests, if they were asked for.
        p99_s: of the time from arrival to reply, before and since `Prepare`; 0 where there were too few requests.
    """

    id: int
    error: str = ""
    state: State = State()
    sample: tuple[Recorded, ...] = ()
    p99_s: tuple[float, float] = (0.0, 0.0)


class Activate(msgspec.Struct, frozen=True, tag=True):
    """An operator asks for a bundle of the registry; see ActivateBundleRequest."""

    directory: str
    share: float | None = None
    require_agreement: float | None = None
    dry_run: bool = False


class Rollback(msgspec.Struct, frozen=True, tag=True):
    """An operator asks for the bundle before."""


class ListBundles(msgspec.Struct, frozen=True, tag=True):
    """An operator asks which bundles there are."""


Operation = Activate | Rollback | ListBundles


class Operate(Message, frozen=True):
    """A worker passes on what an operator asks; the answer is Result."""

    id: int
    operation: Operation


class Run(Message, frozen=True):
    """The answer to Hello: what to run, before the worker begins to serve."""

    state: State


class Prepare(Message, frozen=True):
    """Load a bundle beside the running one."""

    id: int
    target: Target


class Switch(Message, frozen=True):
    """Run what the state says, from the next batch on, and forget what is not in it."""

    id: int
    state: State
    patience_s: float


class Sample(Message, frozen=True):
    """Hand over some of the latest requests."""

    id: int
    amount: int


class Listed(msgspec.Struct, frozen=True):
    """One directory of the registry; `refusal` says why it is no sound bundle."""

    directory: str
    name: str = ""
    version: str = ""
    family: str = ""
    digest: str = ""
    refusal: str = ""


class Cost(msgspec.Struct, frozen=True):
    """Where the time of a swap went, in seconds; see SwapCost."""

    gate_s: float = 0.0
    prepare_s: float = 0.0
    switch_s: float = 0.0
    p99_before_s: float = 0.0
    p99_during_s: float = 0.0


class Result(Message, frozen=True):
    """The answer to Operate.

    Attributes:
        id: of the operation.
        status: name of a gRPC status; OK if it was carried out.
        error: why not.
        state: what runs now.
        workers: how many run it.
        comparison: of an activation.
        cost: of a swap.
        listed: of a list.
    """

    id: int
    status: str = "OK"
    error: str = ""
    state: State = State()
    workers: int = 0
    comparison: Comparison | None = None
    cost: Cost = Cost()
    listed: tuple[Listed, ...] = ()


class Happened(Message, frozen=True):
    """An event, for those who watch."""

    unix_s: float
    event: Event
    message: str
    state: State


class Others(Message, frozen=True):
    """What all other workers served, and how many workers there are in all."""

    workers: int
    stats: Stats


ToControl = Hello | Beat | Done | Operate
ToWorker = Run | Prepare | Switch | Sample | Result | Happened | Others
