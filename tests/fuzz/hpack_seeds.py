"""Where the fuzzer of header blocks begins: connections of an encoder, and each representation."""

from hpack import Encoder

from tests.fuzz.hpack_target import framed

CALL = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/router.v1.RouterService/Route"),
    (b":authority", b"127.0.0.1:50051"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
]


def seeds() -> list[bytes]:
    """Inputs of hpack_target."""
    return [
        b"",
        *(_connection(huffman=huffman, table=table) for huffman in (False, True) for table in (4096, 100, 0)),
        framed([b"\x20\x3f\xe1\x1f\x82", b"\x40\x01a\x01b\xbe", b"\x7e\x01c\x00\x01d\x01e\x1f\x2f\x01f"]),
        framed([b"\x40\x81\x1f\x84\x00\x00\x00\x7f", b"\xff\x80\x80\x00"]),
        framed([b"\x40\x01x\x7f\x00" + bytes(127), 200 * b"\xbe", b"\xbe"]),
    ]


def _connection(*, huffman: bool, table: int) -> bytes:
    encoder = Encoder()
    sent = []
    for number in range(4):
        if number == 1 and table != encoder.header_table_size:
            encoder.header_table_size = table
        timeout = (b"grpc-timeout", b"%du" % (1_999_876 - number))
        sent.append(encoder.encode([*CALL, timeout], huffman=huffman))
    return framed(sent)
