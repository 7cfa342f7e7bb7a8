"""Where a loaded model runs just now, for those who tell operators."""

from sidecar.scoring.providers import CPU


class Placement:
    """Written where the model runs; any thread may look.

    Attributes:
        execution_provider: ONNX Runtime's name of what runs the model now.
        reason: why it is this one.
        fault: why it is not the one that was meant; empty if it is.
        faults: how often the device failed since the start.
    """

    __slots__ = ("execution_provider", "fault", "faults", "reason")

    def __init__(self, execution_provider: str = CPU, reason: str = "") -> None:
        self.execution_provider = execution_provider
        self.reason = reason
        self.fault = ""
        self.faults = 0
