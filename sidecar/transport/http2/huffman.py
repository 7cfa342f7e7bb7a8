"""Huffman decoding of HPACK's strings (RFC 7541, section 5.2 and appendix B), a byte at a time."""

# The code is canonical: among codes of one length a larger symbol has a larger code, and a longer code comes after all
# shorter ones. So the lengths in bits define it. What is not listed here has 28 bits.
_SYMBOLS: dict[int, bytes] = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: bytes((92, 195, 208)),
    20: bytes((128, 130, 131, 162, 184, 194, 224, 226)),
    21: bytes((153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230)),
    22: bytes((129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187))
    + bytes((189, 190, 196, 198, 228, 232, 233)),
    23: bytes((1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174))
    + bytes((175, 180, 182, 183, 188, 191, 197, 231, 239)),
    24: bytes((9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237)),
    25: bytes((199, 207, 234, 235)),
    26: bytes((192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255)),
    27: bytes((203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254)),
    30: b"\n\r\x16",
}
_OTHER_BITS = 28
END_OF_STRING = 256
_END_BITS = 30
# The decoder's state is an inner node of the code's tree, or this one, which nothing leaves: END_OF_STRING was met.
_FAILED = 256
# A string ends on a byte, filled up with the first bits of END_OF_STRING, which are ones; eight or more are an error.
_MOST_PADDING_BITS = 7

# The state after some bits, and the symbols that they completed, as the characters of these numbers: CPython appends to a
# `str` in place, and for the few symbols of a field that takes half the time of joining `bytes`.
_Step = tuple[int, str]


class BadHuffman(ValueError):
    """A string is not Huffman coded: it holds END_OF_STRING, or its padding is too long or not of ones."""


def codes() -> list[tuple[int, int]]:
    """Code and its length in bits for each of the 257 symbols, of which the last is END_OF_STRING."""
    lengths = [_OTHER_BITS] * END_OF_STRING + [_END_BITS]
    for bits, symbols in _SYMBOLS.items():
        for symbol in symbols:
            lengths[symbol] = bits
    table = [(0, 0)] * len(lengths)
    code = before = 0
    for symbol in sorted(range(len(lengths)), key=lengths.__getitem__):
        code <<= lengths[symbol] - before
        before = lengths[symbol]
        table[symbol] = (code, before)
        code += 1
    return table


def _bit_steps() -> list[list[_Step]]:
    """What one bit does in each state; state 0 is the tree's root."""
    none = (-1, "")
    steps = [[none, none]]
    for symbol, (code, bits) in enumerate(codes()):
        state = 0
        for place in range(bits - 1, 0, -1):
            bit = code >> place & 1
            if steps[state][bit] is none:
                steps[state][bit] = (len(steps), "")
                steps.append([none, none])
            state = steps[state][bit][0]
        steps[state][code & 1] = (_FAILED, "") if symbol == END_OF_STRING else (0, chr(symbol))
    return [*steps, [(_FAILED, "")] * 2]


def _twice(row: list[_Step], steps: list[list[_Step]]) -> list[_Step]:
    """The row of a state for a step, and for one of `steps` after it."""
    return [(last, done + more) for state, done in row for last, more in steps[state]]


def _padded(bit_steps: list[list[_Step]]) -> frozenset[int]:
    """The states in which a string may end."""
    states = [0]
    for _ in range(_MOST_PADDING_BITS):
        states.append(bit_steps[states[-1]][1][0])
    return frozenset(states)


_BIT_STEPS = _bit_steps()
_PADDED = _padded(_BIT_STEPS)
_PAIR_STEPS = [_twice(row, _BIT_STEPS) for row in _BIT_STEPS]
_HALF_STEPS = [_twice(row, _PAIR_STEPS) for row in _PAIR_STEPS]
# [state][byte]. Made when first needed: all of them take 40 ms and 6 MB, and what is sent in fact needs a tenth.
_STEPS: list[list[_Step]] = [[] for _ in _BIT_STEPS]


def decode(coded: bytes) -> bytes:
    """The string that was coded.

    Raises:
        BadHuffman: It holds END_OF_STRING, or does not end in at most seven ones after a whole code.
    """
    rows = _STEPS
    state = byte = 0
    symbols = ""
    rest = iter(coded)
    while True:
        try:
            for byte in rest:
                state, completed = rows[state][byte]
                symbols += completed
            break
        except IndexError:
            rows[state] = _twice(_HALF_STEPS[state], _HALF_STEPS)
            state, completed = rows[state][byte]
            symbols += completed
    if state not in _PADDED:
        raise BadHuffman("a Huffman coded string does not end in at most seven ones after whole codes")
    return symbols.encode("latin-1")
