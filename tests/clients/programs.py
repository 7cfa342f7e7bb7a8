"""Clients that are programs of their own: `PROGRAM SCENARIO ADDRESS [CA.pem]` prints one JSON object a line.

Every language has a program with the same scenarios, so that one set of expectations (`cases.py`) serves them all:

- `unary`: one Route.
- `stream`: five messages over one RouteStream, each answered before the next is sent; the third is no valid request.
- `hangup`: cancels a stream after its first answer, then calls Route on the same connection.
- `deadline`: a Route that has 200 ms, then one that has a minute, on the same connection.
- `cancel`: ten calls at once; after a line on standard input every other one is cancelled.
- `large`: a Route with a text of 3 MiB, then a RouteBatch of 5,000 requests.
- `error`: a Route with the name of a policy that does not exist and is not ASCII.
- `refusal`: a RouteBatch of three requests.
- `record`: three calls in a row with a deadline.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
# The longest that a program of few calls can take on a busy machine.
PATIENCE_S = 60.0


class Program(NamedTuple):
    """A client.

    Attributes:
        command: what starts it, without the arguments.
        environment: variables beside those of this process.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = {}

    def run(self, scenario: str, address: str, ca: Path | None = None) -> list[dict[str, Any]]:
        """Plays a scenario to its end; gives what was printed.

        Raises:
            AssertionError: the program failed.
        """
        with self.talk(scenario, address, ca) as talk:
            return talk.rest()

    @contextmanager
    def talk(self, scenario: str, address: str, ca: Path | None = None) -> Iterator["Talk"]:
        """Plays a scenario that waits for the test now and then."""
        command = [*self.command, scenario, address, *([str(ca)] if ca else [])]
        # What gRPC logs of a server that it cannot reach would drown what matters when a test fails.
        environment = {**os.environ, "GRPC_VERBOSITY": "NONE", **self.environment}
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment
        ) as process:
            try:
                yield Talk(process)
            finally:
                process.kill()


class Talk:
    """A running program."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def line(self) -> dict[str, Any]:
        """What the program prints next; pytest-timeout ends a wait that is too long."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return _read(line) if line else self._failed("")

    def go_on(self) -> None:
        """Tells the program that it may go on."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def rest(self) -> list[dict[str, Any]]:
        """All that the program still prints; it must end well."""
        out, err = self._process.communicate(timeout=PATIENCE_S)
        if self._process.returncode:
            self._failed(err)
        return [_read(line) for line in out.splitlines()]

    def _failed(self, err: str) -> Any:
        said = err or self._process.communicate(timeout=PATIENCE_S)[1]
        raise AssertionError(f"{self._process.args!r} ended with {self._process.returncode}: {said[-2000:]}")


def _read(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    return found
