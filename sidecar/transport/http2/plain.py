"""Requests that are no gRPC calls: they get an HTTP status and a line of text."""

from sidecar.transport.http2.frames import FLOW_CONTROL_ERROR, StreamError
from sidecar.transport.http2.replies import plain_head
from sidecar.transport.http2.streams import STREAM_WINDOW, Stream


class PlainRequest(Stream):
    """A request whose body does not matter. It is answered when it has ended, or has sent a window's worth."""

    __slots__ = ()

    def data(self, payload: bytes, length: int, *, ended: bool) -> None:
        """See Stream."""
        self._received += length
        if self._received > self._granted:
            raise StreamError(self.number, FLOW_CONTROL_ERROR)
        if self.entry.length is not None:
            self.keep_promise(self.entry.length, len(payload), ended=ended)
        self.ended = ended
        if not self.begun and (ended or self._received >= STREAM_WINDOW // 2):
            self._answer()

    def expired(self) -> None:
        """See Stream."""

    def _answer(self) -> None:
        assert self.entry.plain is not None  # noqa: S101 - so this stream was opened
        status, text = self.entry.plain
        body = text.encode()
        self.connection.answer(self, plain_head(status, len(body)), b"" if self.entry.bodiless else body)
