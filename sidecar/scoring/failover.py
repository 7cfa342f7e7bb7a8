"""Runs a model on a device, and on the CPU where the device fails: no batch is lost, and the device is tried again."""

import logging
import threading
import weakref
from collections.abc import Callable

from sidecar.faults import place
from sidecar.scoring.pace import Pace
from sidecar.scoring.placement import Placement
from sidecar.scoring.providers import CPU
from sidecar.scoring.ragged import Outputs, Rows

log = logging.getLogger(__name__)

# A device that is gone for a moment (its memory was full) comes back soon. One that this process has broken for itself
# (CUDA's sticky errors) comes back with the process: to try again costs a second of one core now and then.
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 300.0
LASTING = 4

Runs = Callable[[Rows], Outputs]


class Failover:
    """Runs batches where that is possible. To be called by one thread.

    Args:
        device: runs them on the device.
        cpu: runs them on the CPU.
        revive: makes another device, warm and tried; called in a thread of its own. Raises where that cannot be had.
        placement: is kept up to date.
        pace: forgets what it learned of the other one.
        first_delay_s: after which the device is tried again; doubled with every failure.
    """

    def __init__(
        self,
        device: Runs,
        cpu: Runs,
        revive: Callable[[], Runs],
        placement: Placement,
        pace: Pace,
        first_delay_s: float = FIRST_DELAY_S,
    ) -> None:
        self._device: Runs | None = device
        self._cpu = cpu
        self._revive = revive
        self._placement = placement
        self._meant = placement.execution_provider
        self._pace = pace
        self._first_delay_s = first_delay_s

    def __call__(self, rows: Rows) -> Outputs:
        """Runs at least one row.

        Raises:
            Exception: what the CPU raises. If the device raised too, these rows are to blame and not the device.
        """
        device = self._device
        if device is None:
            return self._cpu(rows)
        try:
            return device(rows)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has a type per status code, without a common base
            outputs = self._cpu(rows)
            self._lose(error)
            return outputs

    def _lose(self, error: Exception) -> None:
        self._device = None
        placement = self._placement
        placement.faults += 1
        placement.fault = f"{self._meant} failed with {type(error).__name__}; the CPU scores until it works again"
        placement.execution_provider = CPU
        self._pace.forget()
        log.error("%s. %s", placement.fault, place(error))
        me = weakref.ref(self)
        threading.Thread(target=_revive, args=(me, self._first_delay_s), name="revive", daemon=True).start()

    def again(self, delay_s: float) -> bool:
        """Tries once to have the device back."""
        try:
            device = self._revive()
        except Exception as error:  # noqa: BLE001 - see __call__
            lasting = delay_s >= self._first_delay_s * 2**LASTING
            log.warning(
                "%s cannot be had again: %s; it is tried again in %g s%s",
                *(self._meant, type(error).__name__, min(2.0 * delay_s, LONGEST_DELAY_S)),
                *("; if it is sound, restart the worker" if lasting else "",),
            )
            return False
        self._pace.forget()
        self._placement.fault = ""
        self._placement.execution_provider = self._meant
        self._device = device
        log.warning("%s works again and scores from now on", self._meant)
        return True


def _revive(me: "weakref.ref[Failover]", delay_s: float) -> None:
    pause = threading.Event()  # never set: a daemon thread ends with the process
    while True:
        pause.wait(delay_s)
        failover = me()
        if failover is None or failover.again(delay_s):  # None: its bundle's turn is over
            return
        del failover
        delay_s = min(2.0 * delay_s, LONGEST_DELAY_S)
