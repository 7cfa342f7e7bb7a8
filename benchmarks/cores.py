"""Which core serves and which one makes the load, so that the two never measure each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

PINNABLE = hasattr(os, "sched_setaffinity")


class Cores(NamedTuple):
    """Core numbers; equal where there is only one, None where the system cannot pin."""

    server: int | None
    load: int | None

    @property
    def shared(self) -> bool:
        """Whether server and load share a core: the figures are then pessimistic, and waiting must not spin."""
        return self.server == self.load


def choose(server: int | None = None, load: int | None = None) -> Cores:
    """The wanted cores, else the first two that this process may use.

    Raises:
        ValueError: a wanted core cannot be used.
    """
    if not PINNABLE:
        return Cores(None, None)
    free = sorted(os.sched_getaffinity(0))
    for wanted in (server, load):
        if wanted is not None and wanted not in free:
            raise ValueError(f"core {wanted} cannot be used; this process may use {free}.")
    first = server if server is not None else next((core for core in free if core != load), free[0])
    second = load if load is not None else next((core for core in free if core != first), first)
    return Cores(first, second)


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Runs the block on one core; processes started in it stay there."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
