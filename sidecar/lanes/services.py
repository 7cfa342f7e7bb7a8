"""What both lanes serve: bytes in, bytes or errors out, the same to the letter."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from sidecar.batching import Batcher
from sidecar.errors import InvalidRequest, RouterError, TooLarge
from sidecar.faults import place
from sidecar.lanes.intake import Intake
from sidecar.lanes.lane import SERVICE, Deliver, Encoded, Take
from sidecar.lanes.malformed import explain
from sidecar.lanes.reply import Replies, delimited
from sidecar.routing.ask import Ask
from sidecar.routing.router import Router, Tally
from sidecar.wire import router_pb2 as pb

log = logging.getLogger(__name__)

ROUTE, ROUTE_BATCH, ROUTE_STREAM, INFO = (f"/{SERVICE}/{m}" for m in ("Route", "RouteBatch", "RouteStream", "Info"))

RESPONSE = pb.RouteResult.RESPONSE_FIELD_NUMBER
ERROR = pb.RouteResult.ERROR_FIELD_NUMBER
RESULTS = pb.RouteBatchResponse.RESULTS_FIELD_NUMBER
RESULT = pb.RouteStreamResponse.RESULT_FIELD_NUMBER

# Numbers of https://github.com/grpc/grpc/blob/master/doc/statuscodes.md for the names in sidecar.errors.
STATUS_NUMBERS = {"INVALID_ARGUMENT": 3, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "INTERNAL": 13}


class RouterServices:
    """The hot methods over one batcher, and Info.

    A method that takes `deliver` calls `deliver(key, encoded)` once for the call, at once or at the next flush, with the
    reply's bytes or a RouterError. It never raises.

    Args:
        router: decides.
        intake: checks requests.
        replies: encodes answers.
        clock: monotonic seconds.
        info: what Info answers.
        max_score_batch: most requests of one run of the model.
        max_batch_items: most items of one RouteBatch.
    """

    def __init__(
        self,
        router: Router,
        intake: Intake,
        replies: Replies,
        clock: Callable[[], float],
        *,
        info: Callable[[], pb.InfoResponse],
        max_score_batch: int,
        max_batch_items: int,
    ) -> None:
        self._router = router
        self._intake = intake
        self._replies = replies
        self._clock = clock
        self._max_batch_items = max_batch_items
        self.batcher: Batcher[Ask, Encoded] = Batcher(self._answer, max_score_batch)
        self.unary: dict[str, Take] = {ROUTE: self.route, ROUTE_BATCH: self.route_batch}
        self.streams: dict[str, Take] = {ROUTE_STREAM: self.route_stream}
        self.cold: dict[str, Callable[[bytes], bytes]] = {INFO: lambda _raw: info().SerializeToString()}

    @property
    def tally(self) -> Tally:
        """Counters since the start."""
        return self._router.tally

    def route(self, raw: bytes, deliver: Deliver, key: Any) -> None:
        """Takes the bytes of a RouteRequest; delivers those of a RouteResponse."""
        arrived = self._clock()
        try:
            request = pb.RouteRequest.FromString(raw)
            ask = self._intake(request, arrived)
        except Exception as error:  # noqa: BLE001 - the caller gets it as a status
            deliver(key, self._refused(error, raw, pb.RouteRequest))
            return
        self.batcher.add(ask, deliver, key)

    def route_batch(self, raw: bytes, deliver: Deliver, key: Any) -> None:
        """Takes the bytes of a RouteBatchRequest; delivers those of a RouteBatchResponse."""
        try:
            requests = self._items(raw)
        except Exception as error:  # noqa: BLE001 - the caller gets it as a status
            deliver(key, self._refused(error, raw, pb.RouteBatchRequest))
            return
        group = _Group(len(requests), deliver, key)
        for index, request in enumerate(requests):
            arrived = self._clock()
            try:
                ask = self._intake(request, arrived)
            except Exception as error:  # noqa: BLE001 - the item gets it as its error
                group.put(index, self._refused(error))
            else:
                self.batcher.add(ask, group.put, index)

    def route_stream(self, raw: bytes, deliver: Deliver, key: Any) -> None:
        """Takes the bytes of a RouteStreamRequest; delivers those of a RouteStreamResponse, errors inside it.

        Answers come in the order of the calls.
        """
        arrived = self._clock()
        sequence = 0
        try:
            message = pb.RouteStreamRequest.FromString(raw)
            sequence = message.sequence
            ask = self._intake(message.request, arrived)
        except Exception as error:  # noqa: BLE001 - the message gets it as its error
            refused = self._refused(error, raw, pb.RouteStreamRequest)
            self.batcher.flush()  # what came before this is answered before it
            deliver(key, _stream_response(sequence, refused))
            return
        self.batcher.add(ask, lambda to, encoded: deliver(to, _stream_response(sequence, encoded)), key)

    def _items(self, raw: bytes) -> Sequence[pb.RouteRequest]:
        requests = pb.RouteBatchRequest.FromString(raw).requests
        if not requests:
            raise InvalidRequest("requests is empty: send at least one request.")
        if len(requests) > self._max_batch_items:
            raise TooLarge(f"requests: {len(requests)} items; send at most {self._max_batch_items} in one call.")
        return requests

    def _answer(self, asks: Sequence[Ask]) -> list[Encoded]:
        try:
            return [encoded for decided in self._router.decide(asks) for encoded in self._replies.encode(decided)]
        except Exception as error:  # noqa: BLE001 - the callers get it as a status
            log.error("a batch of %d requests could not be answered: %s", len(asks), place(error))  # noqa: TRY400
            return [RouterError("the sidecar failed to answer; its log says why.")] * len(asks)

    def _refused(self, error: Exception, raw: bytes = b"", kind: Any = None) -> RouterError:
        self.tally.invalid += 1
        if isinstance(error, RouterError):
            return error
        if isinstance(error, DecodeError):
            return explain(raw, kind.DESCRIPTOR)
        log.error("a request could not be read: %s", place(error))
        return RouterError("the sidecar failed to read the request; its log says why.")


class _Group:
    """Gathers the results of one RouteBatch."""

    def __init__(self, size: int, deliver: Deliver, key: Any) -> None:
        self._results = [b""] * size
        self._missing = size
        self._deliver = deliver
        self._key = key

    def put(self, index: int, encoded: Encoded) -> None:
        self._results[index] = delimited(RESULTS, _result(encoded))
        self._missing -= 1
        if self._missing == 0:
            self._deliver(self._key, b"".join(self._results))


def _result(encoded: Encoded) -> bytes:
    if isinstance(encoded, bytes):
        return delimited(RESPONSE, encoded)
    error = pb.RouteError(code=STATUS_NUMBERS[encoded.status], message=str(encoded))
    return delimited(ERROR, error.SerializeToString())


def _stream_response(sequence: int, encoded: Encoded) -> bytes:
    return pb.RouteStreamResponse(sequence=sequence).SerializeToString() + delimited(RESULT, _result(encoded))
