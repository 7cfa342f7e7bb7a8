"""Header blocks of one connection through our HPACK decoder and PyPI's, which must do the same.

An input is the blocks, each behind a byte with its length; the last one may be shorter than that says.
"""

from collections.abc import Iterable, Iterator

from sidecar.transport.http2.hpack import CompressionError, Decoder, HeadersTooLarge
from tests.fuzz.target import Broken
from tests.transport.http2.pair import Pair, table

MOST_BLOCK_BYTES = 255
MOST_LIST_BYTES = 1024


def framed(blocks: Iterable[bytes]) -> bytes:
    """An input that holds these blocks, of at most MOST_BLOCK_BYTES each."""
    return b"".join(bytes((len(block),)) + block for block in blocks)


def blocks_of(data: bytes) -> Iterator[bytes]:
    """The blocks in an input."""
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        yield data[at + 1 : end]
        at = end


def run(data: bytes) -> None:
    """Sends one input through, and a second time with a bound for the lists.

    Raises:
        Broken: with what did not hold.
    """
    pair, bounded = Pair(), Decoder(max_list_bytes=MOST_LIST_BYTES)
    for block in blocks_of(data):
        try:
            expected = pair.decode(block)
        except AssertionError as error:
            raise Broken(f"{block.hex()} is not read as by the oracle") from error
        try:
            got = bounded.decode(block)
        except CompressionError:
            got = None
        except HeadersTooLarge:
            if table(bounded) != table(pair.ours):
                raise Broken(f"{block.hex()} is too large, and the tables are out of step") from None
            continue
        if got != expected:
            raise Broken(f"{block.hex()} is read in two ways")
        if expected is None:
            return
