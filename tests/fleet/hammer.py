"""A process that writes to the fleet table as fast as it can: `python hammer.py TABLE SECTION`, until its input ends.

All numbers of a row are the same, and every row differs from the one before by one: whoever reads can tell a torn row or
section. Now and then it takes on another name, or leaves and comes back.
"""

import select
import sys
import time
from pathlib import Path

from sidecar.fleet.table import FleetTable
from sidecar.fleet.writer import Writer

ROWS = 24


def main() -> None:
    table, number = FleetTable.attach(Path(sys.argv[1])), int(sys.argv[2])
    writer = Writer(table, number, time.monotonic)
    rows = [writer.row(f"model-{row}") for row in range(ROWS)]
    print("writing", flush=True)  # noqa: T201 - the test listens
    stamp = 0.0
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(50):
            stamp += 1.0
            for place, row in enumerate(rows):
                writer.rows[row] = stamp + place
            writer.publish()
        if stamp % 1000 == 0 and len(writer.names()) < table.names:
            writer.row(f"further-{stamp:g}")


if __name__ == "__main__":
    main()
