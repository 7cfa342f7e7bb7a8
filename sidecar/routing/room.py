"""What is left of a fleet while requests are assigned to it."""

import numpy as np

from sidecar.fleet.view import Fleet
from sidecar.routing.candidates import Column, Mask


class Offer:
    """Whom the operator offers, of one candidate table.

    Args:
        mask: [C].

    Attributes:
        mask: as given.
        indices: output indices of the offered, in order.
        all: whether that is everybody.
    """

    __slots__ = ("all", "indices", "mask")

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.indices: list[int] = np.flatnonzero(mask).tolist()
        self.all = len(self.indices) == len(mask)


class Room:
    """What is left of a fleet while a batch is assigned: each request takes its part.

    Args:
        fleet: as it was last read.
        offer: whom requests may choose at all.

    Attributes:
        wait: [C] seconds, as plain numbers.
        first_token_seconds: [C] as plain numbers; see Fleet.
        seconds_per_token: likewise.
        queued: whether anybody would have to wait anywhere.
        open: [C] who is offered and may be chosen.
        indices: output indices of these, in order; as of the beginning, where `even` is not.
        even: whether there is somebody, and nobody is on its way back or limited to some calls.
    """

    __slots__ = (
        "_backlog",
        "_crowd",
        "_quota",
        "_step",
        "even",
        "first_token_seconds",
        "indices",
        "open",
        "queued",
        "seconds_per_token",
        "wait",
    )

    def __init__(self, fleet: Fleet, offer: Offer) -> None:
        self.wait: list[float] = fleet.wait_seconds.tolist()
        self.first_token_seconds: list[float] = fleet.first_token_seconds.tolist()
        self.seconds_per_token: list[float] = fleet.seconds_per_token.tolist()
        self._backlog: list[float] = fleet.backlog.tolist()
        self._step: list[float] = fleet.step_seconds.tolist()
        self._quota: Column | None = None
        self._crowd = fleet.crowd
        self.queued = any(self.wait)
        self.open, self.indices = offer.mask, offer.indices
        self.even = bool(self.indices)
        if fleet.plain:
            return
        self.open = offer.mask & ~fleet.open
        self.indices = np.flatnonzero(self.open).tolist()
        self.even = bool(
            self.indices and fleet.share[self.open].min() >= 1.0 and fleet.quota[self.open].min() == np.inf
        )
        if not self.even:
            self._quota = fleet.quota.copy()

    def take(self, candidate: int) -> None:
        """A request goes to a candidate."""
        left = self._backlog[candidate] = self._backlog[candidate] + self._crowd
        if left > 0.0:
            self.wait[candidate] = left * self._step[candidate]
            self.queued = True
        if self._quota is not None:
            self._quota[candidate] -= 1.0
            if self._quota[candidate] < 1.0:
                self.open = self.open.copy()
                self.open[candidate] = False
