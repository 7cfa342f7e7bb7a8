"""Names under which the standard health service (grpc.health.v1) answers, and their statuses."""

import threading
from collections.abc import Callable

from sidecar.lanes.lane import SERVICE

# As grpc.health.v1.HealthCheckResponse.ServingStatus numbers them.
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3

# These say whether the sidecar can answer, which it can while it is degraded: a gateway that stopped asking would lose
# the safe candidate too.
ANSWERING = ("", SERVICE, "liveness", "readiness")
# This one says whether requests are scored at all just now.
SCORING = "scoring"
# This one says whether enough of the latest requests were scored, in every segment.
COVERAGE = "coverage"
# This one says whether an encoder runs on the device that it was meant to run on.
DEVICE = "device"

HEALTH_SERVICE = "grpc.health.v1.Health"
REFLECTED = (SERVICE, HEALTH_SERVICE)
# Younger clients ask for v1 first; its messages are the same to the byte.
REFLECTION_NAMES = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")

Listener = Callable[[str, int], None]  # told a name and its new status; from any thread, must not block


class Health:
    """The status of each name. Safe for use from several threads.

    Args:
        fault: why nothing is scored at the start; empty if scoring works.
    """

    def __init__(self, fault: str = "") -> None:
        self._lock = threading.Lock()
        self._statuses = dict.fromkeys((*ANSWERING, COVERAGE, DEVICE), SERVING)
        self._statuses[SCORING] = NOT_SERVING if fault else SERVING
        self._listeners: list[Listener] = []
        self._ending = False

    def status(self, name: str) -> int:
        """The status of a name; SERVICE_UNKNOWN if it is none."""
        return self._statuses.get(name, SERVICE_UNKNOWN)

    def statuses(self) -> dict[str, int]:
        """The status of every name."""
        with self._lock:
            return dict(self._statuses)

    def set(self, name: str, *, serving: bool) -> None:
        """Changes the status of a name; ignored once the sidecar is ending."""
        with self._lock:
            if not self._ending:
                self._change(name, SERVING if serving else NOT_SERVING)

    def end(self) -> None:
        """Every name is NOT_SERVING from now on."""
        with self._lock:
            self._ending = True
            for name in self._statuses:
                self._change(name, NOT_SERVING)

    def listen(self, listener: Listener) -> None:
        """Has a listener told of every change from now on."""
        with self._lock:
            self._listeners.append(listener)

    def _change(self, name: str, status: int) -> None:
        if self._statuses.get(name) != status:
            self._statuses[name] = status
            for listener in self._listeners:
                listener(name, status)
