"""What the figures were measured on, with what, when, and how."""

import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import sidecar
from benchmarks.cores import Cores

PACKAGES = ("grpcio", "protobuf", "onnxruntime", "onnxruntime-gpu", "tokenizers", "numpy", "uvloop")


def describe(cores: Cores) -> dict[str, Any]:
    """Machine, versions, date and command line."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "server_core": cores.server,
        "load_core": cores.load,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sidecar": sidecar.__version__,
        "commit": _commit(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def lines(machine: dict[str, Any]) -> list[str]:
    """The same for the head of the tables."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores; load average {machine['load_average'][0]}",
        f"Python {machine['python']}, {versions}",
        f"server on core {machine['server_core']}, load on core {machine['load_core']}; {machine['command']}",
    ]
    if machine["server_core"] == machine["load_core"]:
        lines.append("! server and load share a core: latencies are pessimistic and throughput is halved")
    if machine["load_average"][0] > machine["cores"] / 2:
        lines.append("! the machine was busy before this run began: the figures are too bad")
    return lines


def _cpu() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    here = Path(__file__).resolve().parent
    got = subprocess.run([git, "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    return got.stdout.strip()
