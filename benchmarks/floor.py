"""A lane with nothing behind it: what is left when the handler costs nothing. Run as a program, it serves.

The handler answers with constant bytes at once, so a Route on the same lane cannot be faster than this.
"""

import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import click

from sidecar.config import Config
from sidecar.lanes.auto import choose_lane
from sidecar.lanes.entrance import entrance_of

METHOD = "/floor.Floor/Empty"
LANES = ("fast", "portable")


def command(lane: str, reply_bytes: int = 0) -> list[str]:
    """The command line that serves the floor of a lane on a free port of the loopback."""
    return [sys.executable, "-m", "benchmarks.floor", "--lane", lane, "--reply-bytes", str(reply_bytes)]


class NothingWaits:
    """A batcher for a handler that answers at once."""

    full = ready = False

    def __len__(self) -> int:
        return 0


class EmptyServices:
    """One method that delivers constant bytes.

    Args:
        reply: the bytes.
    """

    def __init__(self, reply: bytes) -> None:
        def take(_raw: bytes, deliver: Callable[[Any, Any], None], key: Any, _caller: Any) -> None:
            deliver(key, reply)

        self.unary: Mapping[str, Any] = {METHOD: take}
        self.streams: Mapping[str, Any] = {}
        self.cold: Mapping[str, Callable[[bytes], bytes]] = {}
        self.watches: Mapping[str, Any] = {}
        self.batcher = NothingWaits()

    busy_s = 0.0

    def unread(self) -> None:
        """Nobody counts."""

    def flush(self) -> None:
        """There is nothing to answer."""


@click.command()
@click.option("--lane", type=click.Choice(LANES), required=True)
@click.option("--reply-bytes", type=int, default=0)
def main(lane: str, reply_bytes: int) -> None:
    """Serve the empty method on a lane until SIGTERM."""
    serving = choose_lane(lane).make(EmptyServices(b"x" * reply_bytes), entrance_of(Config()))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    click.echo(f"listening on {serving.start('127.0.0.1:0')} ({lane} lane, empty)", err=True)
    stop.wait()
    serving.drain(1.0)


if __name__ == "__main__":
    main()
