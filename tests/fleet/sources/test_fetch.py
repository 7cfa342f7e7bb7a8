import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme

from sidecar.fleet.sources.fetch import MOST_BYTES, MOST_HEAD_BYTES, Fetcher
from sidecar.fleet.sources.samples import SourceError
from tests.fleet.sources.model_server import Handler, ModelServer, zipped
from tests.waiting import PATIENCE_S, until

Serve = Callable[..., ModelServer]


@asynccontextmanager
async def fetching(
    server: ModelServer, *, url: str = "", timeout_s: float = PATIENCE_S, **more: Any
) -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(url or server.url, timeout_s=timeout_s, **more)
    try:
        yield fetcher
    finally:
        fetcher.close()
        await asyncio.sleep(0)  # for the connection to close


async def fetched(server: ModelServer, **more: Any) -> str:
    async with fetching(server, **more) as fetcher:
        return await fetcher.fetch()


async def test_a_body_is_fetched_with_the_path_and_the_query_of_the_url(serve: Serve) -> None:
    server = serve("hello 1\n")
    assert await fetched(server, url=f"http://127.0.0.1:{server.port}/a/metrics?x=1&y") == "hello 1\n"
    assert server.paths == ["/a/metrics?x=1&y"]
    sent = server.headers[0]
    assert sent["host"] == f"127.0.0.1:{server.port}"
    assert sent["accept"] == "text/plain; version=0.0.4"


async def test_a_connection_serves_for_many_fetches(serve: Serve) -> None:
    server = serve("x")
    async with fetching(server) as fetcher:
        for _ in range(3):
            assert await fetcher.fetch() == "x"
    assert len(server.clients) == 1


async def test_a_connection_that_the_server_closed_meanwhile_is_made_anew(serve: Serve) -> None:
    server = serve()

    def answer_and_hang_up(handler: Handler) -> None:
        handler.send(b"x")
        handler.close_connection = True

    server.answer = answer_and_hang_up
    async with fetching(server) as fetcher:
        for _ in range(3):
            assert await fetcher.fetch() == "x"
    assert len(server.clients) == 3


async def test_a_connection_is_not_used_again_if_the_server_says_so(serve: Serve) -> None:
    server = serve()
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"

    def stay(handler: Handler) -> None:
        handler.wfile.write(answer)  # and it does not hang up itself

    server.answer = stay
    async with fetching(server) as fetcher:
        for _ in range(2):
            assert await fetcher.fetch() == "x"
    assert len(server.clients) == 2


async def test_a_fetch_after_a_failed_one_works(serve: Serve) -> None:
    server = serve("x")
    async with fetching(server) as fetcher:
        server.answer = lambda handler: handler.send(b"no", 500)
        with pytest.raises(SourceError, match="answers 500"):
            await fetcher.fetch()
        server.answer = lambda handler: handler.send(b"yes")
        assert await fetcher.fetch() == "yes"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nabcdefg",
        b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nabcdefg",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200\r\ncontent-length: 7\r\n\r\nabcdefg",
    ],
)
async def test_every_framing_of_http_is_read(serve: Serve, answer: bytes) -> None:
    server = serve()
    server.answer = lambda handler: handler.raw(answer)
    assert await fetched(server) == "abcdefg"


async def test_gzip_is_asked_for_and_unpacked(serve: Serve) -> None:
    server = serve()
    server.answer = lambda handler: handler.send(zipped("packed"), Content_Encoding="gzip")
    assert await fetched(server) == "packed"
    assert server.headers[0]["accept-encoding"] == "gzip"


async def test_further_headers_are_sent_anew_each_time(serve: Serve) -> None:
    server = serve("x")
    tokens = iter("ab")
    async with fetching(server, headers=lambda: {"Authorization": next(tokens)}) as fetcher:
        await fetcher.fetch()
        await fetcher.fetch()
    assert [sent["authorization"] for sent in server.headers] == ["a", "b"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "hung up before its answer was whole"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\nabc", "length that is no number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc", "length that is no number"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n", "chunk whose length is no number"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", "another length than announced"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", "transfer coding that was not asked for"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", "encoding that was not asked for"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nxxxx", "gzip that cannot be unpacked"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MOST_HEAD_BYTES, f"headers of more than {MOST_HEAD_BYTES}"),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", r"answers 401; does it want a token \(token_file\)"),
        (b"", "hung up"),
    ],
)
async def test_a_bad_answer_is_an_error_that_says_what_is_wrong(serve: Serve, answer: bytes, words: str) -> None:
    server = serve()
    server.answer = lambda handler: handler.raw(answer)
    with pytest.raises(SourceError, match=words):
        await fetched(server)


async def test_a_redirect_is_not_followed(serve: Serve) -> None:
    other, server = serve("secret"), serve()
    server.answer = lambda handler: handler.send(b"", 302, Location=other.url)
    with pytest.raises(SourceError, match="answers 302, a redirect, which is not followed"):
        await fetched(server)
    assert other.paths == []


async def test_cut_off_gzip_is_an_error(serve: Serve) -> None:
    server = serve()
    server.answer = lambda handler: handler.send(zipped("x" * 1000)[:-12], Content_Encoding="gzip")
    with pytest.raises(SourceError, match="cut off"):
        await fetched(server)


@pytest.mark.parametrize("way", ["length", "chunks", "until the end", "gzip"])
async def test_more_than_is_bearable_is_not_read(serve: Serve, way: str) -> None:
    server, huge = serve(), b"x" * (MOST_BYTES + 1)
    answers = {
        "length": lambda handler: handler.send(huge),
        "chunks": lambda handler: handler.raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + b"x" * 65536 + b"\r\n" + b"fffff\r\n"
        ),
        "until the end": lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\n\r\n" + huge),
        "gzip": lambda handler: handler.send(zipped("x" * 50_000_000), Content_Encoding="gzip"),
    }
    server.answer = answers[way]
    with pytest.raises(SourceError, match=f"more than {MOST_BYTES} bytes"):
        await fetched(server)


async def test_what_is_just_bearable_is_read(serve: Serve) -> None:
    assert len(await fetched(serve("x" * MOST_BYTES))) == MOST_BYTES


async def test_a_server_that_hangs_is_left(serve: Serve) -> None:
    server = serve()
    server.answer = server.hang
    with pytest.raises(SourceError, match=r"no whole answer within 0\.1 s"):
        await fetched(server, timeout_s=0.1)


async def test_a_server_that_drips_is_left_all_the_same(serve: Serve) -> None:
    server = serve()

    def drip(handler: Handler) -> None:
        while not server.closing.wait(0.01):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"[:1])

    server.answer = drip
    with pytest.raises(SourceError, match="no whole answer"):
        await fetched(server, timeout_s=0.3)


async def test_nobody_there_is_an_error(unused_tcp_port: int) -> None:
    fetcher = Fetcher(f"http://127.0.0.1:{unused_tcp_port}/metrics", timeout_s=PATIENCE_S)
    with pytest.raises(SourceError, match="cannot be reached"):
        await fetcher.fetch()


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def tls_of(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    return context


def trust(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


async def test_over_tls_with_an_authority_that_is_trusted(serve: Serve, ca: trustme.CA) -> None:
    assert await fetched(serve("x", tls=tls_of(ca, "127.0.0.1")), tls=trust(ca)) == "x"


async def test_a_certificate_of_a_stranger_is_refused(serve: Serve, ca: trustme.CA) -> None:
    server = serve("x", tls=tls_of(ca, "127.0.0.1"))
    with pytest.raises(SourceError, match="its certificate is refused"):
        await fetched(server)
    assert server.paths == []


async def test_a_certificate_of_another_host_is_refused(serve: Serve, ca: trustme.CA) -> None:
    server = serve("x", tls=tls_of(ca, "other.example"))
    with pytest.raises(SourceError, match="its certificate is refused: IP address mismatch"):
        await fetched(server, tls=trust(ca))
    assert server.paths == []


async def test_a_server_without_tls_is_no_https(serve: Serve, ca: trustme.CA) -> None:
    server = serve("x")
    with pytest.raises(SourceError, match=r"no TLS there|cannot be reached|hung up"):
        await fetched(server, url=server.url.replace("http:", "https:"), tls=trust(ca))


async def test_a_fetch_that_is_given_up_leaves_no_connection(serve: Serve) -> None:
    server = serve()
    server.answer = server.hang
    async with fetching(server) as fetcher:
        task = asyncio.ensure_future(fetcher.fetch())
        await until(lambda: bool(server.paths))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert fetcher._connection is None
