"""What a start does not need is not imported: held here by names, so that no clock decides."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REMOTE = ("grpc", "grpc_health", "grpc_reflection")
NEVER = (
    *REMOTE,
    "prometheus_client",
    "http.server",
    "http.client",
    "urllib.request",
    "sqlite3",
    "psycopg",
    "redis",
    "onnx",
)
ALONE = ("numpy", "onnxruntime", "tokenizers", "google.protobuf", "uvloop", "sidecar.lanes", "sidecar.transport")

WORKER = """
import sidecar.worker
from sidecar.config import Config
from sidecar.server import Server
server = Server(Config())
server.start("127.0.0.1:0")
told = sorted(sys.modules)
server.drain()
"""
CONTROL = """
import asyncio
from functools import partial
from sidecar.config import Config
from sidecar.control.process import Control, watch
control = Control(Config(), runtime)
control.watch = partial(watch, Config(), runtime)
async def main():
    serving = asyncio.create_task(control.run(runtime / "control", lambda: serving.cancel()))
    await asyncio.wait([serving])
    await control.tick(0.0)
asyncio.run(main())
told = sorted(sys.modules)
"""
SUPERVISOR = """
import asyncio, signal
from sidecar.child import Child
from sidecar.cli import main
async def start(child):
    child.status = {"running": "", "transport": "none"}
    if child.name == "control":
        signal.raise_signal(signal.SIGTERM)
Child.start = start
main(["serve", "--listen", "127.0.0.1:0", "--workers", "2"], standalone_mode=False)
told = sorted(sys.modules)
"""
GREET = """
import gc, json, sys
def main():
    print(json.dumps([__name__, sys.argv, gc.isenabled(), gc.get_freeze_count() > 0]))
"""


def imported(program: str, runtime: Path) -> set[str]:
    """The modules of a new interpreter that ran the program."""
    head, tail = "import json, pathlib, sys\nruntime = pathlib.Path(sys.argv[1])\n", "\nprint(json.dumps(told))"
    done = subprocess.run(
        [sys.executable, "-c", head + program + tail, str(runtime)], check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("program", "own", "unwanted"),
    [
        (
            WORKER,
            "sidecar.transport.http2.server",
            (*NEVER, "click", "tomllib", "sidecar.bundle.encoder", "sidecar.supervisor"),
        ),
        (CONTROL, "sidecar.control.swap", (*NEVER, *ALONE, "click", "tomllib", "sidecar.fleet.table")),
        (SUPERVISOR, "sidecar.supervisor", (*NEVER, *ALONE, "sidecar.control.process", "sidecar.fleet.table")),
    ],
    ids=["worker", "control", "supervisor"],
)
def test_a_process_that_has_started_imported_nothing_it_does_not_need(
    program: str, own: str, unwanted: tuple[str, ...], tmp_path: Path
) -> None:
    modules = imported(program, tmp_path)
    assert own in modules
    assert modules.isdisjoint(unwanted), sorted(modules.intersection(unwanted))


def test_a_module_is_run_as_python_would_run_it_and_what_was_imported_is_never_collected(tmp_path: Path) -> None:
    (tmp_path / "greet.py").write_text(GREET)
    done = subprocess.run(
        [sys.executable, "-m", "sidecar.start", "greet", "a", "b"],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).resolve().parent.parent}"},
    )
    assert json.loads(done.stdout) == ["greet", ["greet", "a", "b"], True, True]


def test_the_collector_works_again_after_imports_that_fail() -> None:
    program = """
import gc
from sidecar.start import collector_at_rest
try:
    with collector_at_rest():
        assert not gc.isenabled()
        import sidecar.no_such_module
except ImportError:
    print(gc.isenabled())
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"
