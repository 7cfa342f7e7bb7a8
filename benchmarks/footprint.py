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
from benchmarks.verdict import at_most, verdict
from sidecar.lanes.services import ROUTE

COLUMNS = ("subject", "value", "lowest", "highest", "target", "verdict")
STARTS = 10
MOST_START_S, MOST_WORKER_MB = "< 0.5", at_most(110)
IN_FLIGHT = 64


def footprint(plan: Plan) -> Section:
    """Start-up times over several starts, and memory before and after load."""
    section = Section("footprint", "Start-up and memory", COLUMNS)
    listening: list[float] = []
    serving: list[float] = []
    fresh: list[float] = []
    others: list[float] = []
    loaded: list[float] = []
    for number in range(STARTS):
        with Server(sidecar_command(plan.bundle, plan.transport), plan.cores.server) as server:
            listening.append(server.listening_s)
            serving.append(server.serving_s)
            fresh.append(server.resident_mb())
            others.append(server.overhead_mb())
            if number == STARTS - 1:
                measure(plan, server.address, ROUTE, IN_FLIGHT, server)
                loaded.append(server.resident_mb())
    imports = [_import_s() for _ in range(STARTS)]
    section.rows += [
        spread("import sidecar (whole process), s", imports, ""),
        spread("start to listening, s", listening, ""),
        spread("start to SERVING, s", serving, MOST_START_S),
        spread("resident memory of a worker after start, MB", fresh, MOST_WORKER_MB),
        spread(f"the same after {IN_FLIGHT} in flight for {plan.seconds:g} s, MB", loaded, MOST_WORKER_MB),
        spread("resident memory of all other processes, MB", others, ""),
    ]
    section.notes.append(f"medians of {STARTS} starts; a start is that of supervisor, worker and control process")
    return section


def spread(subject: str, values: list[float], target: str) -> Row:
    """The row of figures that were measured several times: median, extremes, and whether the median meets a target."""
    low, middle, high = (round(of(values), 3) for of in (min, median, max))
    return {**verdict(subject, middle, target), "lowest": low, "highest": high}


def _import_s() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import sidecar"], cwd=ROOT, check=True)
    return time.perf_counter() - began
