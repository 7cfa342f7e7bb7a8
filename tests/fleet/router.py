"""A process that decides as a worker does: `python router.py TABLE SECTION`, one JSON command a line, one JSON answer.

Commands: {"decide": N} gives the ids and the candidates chosen; {"hear": [ids], "fault": N}; {"look": true} gives the fleet.
The clock is the real one.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.fleet.estimate import Priors
from sidecar.fleet.live import LiveFleet
from sidecar.fleet.outcome import Fault, Outcome
from sidecar.fleet.settings import BreakerConfig, FleetConfig
from sidecar.fleet.table import FleetTable
from sidecar.fleet.view import FleetView
from sidecar.routing.decision_id import DecisionIds
from tests.fleet.chooser import assign

NAMES = ["a", "b", "c"]
SLOTS = [4.0, 8.0, 16.0]
SETTINGS = FleetConfig(
    dead_after_seconds=2.0,
    min_expiry_seconds=120.0,
    breaker=BreakerConfig(first_backoff_seconds=30.0, max_backoff_seconds=60.0),
)


def main() -> None:
    table = FleetTable.attach(Path(sys.argv[1]))
    live = LiveFleet(table, int(sys.argv[2]), SETTINGS, clock=time.monotonic, unix=time.time)
    ones = np.ones(len(NAMES))
    view = FleetView(live, Priors(NAMES, ones, 0.0 * ones, 0.0 * ones, np.array(SLOTS)))
    ids = DecisionIds(time.time, live.process)
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        now = time.monotonic()
        answer: dict[str, Any] = {}
        if "decide" in command:
            fleet = view.read(now)
            chosen = assign(fleet, command["decide"])
            named = ids.take(len(chosen)).ids
            for name, candidate in zip(named, chosen, strict=True):
                view.decided(int(name[22:], 16), candidate, 10.0, 1.0, 0.0, now)
            answer = {"ids": named, "chosen": chosen}
        elif "hear" in command:
            outcome = Outcome(Fault(command.get("fault", 0)), latency_seconds=1.0)
            answer = {"counted": [live.hear(name, outcome, now) for name in command["hear"]]}
        else:
            fleet = view.read(now)
            answer = {"in_flight": fleet.in_flight.tolist(), "open": fleet.open.tolist()}
        live.publish(now)
        print(json.dumps(answer), flush=True)  # noqa: T201 - the test listens


if __name__ == "__main__":
    main()
