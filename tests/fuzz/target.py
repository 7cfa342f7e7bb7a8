"""What is fuzzed: bytes through the whole of RouterServices on the default bundle, and what must hold whatever they are.

An input is one byte, which chooses the method, whether prompts are marked and what sort of caller asks, and the bytes of
the message.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.message import DecodeError, Message

from sidecar.bundle.embedded import DEFAULT_BUNDLE
from sidecar.bundle.load import load
from sidecar.config import CandidateConfig, Config, SegmentConfig
from sidecar.coverage import Coverage
from sidecar.errors import RouterError
from sidecar.lanes.engine import Engine
from sidecar.lanes.lane import Encoded, Take
from sidecar.lanes.services import ROUTE, ROUTE_BATCH, ROUTE_STREAM, RouterServices
from sidecar.routing.decision_id import DecisionIds
from sidecar.routing.policy import Policy
from sidecar.settings import OverloadConfig
from sidecar.wire import router_pb2 as pb

METHODS: tuple[type[Message], ...] = (pb.RouteRequest, pb.RouteBatchRequest, pb.RouteStreamRequest)
# In the first byte: prompts get a mark, which no error and no log may hold; the deadline has passed; the caller hung up.
MARKED, EXPIRED, GONE = 4, 8, 16
MARK = "qZxMarkxZq"
MOST_MESSAGE_CHARS = 1000
# Processor time of one input: a hundred times what sound ones take here, and twenty times that of a megabyte.
MOST_SECONDS, MOST_SECONDS_PER_BYTE = 0.5, 5e-6
INTERNAL = RouterError("").code
CONFIG = Config(
    candidates=(
        CandidateConfig(name="gemini-1.5-pro-002", aliases=("pro",), capabilities=("vision", "tools", "audio", "file")),
        CandidateConfig(name="gemini-1.5-flash-002", model="vertex/flash", capabilities=("vision",)),
        CandidateConfig(
            name="llama-3.1-70b-instruct",
            context_window=8192,
            first_token_seconds=0.5,
            seconds_per_output_token=0.01,
        ),
        CandidateConfig(name="yi-6b-chat", context_window=4096),
    ),
    policies={"house": Policy(answer_value_usd=0.2, second_value_usd=0.001, max_latency_ms=9000)},
    segments={"acme": SegmentConfig(policy="house")},
    segment_keys=("metadata.tenant", "envelope", "segment"),
    # Whatever the machine does meanwhile, nothing is shed: what is answered is scored.
    overload=OverloadConfig(action="reject", max_waiting=1 << 20, max_queue_ms=600_000.0),
)


class Broken(AssertionError):
    """Something that must always hold did not."""


def target_of(data: bytes) -> type[Message]:
    """The type of the message in an input."""
    return METHODS[(data[0] & (MARKED - 1)) % len(METHODS)]


def encoded(message: Message, *, marked: bool = True) -> bytes:
    """An input that holds this message."""
    return bytes([METHODS.index(type(message)) | (MARKED if marked else 0)]) + message.SerializeToString()


class Target:
    """A sidecar without a transport. Call it with inputs; it raises Broken where it should not have done what it did."""

    def __init__(self) -> None:
        bundle = load(DEFAULT_BUNDLE)
        config = CONFIG.checked()
        clock, coverage = time.perf_counter, Coverage()
        engine = Engine(config, bundle, "", ids=DecisionIds(time.time), coverage=coverage, clock=clock)
        services = RouterServices(config, engine, coverage, clock=clock)
        self._flush = services.flush
        self._batcher = services.batcher
        self._takes: dict[type[Message], Take] = {
            pb.RouteRequest: services.unary[ROUTE].take,
            pb.RouteBatchRequest: services.unary[ROUTE_BATCH].take,
            pb.RouteStreamRequest: services.streams[ROUTE_STREAM].take,
        }
        self._log = _Log()
        logging.getLogger("sidecar").addHandler(self._log)

    def __call__(self, data: bytes) -> None:
        """Sends one input through.

        Raises:
            Broken: with what did not hold.
        """
        if not data:
            return
        kind = target_of(data)
        raw = _marked(kind, data[1:]) if data[0] & MARKED else data[1:]
        self._log.lines.clear()
        began = time.thread_time()
        caller = _Caller(expired=bool(data[0] & EXPIRED), gone=bool(data[0] & GONE))
        reply = self._delivered(self._takes[kind], raw, caller)
        spent = time.thread_time() - began
        if spent > MOST_SECONDS + MOST_SECONDS_PER_BYTE * len(raw):
            raise Broken(f"{len(raw)} bytes took {spent:.2f} s of the processor")
        # Only faults are logged at all here, and nothing that comes from outside may be one.
        if self._log.lines:
            raise Broken(f"logged: {self._log.lines}")
        if reply is not None:
            _CHECKS[kind](reply, raw)

    def close(self) -> None:
        """Listens to the log no longer."""
        logging.getLogger("sidecar").removeHandler(self._log)

    def _delivered(self, take: Take, raw: bytes, caller: "_Caller") -> Encoded | None:
        delivered: list[tuple[Any, Encoded]] = []
        key = object()
        take(raw, lambda to, reply: delivered.append((to, reply)), key, caller)
        while self._batcher:
            self._flush()
        if not delivered and caller.gone:
            return None
        if len(delivered) != 1 or delivered[0][0] is not key:
            raise Broken(f"{len(delivered)} deliveries for one call")
        return delivered[0][1]


class _Caller:
    """Who waits for the answer, or does not."""

    def __init__(self, *, expired: bool = False, gone: bool = False) -> None:
        self.expires = 0.0 if expired else math.inf
        self.gone = gone

    def waker(self) -> Callable[[], None]:
        """Static bundles are answered at once."""
        return lambda: None

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        return then


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def _marked(kind: type[Message], raw: bytes) -> bytes:
    """The message with the mark in its prompts, and nowhere that errors quote names from; as it is if it is none."""
    try:
        message: Any = kind.FromString(raw)
    except DecodeError:
        return raw
    for request in _requests(message):
        if request.text.strip():
            request.text += MARK
        for turn in request.messages:
            turn.role = turn.role.replace(MARK, "")
            if turn.content.strip():
                turn.content += MARK
            for part in turn.parts:
                if part.text.strip():
                    part.text += MARK
        if request.WhichOneof("policy_choice") == "policy_name":
            request.policy_name = request.policy_name.replace(MARK, "")
        for names in (request.constraints.allow, request.constraints.deny) if request.HasField("constraints") else ():
            names[:] = [name.replace(MARK, "") for name in names]
    return bytes(message.SerializeToString())


def _requests(message: Any) -> Iterable[Any]:
    if isinstance(message, pb.RouteRequest):
        return (message,)
    if isinstance(message, pb.RouteBatchRequest):
        return message.requests
    return (message.request,) if message.HasField("request") else ()


def _check_route(reply: Encoded, _raw: bytes) -> None:
    if isinstance(reply, RouterError):
        _check_error(reply.code, str(reply))
    else:
        _check_response(_read(pb.RouteResponse, reply))


def _check_batch(reply: Encoded, raw: bytes) -> None:
    if isinstance(reply, RouterError):
        _check_error(reply.code, str(reply))
        return
    results = _read(pb.RouteBatchResponse, reply).results
    expected = len(pb.RouteBatchRequest.FromString(raw).requests)
    if len(results) != expected:
        raise Broken(f"{len(results)} results for {expected} requests")
    for result in results:
        _check_result(result)


def _check_stream(reply: Encoded, raw: bytes) -> None:
    if isinstance(reply, RouterError):
        raise Broken("a stream's message ended the stream")
    response = _read(pb.RouteStreamResponse, reply)
    try:
        expected = pb.RouteStreamRequest.FromString(raw).sequence
    except DecodeError:
        expected = 0
    if response.sequence != expected:
        raise Broken(f"sequence {response.sequence} for {expected}")
    _check_result(response.result)


def _check_result(result: Any) -> None:
    which = result.WhichOneof("result")
    if which == "error":
        _check_error(result.error.code, result.error.message)
    elif which == "response":
        _check_response(result.response)
    else:
        raise Broken("a result that is nothing")


def _check_error(status: int, told: str) -> None:
    if status == INTERNAL:
        raise Broken(f"an error of ours: {told}")
    if not 0 < len(told) < MOST_MESSAGE_CHARS:
        raise Broken(f"a message of {len(told)} characters: {told[:200]}")
    if MARK in told:
        raise Broken(f"a message repeats the prompt: {told}")


def _check_response(response: Any) -> None:
    if pb.REASON_DEGRADED in response.reasons:
        raise Broken("a request degraded the sidecar")
    if not response.ranking or response.model != response.ranking[0].model:
        raise Broken("the model is not the first of the ranking")
    values = [(row.quality, row.cost_usd, row.expected_seconds, row.utility_usd) for row in response.ranking]
    if not all(math.isfinite(value) for row in values for value in row):
        raise Broken(f"a figure is not finite: {values}")
    if not all(0 <= quality <= 1 and cost >= 0 and seconds >= 0 for quality, cost, seconds, _ in values):
        raise Broken(f"a figure is out of its range: {values}")
    utilities = [utility for *_, utility in values]
    if utilities != sorted(utilities, reverse=True):
        raise Broken(f"the ranking is not in order: {utilities}")
    if not 0 <= response.novelty <= 1:
        raise Broken(f"novelty is {response.novelty}")


def _read(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise Broken(f"what was delivered is no {kind.__name__}") from None


_CHECKS = {
    pb.RouteRequest: _check_route,
    pb.RouteBatchRequest: _check_batch,
    pb.RouteStreamRequest: _check_stream,
}
