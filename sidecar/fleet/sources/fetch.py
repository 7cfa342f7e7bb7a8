"""A small HTTP client: fetches one URL again and again, over a connection that it keeps.

What a server sends is bounded in size and time. Redirects are not followed, proxies of the environment not used: what
is read decides where prompts go, so it comes from where the configuration says, or not at all.
"""

import asyncio
import re
import ssl
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress

from sidecar.fleet.sources.samples import SourceError
from sidecar.fleet.sources.settings import split_url

MOST_BYTES = 1 << 20
MOST_HEAD_BYTES = 32 << 10
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: |$)")
_GZIP = 16 + zlib.MAX_WBITS
_PORTS = {"http": 80, "https": 443}
OK, REDIRECT = 200, range(300, 400)
REFUSED = (401, 403)


class Fetcher:
    """Fetches one URL.

    Args:
        url: http or https, checked.
        headers: gives further headers for each request.
        timeout_s: most seconds that one fetch may take, from the connection to the last byte.
        tls: for https; None is the system's authorities.
        most_bytes: most that a body may have, as it is sent and unpacked.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        headers: Callable[[], Mapping[str, str]] = dict,
        tls: ssl.SSLContext | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        split = split_url("url", url)
        self._host = split.hostname or ""
        self._port = split.port or _PORTS[split.scheme]
        self._tls = (tls or ssl.create_default_context()) if split.scheme == "https" else None
        self._target = (split.path or "/") + (f"?{split.query}" if split.query else "")
        self._authority = split.netloc
        self._headers = headers
        self._timeout_s = timeout_s
        self._most_bytes = most_bytes
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def fetch(self) -> str:
        """The body.

        Raises:
            SourceError: the server cannot be reached, or answers with anything but a body of bearable size in time.
        """
        whole = False
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._fetch()
            whole = True
        except TimeoutError:
            raise SourceError(f"no whole answer within {self._timeout_s:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise SourceError(f"its certificate is refused: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise SourceError(f"no TLS there: {error.reason}") from None
        except asyncio.IncompleteReadError:
            raise SourceError("hung up before its answer was whole") from None
        except asyncio.LimitOverrunError:
            raise SourceError(f"sends a line or headers of more than {MOST_HEAD_BYTES} bytes") from None
        except OSError as error:
            raise SourceError(f"cannot be reached: {error.strerror or error}") from None
        finally:
            if not whole:
                self.close()
        return body.decode("utf-8", "replace")

    def close(self) -> None:
        """Hangs up."""
        if self._connection is not None:
            self._connection[1].transport.abort()
            self._connection = None

    async def _fetch(self) -> bytes:
        if self._connection is not None:
            # The server may have closed a connection that was kept; only a fresh one tells whether it is there.
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                return await self._ask(*self._connection)
            self.close()
        self._connection = await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=MOST_HEAD_BYTES)
        return await self._ask(*self._connection)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        own = {
            "Host": self._authority,
            "Accept": "text/plain; version=0.0.4",
            "Accept-Encoding": "gzip",
            "User-Agent": "router-sidecar",
            **self._headers(),
        }
        lines = [f"GET {self._target} HTTP/1.1", *(f"{name}: {value}" for name, value in own.items()), "", ""]
        writer.write("\r\n".join(lines).encode("ascii"))
        status, keep, headers = await _head(reader)
        if status in REDIRECT:
            raise SourceError(f"answers {status}, a redirect, which is not followed; give the URL that it leads to")
        if status != OK:
            hint = "; does it want a token (token_file)?" if status in REFUSED else ""
            raise SourceError(f"answers {status}{hint}")
        body, framed = await self._body(reader, headers)
        if not (keep and framed):
            self.close()
        encoding = headers.get("content-encoding", "identity")
        if encoding == "identity":
            return body
        if encoding != "gzip":
            raise SourceError(f"answers in an encoding that was not asked for, {encoding[:20]!r}")
        return self._unpacked(body)

    async def _body(self, reader: asyncio.StreamReader, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        """The body, and whether the connection can be used again after it."""
        coding = headers.get("transfer-encoding", "")
        if coding:
            if coding.lower() != "chunked":
                raise SourceError(f"answers in a transfer coding that was not asked for, {coding[:20]!r}")
            return await self._chunks(reader), True
        length = headers.get("content-length")
        if length is not None:
            if not (length.isascii() and length.isdigit()):
                raise SourceError("announces a length that is no number")
            return await reader.readexactly(self._bearable(int(length))), True
        body = bytearray()
        while part := await reader.read(1 << 16):
            body += part
            self._bearable(len(body))
        return bytes(body), False

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = bytearray()
        while True:
            size = (await reader.readuntil(b"\r\n")).partition(b";")[0].strip()
            try:
                length = int(size, 16) if size.isalnum() else -1
            except ValueError:
                length = -1
            if length < 0:
                raise SourceError("sends a chunk whose length is no number")
            if not length:
                break
            self._bearable(len(body) + length)
            body += await reader.readexactly(length)
            if await reader.readexactly(2) != b"\r\n":
                raise SourceError("sends a chunk of another length than announced")
        trailers = 0
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            trailers += len(line)
            if trailers > MOST_HEAD_BYTES:
                raise SourceError(f"sends trailers of more than {MOST_HEAD_BYTES} bytes")
        return bytes(body)

    def _bearable(self, length: int) -> int:
        if length > self._most_bytes:
            raise SourceError(f"sends more than {self._most_bytes} bytes; is it really /metrics of one model server?")
        return length

    def _unpacked(self, body: bytes) -> bytes:
        unpacker = zlib.decompressobj(_GZIP)
        try:
            unpacked = unpacker.decompress(body, self._most_bytes + 1)
        except zlib.error:
            raise SourceError("sends gzip that cannot be unpacked") from None
        self._bearable(len(unpacked))
        if not unpacker.eof:
            raise SourceError("sends gzip that is cut off")
        return unpacked


async def _head(reader: asyncio.StreamReader) -> tuple[int, bool, Mapping[str, str]]:
    """Status, whether the server keeps the connection, headers by their names in small letters."""
    while True:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        found = _STATUS.match(first)
        if found is None:
            raise SourceError("does not speak HTTP/1.1")
        status = int(found[2])
        if status >= OK:  # else more is to come
            break
    headers = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            headers[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    asked = headers.get("connection", "").lower()
    keep = asked != "close" if found[1] == b"1" else asked == "keep-alive"
    return status, keep, headers
