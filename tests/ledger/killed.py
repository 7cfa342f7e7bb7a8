"""Programs that are made to be killed: `write DIRECTORY` acknowledges outcomes, `import DIRECTORY URL` imports them."""

import os
import sys
import threading
import time
from pathlib import Path

from sidecar.errors import RouterError, Unavailable
from sidecar.ledger.importer import Importer
from sidecar.ledger.outcome import Outcome
from tests.ledger.made import config_in, journal_of, name, noted

THREADS = 4
# A line on standard output for each outcome that is acknowledged: its decision.
LINE = 33


def write(directory: Path) -> None:
    journal = journal_of(config_in(directory, flush_ms=1.0, segment_bytes=1 << 16))
    lock = threading.Lock()

    def submit() -> None:
        waiting = threading.Semaphore(16)
        while True:
            with lock:
                decision = name(time.time())
                journal.note(noted([decision]))

            def done(answer: RouterError | None, decision: str = decision) -> None:
                if answer is None:
                    os.write(1, f"{decision}\n".encode())
                waiting.release()

            waiting.acquire()
            try:
                journal.submit(
                    Outcome(
                        decision_id=decision, source="test", received=time.time(), quality=1.0, labels={"a": "b" * 99}
                    ),
                    done,
                )
            except Unavailable:
                waiting.release()

    for _ in range(THREADS):
        threading.Thread(target=submit).start()


def bring_in(directory: Path, url: str) -> None:
    importer = Importer(config_in(directory, url=url))
    os.write(1, b"ready\n")
    while True:
        importer.step()


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        bring_in(Path(sys.argv[2]), sys.argv[3])
