"""The processes below this one, for tests that nobody may be left behind."""

from contextlib import suppress

import psutil


def descendants() -> set[int]:
    """Process ids below this one, but for those of a database that other tests have running: it starts and ends its own."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.name() != "postgres":
                found.add(child.pid)
    return found
