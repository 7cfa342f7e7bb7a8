"""How a source fares: for the log, and for whoever keeps watch."""

import logging

import msgspec

log = logging.getLogger(__name__)


class Tally(msgspec.Struct):
    """What became of one source's attempts. Says in the log when it begins to fail and when it is back, not in between.

    Attributes:
        candidate: whose telemetry it is.
        source: `prometheus` or `orca`.
        target: HOST:PORT, with the path if there is one.
        ok: how often it told something.
        failed: how often it did not.
        fault: why it does not at present; empty if it does.
        observed_unix: when it last told something, in Unix seconds; 0 is never.
    """

    candidate: str
    source: str
    target: str
    ok: int = 0
    failed: int = 0
    fault: str = ""
    observed_unix: float = 0.0

    def tell(self, unix: float) -> None:
        """It told something."""
        if self.fault:
            log.info("telemetry of %s: %s %s is back", self.candidate, self.source, self.target)
        self.ok += 1
        self.fault = ""
        self.observed_unix = unix

    def fail(self, why: str) -> None:
        """It did not."""
        if why != self.fault:
            log.warning("telemetry of %s: %s %s: %s", self.candidate, self.source, self.target, why)
        self.failed += 1
        self.fault = why
