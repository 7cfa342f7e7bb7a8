"""What the machine gives a sidecar: a port, and cores."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from sidecar.errors import ConfigError


def reserve(listen: str) -> tuple[socket.socket, str]:
    """Holds a port for the workers, without listening on it.

    Args:
        listen: HOST:PORT; port 0 lets the system choose.

    Returns:
        The socket, to be kept open, and the address with the port that was chosen.

    Raises:
        ConfigError: the address cannot be had, or somebody else listens there.
    """
    host, _, port = listen.rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if int(port):
            # Without SO_REUSEPORT: two sidecars on one port would split its connections in silence.
            with socket.socket(family, kind, protocol) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
        reserved = socket.socket(family, kind, protocol)
        try:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(address)
        except OSError:
            reserved.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"listen: cannot bind {listen!r}: {error.strerror or error}; give HOST:PORT with a free port and an address "
            "of this machine (port 0 lets the system choose)."
        ) from None
    return reserved, f"{host}:{reserved.getsockname()[1]}"


def cores() -> int:
    """Cores that this process may use: those it may run on, or fewer where a container's quota is lower."""
    allowed = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            return max(1, min(allowed, -(-int(quota) // int(period))))
    return allowed
