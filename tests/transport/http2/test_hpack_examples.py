"""The examples of RFC 7541, appendix C, and what gRPC's clients send."""

import pytest

from sidecar.transport.http2.hpack import CompressionError, Decoder, Field
from tests.transport.http2.pair import table


def fields(text: str) -> list[Field]:
    """Written as in the RFC: one `name: value` a line."""
    pairs = [line.strip().split(": ", 1) for line in text.strip().splitlines()]
    return [(name.encode(), value.encode()) for name, value in pairs]


# --- Appendix C ------------------------------------------------------------------------------------------------------

ALONE = {
    "C.2.1 literal with indexing": (
        "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
        "custom-key: custom-header",
        True,
    ),
    "C.2.2 literal without indexing": ("040c2f73616d706c652f70617468", ":path: /sample/path", False),
    "C.2.3 literal never indexed": ("100870617373776f726406736563726574", "password: secret", False),
    "C.2.4 indexed": ("82", ":method: GET", False),
}


@pytest.mark.parametrize("name", ALONE)
def test_the_rfcs_single_fields_are_read(name: str) -> None:
    block, expected, enters = ALONE[name]
    decoder = Decoder()
    assert decoder.decode(bytes.fromhex(block)) == fields(expected)
    assert table(decoder) == (fields(expected) if enters else [])
    assert bool(decoder.changes) == enters


REQUESTS = (
    """:method: GET
    :scheme: http
    :path: /
    :authority: www.example.com""",
    """:method: GET
    :scheme: http
    :path: /
    :authority: www.example.com
    cache-control: no-cache""",
    """:method: GET
    :scheme: https
    :path: /index.html
    :authority: www.example.com
    custom-key: custom-value""",
)
TABLE_AFTER_REQUESTS = """custom-key: custom-value
cache-control: no-cache
:authority: www.example.com"""
RESPONSES = (
    """:status: 302
    cache-control: private
    date: Mon, 21 Oct 2013 20:13:21 GMT
    location: https://www.example.com""",
    """:status: 307
    cache-control: private
    date: Mon, 21 Oct 2013 20:13:21 GMT
    location: https://www.example.com""",
    """:status: 200
    cache-control: private
    date: Mon, 21 Oct 2013 20:13:22 GMT
    location: https://www.example.com
    content-encoding: gzip
    set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1""",
)
TABLE_AFTER_RESPONSES = """set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1
content-encoding: gzip
date: Mon, 21 Oct 2013 20:13:22 GMT"""
# Blocks, lists, the table's limit, its fields at the end and their bytes.
SEQUENCES = {
    "C.3 requests": (
        (
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ),
        REQUESTS,
        4096,
        TABLE_AFTER_REQUESTS,
        164,
    ),
    "C.4 requests, Huffman": (
        (
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ),
        REQUESTS,
        4096,
        TABLE_AFTER_REQUESTS,
        164,
    ),
    "C.5 responses that evict": (
        (
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
            "4803333037c1c0bf",
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
        ),
        RESPONSES,
        256,
        TABLE_AFTER_RESPONSES,
        215,
    ),
    "C.6 responses that evict, Huffman": (
        (
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
            "4883640effc1c0bf",
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ),
        RESPONSES,
        256,
        TABLE_AFTER_RESPONSES,
        215,
    ),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_rfcs_sequences_are_read_and_leave_its_tables(name: str) -> None:
    blocks, lists, limit, left, used = SEQUENCES[name]
    decoder = Decoder(limit)
    for block, expected in zip(blocks, lists, strict=True):
        assert decoder.decode(bytes.fromhex(block)) == fields(expected)
    assert table(decoder) == fields(left)
    assert decoder._used_bytes == used


def test_the_rfcs_long_number_is_read() -> None:
    # C.1.2: 1337 in a prefix of five bits.
    block = bytes.fromhex("3f9a0a")
    Decoder(1337).decode(block)
    with pytest.raises(CompressionError, match="1337 bytes, where 1336"):
        Decoder(1336).decode(block)


# --- gRPC's clients --------------------------------------------------------------------------------------------------

# The first blocks of a connection of grpcio 1.75, with another timeout each, and of grpcurl, as they came.
C_CORE = (
    "40053a70617468172f726f757465722e76312e526f757465722f526f757465400a3a617574686f726974790f3132372e302e302e313a3431363735"
    "8386400c636f6e74656e742d74797065106170706c69636174696f6e2f677270634002746508747261696c6572734014677270632d616363657074"
    "2d656e636f64696e67176964656e746974792c206465666c6174652c20677a6970400c677270632d74696d656f75740334356d400a757365722d61"
    "67656e7430677270632d707974686f6e2f312e37352e3020677270632d632f35302e302e3020286c696e75783b2063687474703229",
    "c4c38386c2c1c0400c677270632d74696d656f75740336346dbf0008782d74656e616e740461636d65",
    "c5c48386c3c2c1400c677270632d74696d656f75740337386dc0",
)
C_CORE_FIELDS = """:path: /router.v1.Router/Route
    :authority: 127.0.0.1:41675
    :method: POST
    :scheme: http
    content-type: application/grpc
    te: trailers
    grpc-accept-encoding: identity, deflate, gzip
    grpc-timeout: %s
    user-agent: grpc-python/1.75.0 grpc-c/50.0.0 (linux; chttp2)"""
GO = (
    "8386459662c3da92d8bf70afb4f6a4b66e2d9dcc42b1b4f6a4bf418b089d5c0b8170dc6821643f5f8b1d75d0620d263d4c4d65647a999acac96d94"
    "31dc2bbcbb8a4d65645a63b015da6970ad217bff40027465864d833505b11f40899acac8b24d494f6a7f860bef3c27436f5787ba51d85b141c64"
)
GO_FIELDS = """:method: POST
    :scheme: http
    :path: /router.v1.RouterService/Route
    :authority: 127.0.0.1:41131
    content-type: application/grpc
    user-agent: grpcurl/v1.8.6 grpc-go/1.44.1-dev
    te: trailers
    grpc-timeout: 1988271u
    authorization: Bearer abc"""


def test_what_c_core_sends_is_read() -> None:
    decoder = Decoder()
    first, second, third = map(bytes.fromhex, C_CORE)
    assert decoder.decode(first) == fields(C_CORE_FIELDS % "45m")
    assert decoder.decode(second) == [*fields(C_CORE_FIELDS % "64m"), (b"x-tenant", b"acme")]
    assert decoder.decode(third) == fields(C_CORE_FIELDS % "78m")


def test_what_go_sends_is_read() -> None:
    decoder = Decoder()
    assert decoder.decode(bytes.fromhex(GO)) == fields(GO_FIELDS)
    assert decoder.decode(b"\x83\x86\xc4\xc3\xc2\xc1\xc0\xbf\xbe") == fields(GO_FIELDS)
