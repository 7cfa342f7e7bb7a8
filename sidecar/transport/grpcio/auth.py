"""Turns calls away while their handler is looked up: before a message is read, without an interceptor's coroutine."""

from collections.abc import Callable
from typing import Any

import grpc

from sidecar.door.admission import Admit
from sidecar.errors import RouterError

Refusal = Callable[[RouterError], Any]  # makes the behaviour of a stream-stream method that only aborts


class Guarded(grpc.GenericRpcHandler):
    """Generic handlers behind a check.

    Args:
        handlers: what is behind it.
        admit: the check.
        refusal: what is served instead of a method to those who are turned away.
    """

    def __init__(self, handlers: grpc.GenericRpcHandler, admit: Admit, refusal: Refusal) -> None:
        self._handlers = handlers
        self._admit = admit
        self._refusal = refusal

    def service(self, handler_call_details: Any) -> Any:
        """See grpc.GenericRpcHandler."""
        handler = self._handlers.service(handler_call_details)
        if handler is None:
            return None
        error = self._admit(handler_call_details.invocation_metadata)
        if error is None:
            return handler
        # Of any kind of method a stream is the one whose messages need not be awaited.
        return grpc.stream_stream_rpc_method_handler(self._refusal(error))
