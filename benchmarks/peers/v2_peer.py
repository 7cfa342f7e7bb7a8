"""Peers that speak the Open Inference Protocol (V2) over gRPC."""

import os
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from benchmarks.h2load import CONNECTIONS, Shot, check_status, grpc_shot
from benchmarks.peers.peer import Environment, PeerFault, Program, free_port, request_bytes

_PATH = "LD_LIBRARY_PATH"
_LIBRARIES = sysconfig.get_config_var("LIBDIR")
METHOD = "/inference.GRPCInferenceService/ModelInfer"


class V2Peer:
    """A peer whose program takes `--bundle`, `--port` and `--request`.

    Args:
        name: for the table.
        note: what a fair reader must know.
        environment: its own.
        program: file in serving/.
        options: further ones of the program.
        variables: of its process environment.
    """

    items = 1

    def __init__(
        self,
        name: str,
        note: str,
        environment: Environment,
        program: str,
        options: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.note = note
        self._environment = environment
        self._file = program
        self._options = options
        self._variables = variables
        self._program = Program()
        self._address = ""
        self._requests: dict[str, bytes] = {}

    def install(self) -> None:
        """See Peer."""
        self._environment.install()

    def start(self, bundle: Path, core: int | None) -> None:
        """See Peer."""
        self._request("hello")
        port = free_port()
        self._address = f"127.0.0.1:{port}"
        command = [str(self._environment.python), self._file, "--bundle", str(bundle), "--port", str(port)]
        self._program.start([*command, *self._options], core, self._variables)
        self._program.await_answer(lambda: self.ask("hello"))

    def stop(self) -> None:
        """See Peer."""
        self._program.stop()

    def shot(self, text: str) -> Shot:
        """See Peer."""
        return grpc_shot(self._address, METHOD, self._request(text))

    def ask(self, text: str) -> bytes:
        """See Peer."""
        reply = check_status(self._address, METHOD, self._request(text))
        if b"quality" not in reply:
            raise PeerFault(f"the reply holds no scores: {reply[:100]!r}")
        return reply

    def connections(self, in_flight: int) -> int:
        """See Peer."""
        return min(CONNECTIONS, in_flight)

    def _request(self, text: str) -> bytes:
        if text not in self._requests:
            self._requests[text] = request_bytes(self._environment.python, self._file, text)
        return self._requests[text]


def pytriton() -> V2Peer:
    """PyTriton: Triton's C++ gRPC front end and batcher before a Python callable."""
    return V2Peer(
        "PyTriton 0.7.0",
        "gRPC; Triton 2.51's C++ front end and a Python backend share the core; batching delay 0",
        Environment("pytriton", ("nvidia-pytriton==0.7.0", "numpy<2")),
        "serve_pytriton.py",
        # Triton's Python backend links libpython and must find that of this interpreter before another one.
        variables={_PATH: os.pathsep.join(part for part in (_LIBRARIES, os.environ.get(_PATH)) if part)},
    )


def mlserver(batch_ms: float = 0.0) -> V2Peer:
    """MLServer: grpc.aio in one process, with or without its adaptive batching."""
    environment = Environment("mlserver", ("mlserver==1.7.1", "protobuf<7"))
    note = "gRPC, one process, metrics and compression off"
    if not batch_ms:
        return V2Peer("MLServer 1.7.1", note, environment, "serve_mlserver.py")
    return V2Peer(
        f"MLServer 1.7.1, batches within {batch_ms:g} ms",
        note,
        environment,
        "serve_mlserver.py",
        ("--batch-ms", str(batch_ms)),
    )
