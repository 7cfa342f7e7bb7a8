"""The log: lines on standard error, with times in UTC, as those of decisions and budgets are.

Whoever looks for the reason of a decision at night lays log, `decisions` and `fleet` side by side; they go by one clock.
"""

import logging
import sys
import time
from datetime import UTC, datetime


class _Lines(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


def begin(process: str = "") -> None:
    """From now on this process logs, unless whoever runs it has seen to that.

    Args:
        process: which one it is, of several that log to the same place.
    """
    lines = logging.StreamHandler(sys.stderr)
    of = f"{process} " if process else ""
    lines.setFormatter(_Lines(f"%(asctime)s %(levelname)s {of}%(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[lines])


def second(unix_seconds: float) -> str:
    """A time as it is shown on a terminal: ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
