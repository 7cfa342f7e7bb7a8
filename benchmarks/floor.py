"""A transport with nothing behind it: what is left when the handler costs nothing. Run as a program, it serves.

The handler answers with constant bytes at once, so a Route on the same transport cannot be faster than this.
"""

import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import click

from sidecar.config import Config
from sidecar.errors import RouterError
from sidecar.lanes.health import Health
from sidecar.lanes.lane import Call, Hot
from sidecar.transport.choose import transport_of

METHOD = "/floor.Floor/Empty"
TRANSPORTS = ("http2", "grpcio")


def command(transport: str, reply_bytes: int = 0) -> list[str]:
    """The command line that serves the floor of a transport on a free port of the loopback."""
    return [sys.executable, "-m", "benchmarks.floor", "--transport", transport, "--reply-bytes", str(reply_bytes)]


class EmptyServices:
    """One method that delivers constant bytes.

    Args:
        reply: the bytes.
    """

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._calls: list[Call] = []
        self.unary: Mapping[str, Hot] = {METHOD: Hot(_never, lambda _raw: "")}
        self.streams: Mapping[str, Any] = {}
        self.cold: Mapping[str, Callable[[bytes], bytes]] = {}
        self.watches: Mapping[str, Any] = {}

    @property
    def ready(self) -> bool:
        """True if calls wait."""
        return bool(self._calls)

    crowded = False

    def turn_away(self, method: Hot, calls: int) -> RouterError:
        """See Services; nothing is ever turned away."""
        raise NotImplementedError

    def offer(self, call: Call) -> None:
        """Takes a call."""
        self._calls.append(call)

    def flush(self) -> None:
        """Answers all that wait."""
        calls, self._calls = self._calls, []
        for call in calls:
            call.reply(self._reply)


def _never(*_: Any) -> None:
    """Messages are not parsed here."""


@click.command()
@click.option("--transport", type=click.Choice(TRANSPORTS), required=True)
@click.option("--reply-bytes", type=int, default=0)
def main(transport: str, reply_bytes: int) -> None:
    """Serve the empty method on a transport until SIGTERM."""
    config = Config(transport=transport)  # type: ignore[arg-type]  # one of TRANSPORTS
    serving = transport_of(config, EmptyServices(b"x" * reply_bytes), Health())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    click.echo(f"listening on {serving.start('127.0.0.1:0')} ({transport}, empty)", err=True)
    stop.wait()
    serving.drain(1.0)


if __name__ == "__main__":
    main()
