import pytest

from sidecar.transport.http2.headers import Head, Headers, Malformed, check_trailers, read_head, seconds

GOOD: list[tuple[bytes, bytes]] = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/router.v1.RouterService/Route"),
    (b":authority", b"sidecar"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
]


def without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [field for field in GOOD if field[0] != name]


def test_a_call_is_read() -> None:
    more = [
        (b"grpc-timeout", b"50m"),
        (b"grpc-encoding", b"gzip"),
        (b"authorization", b"Bearer x"),
        (b"content-length", b"7"),
    ]
    assert read_head([*GOOD, *more]) == Head(GOOD[2][1], 0.05, b"gzip", 7, "Bearer x", "")
    assert read_head(GOOD) == Head(GOOD[2][1], None, b"", None, None, "")


@pytest.mark.parametrize("kind", [b"application/grpc+proto", b"application/grpc;charset=utf-8", b"application/grpc"])
def test_every_content_type_of_grpc_is_one(kind: bytes) -> None:
    assert read_head([*without(b"content-type"), (b"content-type", kind)]).fault == ""


@pytest.mark.parametrize("kind", [b"text/html", b"application/grpcx", b""])
def test_any_other_content_type_is_none_of_a_call(kind: bytes) -> None:
    assert read_head([*without(b"content-type"), (b"content-type", kind)]).fault == "content-type"
    assert read_head(without(b"content-type")).fault == "content-type"


def test_calls_are_posted() -> None:
    assert read_head([(b":method", b"GET"), *without(b":method")]).fault == "method"


BAD: dict[str, Headers] = {
    "no method": without(b":method"),
    "no scheme": without(b":scheme"),
    "no path": without(b":path"),
    "an empty path": [(b":path", b""), *without(b":path")],
    "a path twice": [GOOD[2], *GOOD],
    "a pseudo header of replies": [(b":status", b"200"), *GOOD],
    "a pseudo header after others": [*without(b":path"), GOOD[2]],
    "upper case": [*GOOD, (b"Trace", b"1")],
    "a name with a space": [*GOOD, (b"a b", b"1")],
    "an empty name": [*GOOD, (b"", b"1")],
    "a value with a line end": [*GOOD, (b"a", b"1\r\nb: 2")],
    "connection": [*GOOD, (b"connection", b"close")],
    "transfer-encoding": [*GOOD, (b"transfer-encoding", b"chunked")],
    "te gzip": [*without(b"te"), (b"te", b"gzip")],
    "two lengths": [*GOOD, (b"content-length", b"1"), (b"content-length", b"2")],
    "a length that is none": [*GOOD, (b"content-length", b"-1")],
}


@pytest.mark.parametrize("name", BAD)
def test_what_http2_does_not_allow_is_malformed(name: str) -> None:
    with pytest.raises(Malformed):
        read_head(BAD[name])


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"4m", 0.004),
        (b"5u", 5e-6),
        (b"6n", 6e-9),
        (b"99999999S", 99999999.0),
    ],
)
def test_timeouts_have_six_units(timeout: bytes, expected: float) -> None:
    assert seconds(timeout) == pytest.approx(expected)


@pytest.mark.parametrize("timeout", [b"", b"S", b"5", b"-1S", b"1.5S", b"123456789S", b"1s", b"soon", b" 1S"])
def test_anything_else_is_no_timeout(timeout: bytes) -> None:
    assert seconds(timeout) is None
    if timeout.strip() == timeout != b"":
        assert read_head([*GOOD, (b"grpc-timeout", timeout)]).fault == "timeout"


def test_trailers_of_a_request_have_no_pseudo_headers() -> None:
    check_trailers([(b"x-note", b"1")])
    with pytest.raises(Malformed):
        check_trailers([(b":path", b"/")])
