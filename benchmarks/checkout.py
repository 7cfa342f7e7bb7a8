"""Another checkout of this repository, whose servers are measured beside those of this one."""

import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.server import UNCACHED


class Names(NamedTuple):
    """What a checkout calls its transports.

    Attributes:
        package: that it has, and checkouts with other names have not.
        option: of its commands.
        quickest: the value of the transport to compare with.
    """

    package: str
    option: str
    quickest: str


# Newest first.
KNOWN = (Names("sidecar/transport/http2", "--transport", "http2"), Names("sidecar/lanes", "--lane", "fast"))


class Checkout:
    """Commands that start the servers of another checkout; they must run in its directory.

    Args:
        directory: of the checkout; its dependencies are those of the running interpreter.

    Attributes:
        root: its directory.

    Raises:
        ValueError: the directory holds no checkout that is known here.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory.resolve()
        names = next((names for names in KNOWN if (self.root / names.package).is_dir()), None)
        if names is None:
            raise ValueError(f"{directory} is no checkout of this repository: it has no {KNOWN[-1].package}.")
        self._option = [names.option, names.quickest]

    def sidecar(self, bundle: Path | None) -> list[str]:
        """Serves Route on a free port of the loopback, without a score cache."""
        command = [sys.executable, "-m", "sidecar.cli", "serve", "--listen", "127.0.0.1:0", *self._option]
        command += ["--config", str(UNCACHED)]
        return [*command, "--bundle", str(bundle.resolve())] if bundle else command

    def floor(self, reply_bytes: int) -> list[str]:
        """Serves the empty handler of benchmarks.floor."""
        return [sys.executable, "-m", "benchmarks.floor", *self._option, "--reply-bytes", str(reply_bytes)]
