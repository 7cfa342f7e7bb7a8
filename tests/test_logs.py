import os
import re
import subprocess
import sys
import time

from sidecar.logs import second

PROGRAM = """
import logging
from sidecar import logs
logs.begin("worker-3")
logging.getLogger("sidecar.x").info("begins %d", 7)
logging.getLogger("sidecar.x").debug("is not said")
"""


def test_lines_say_when_by_utc_wherever_the_machine_stands() -> None:
    before = time.time()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "TZ": "XXX-9"},  # nine hours ahead
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = re.fullmatch(r"(\S{19})\.(\d{3})Z INFO worker-3 sidecar\.x: begins 7\n", done.stderr)
    assert found is not None, done.stderr
    assert second(int(before)) <= f"{found[1]}Z" <= second(time.time())


def test_a_second_is_told_in_utc() -> None:
    assert second(1_800_000_000.75) == "2027-01-15T08:00:00Z"
