"""The choice for a plain request: one that limits nothing and belongs to no session.

Most requests are plain, and for a few numbers lists are several times quicker than arrays.
"""

from collections.abc import Sequence

from sidecar.routing.decision import NOVEL_FROM, Choice, Reason
from sidecar.routing.draw import Draw
from sidecar.routing.room import Room

# By whether the prompt is novel, and whether chance and the load had a say.
REASONS: dict[tuple[bool, bool, bool], tuple[Reason, ...]] = {
    (novel, spread, load): (
        Reason.LEARNED,
        *((Reason.NOVEL,) if novel else ()),
        *((Reason.SPREAD,) if spread else ()),
        *((Reason.LOAD,) if load else ()),
    )
    for novel in (False, True)
    for spread in (False, True)
    for load in (False, True)
}


class Plain:
    """Chooses for plain requests, while all open candidates take part alike: see sidecar.routing.draw.pick.

    Args:
        offered: output indices of the candidates that the operator offers.
        draw: where chance comes from.
    """

    def __init__(self, offered: Sequence[int], draw: Draw) -> None:
        self._offered = offered
        self._draw = draw

    def __call__(
        self,
        unloaded: Sequence[float],
        loaded: Sequence[float],
        novelty: float,
        room: Room,
        blur_usd: float,
        order: list[int] | None = None,
    ) -> Choice:
        """Chooses, and takes the request's part of the room.

        Args:
            unloaded: [C] utility if nobody had to wait.
            loaded: [C] utility.
            novelty: of the prompt.
            room: what is left of the fleet; an even one.
            blur_usd: see sidecar.routing.draw.pick.
            order: `room.indices` by `loaded`, best first, if that is known already; the choice keeps it.
        """
        if order is None:
            order = sorted(room.indices, key=loaded.__getitem__, reverse=True)  # equals stay in their order
        # Without load, the first of those that are offered is the best of them.
        best = loaded[order[0]] if loaded is unloaded and room.indices is self._offered else None
        chosen, propensity = order[0], 1.0
        if blur_usd > 0.0 and order[1:]:
            least = loaded[chosen] - blur_usd
            if loaded[order[1]] >= least:
                near = [candidate for candidate in room.indices if loaded[candidate] >= least]
                chosen, propensity = near[int(self._draw() * len(near))], 1.0 / len(near)
                if chosen != order[0]:
                    order.remove(chosen)
                    order.insert(0, chosen)
        if best is None:
            best = max([unloaded[candidate] for candidate in self._offered])
        room.take(chosen)
        return Choice(
            order, REASONS[novelty > NOVEL_FROM, propensity < 1.0, unloaded[chosen] < best], novelty, propensity
        )
