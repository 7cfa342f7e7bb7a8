"""grpcio's private Cython layer: here it is imported, and probed. Only the fast lane and its calls use it."""

from concurrent import futures

import grpc

try:
    from grpc._cython import cygrpc  # type: ignore[attr-defined]  # private, untyped
except ImportError:  # probe tells
    cygrpc = None

__all__ = ["TESTED", "cygrpc", "probe"]

# Versions of grpcio in which the conformance suite passed on the fast lane.
TESTED = ((1, 75), (1, 86))


def probe() -> str:
    """Why the fast lane cannot be used here; empty if it can."""
    version = tuple(int(part) for part in grpc.__version__.split(".")[:2])
    if not TESTED[0] <= version < TESTED[1]:
        return f"grpcio {grpc.__version__} is outside the tested range {TESTED[0]} <= version < {TESTED[1]}"
    try:
        server = grpc.server(futures.ThreadPoolExecutor(1))
        core = server._cy_server  # type: ignore[attr-defined]  # noqa: SLF001 - the point of this module
        queue = cygrpc.CompletionQueue()
        core.register_completion_queue(queue)
        core.register_method("/probe.Probe/Probe")
        needed = (core.request_registered_call, cygrpc.Call.start_server_batch, queue.poll, queue.shutdown)
        operations = (
            cygrpc.ReceiveMessageOperation,
            cygrpc.ReceiveCloseOnServerOperation,
            cygrpc.SendInitialMetadataOperation,
            cygrpc.SendMessageOperation,
            cygrpc.SendStatusFromServerOperation,
        )
        assert all(map(callable, (*needed, *operations)))  # noqa: S101 - the probe itself
        _ = cygrpc.CallError.ok, cygrpc.CompletionType.queue_timeout, cygrpc.CompletionType.queue_shutdown
        queue.shutdown()
    except Exception as error:  # noqa: BLE001 - whatever is missing, the other lane serves
        return f"grpcio {grpc.__version__} lacks what the fast lane needs ({type(error).__name__}: {error})"
    return ""
