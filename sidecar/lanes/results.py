"""Answers inside other messages: the results of a RouteBatch and of a RouteStream, errors among them."""

from typing import Any

from sidecar.lanes.lane import Deliver, Encoded
from sidecar.lanes.reply import delimited
from sidecar.wire import router_pb2 as pb

RESPONSE = pb.RouteResult.RESPONSE_FIELD_NUMBER
ERROR = pb.RouteResult.ERROR_FIELD_NUMBER
RESULTS = pb.RouteBatchResponse.RESULTS_FIELD_NUMBER
RESULT = pb.RouteStreamResponse.RESULT_FIELD_NUMBER


class BatchResult:
    """Gathers the results of one RouteBatch.

    Args:
        size: how many there will be.
        deliver: takes the bytes of the RouteBatchResponse when all are there.
        key: the call's.
    """

    def __init__(self, size: int, deliver: Deliver, key: Any) -> None:
        self._results = [b""] * size
        self._missing = size
        self._deliver = deliver
        self._key = key

    def put(self, index: int, encoded: Encoded) -> None:
        """Takes the result of one item."""
        self._results[index] = delimited(RESULTS, _result(encoded))
        self._missing -= 1
        if self._missing == 0:
            self._deliver(self._key, b"".join(self._results))


def _result(encoded: Encoded) -> bytes:
    if isinstance(encoded, bytes):
        return delimited(RESPONSE, encoded)
    error = pb.RouteError(code=encoded.code, message=str(encoded), retry_after_ms=encoded.retry_after_ms)
    return delimited(ERROR, error.SerializeToString())


def stream_response(sequence: int, encoded: Encoded) -> bytes:
    """The bytes of a RouteStreamResponse, whether an answer or an error is in it."""
    return pb.RouteStreamResponse(sequence=sequence).SerializeToString() + delimited(RESULT, _result(encoded))
