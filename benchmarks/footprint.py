"""How soon does it serve, and how much memory does it hold?"""

import subprocess
import sys
import time
from statistics import median

from benchmarks.closed import measure
from benchmarks.plan import Plan
from benchmarks.report import Section
from benchmarks.samples import Row
from benchmarks.server import ROOT, Server, sidecar_command
from sidecar.lanes.services import ROUTE

COLUMNS = ("subject", "median", "lowest", "highest", "target")
STARTS = 5
IN_FLIGHT = 64


def footprint(plan: Plan) -> Section:
    """Start-up times over several starts, and memory before and after load."""
    section = Section("footprint", "Start-up and memory", COLUMNS)
    listening: list[float] = []
    serving: list[float] = []
    fresh: list[float] = []
    loaded: list[float] = []
    for number in range(STARTS):
        with Server(sidecar_command(plan.bundle, plan.transport), plan.cores.server) as server:
            listening.append(server.listening_s)
            serving.append(server.serving_s)
            fresh.append(server.resident_mb())
            if number == STARTS - 1:
                measure(plan, server.address, ROUTE, IN_FLIGHT, server)
                loaded.append(server.resident_mb())
    imports = [_import_s() for _ in range(STARTS)]
    section.rows += [
        _row("import sidecar (whole process), s", imports, None),
        _row("start to listening, s", listening, None),
        _row("start to SERVING, s", serving, "< 0.5"),
        _row("resident after start, MB", fresh, "<= 150"),
        _row(f"resident after {IN_FLIGHT} in flight for {plan.seconds:g} s, MB", loaded, "<= 150"),
    ]
    return section


def _row(subject: str, values: list[float], target: str | None) -> Row:
    low, middle, high = (round(of(values), 3) for of in (min, median, max))
    return {"subject": subject, "median": middle, "lowest": low, "highest": high, "target": target}


def _import_s() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import sidecar"], cwd=ROOT, check=True)
    return time.perf_counter() - began
