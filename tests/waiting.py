"""Waits on conditions in asyncio tests."""

import asyncio
import time
from collections.abc import Callable

PATIENCE_S = 30.0


async def until(true: Callable[[], bool]) -> None:
    """Returns when it has come true; fails if that takes too long."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it did not come to pass in time"
        await asyncio.sleep(0.005)
