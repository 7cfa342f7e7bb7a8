"""The memory that the processes of one sidecar share. The supervisor makes it, and does so without numpy."""

import os
import shutil
import tempfile
from pathlib import Path

from sidecar.config import Config
from sidecar.fleet import layout, sessions

# In the directory that the supervisor makes for its processes.
FLEET, SESSIONS = "fleet", "sessions"
# Workers that are replaced overlap with their successors; the observer and what it hears of other sidecars write too.
SECTIONS_BESIDE = 4


class Shared:
    """The shared memory of one sidecar, which lives as long as the process that makes it.

    Args:
        config: how many workers and sessions there are.
        workers: how many serve.
        runtime: directory of the sidecar.

    Raises:
        ConfigError: there is not enough memory, or too many workers.
    """

    def __init__(self, config: Config, workers: int, runtime: Path) -> None:
        sections = 2 * workers + SECTIONS_BESIDE
        self._descriptors = [
            layout.make(runtime / FLEET, sections, config.fleet.max_names, peers=True),
            sessions.create(runtime / SESSIONS, workers, config.sessions.slots),
        ]
        self._runtime = runtime

    def close(self) -> None:
        """Nobody can open it any more."""
        for name in (FLEET, SESSIONS):
            (self._runtime / name).unlink(missing_ok=True)
        while self._descriptors:
            os.close(self._descriptors.pop())


class OwnMemory:
    """The memory of a server that shares it with nobody.

    Attributes:
        directory: where it can be opened.
    """

    def __init__(self, config: Config) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="router-"))
        self._shared = Shared(config, 1, self.directory)

    def close(self) -> None:
        """Gives it back."""
        self._shared.close()
        shutil.rmtree(self.directory, ignore_errors=True)
