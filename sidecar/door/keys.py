"""Which kind of key a certificate is for, read from its DER bytes.

Python's OpenSSL takes more kinds than gRPC's BoringSSL can shake hands with. Such a certificate would be served, and no
client would get in; so it must be known beforehand.
"""

# The algorithm of the public key as it stands in a certificate (RFC 3279, RFC 5480): RSA, and EC on P-256 and P-384.
RSA = bytes.fromhex("06092a864886f70d010101")
EC = bytes.fromhex("06072a8648ce3d0201")
CURVES = (bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06052b81040022"))

# In front of the public key stand serial number, signature algorithm, issuer, validity and subject.
FIELDS_BEFORE = 5
VERSION_TAG = 0xA0
LONG_FORM = 0x80


def is_servable(certificate: bytes) -> bool:
    """Whether gRPC can serve a certificate with such a key.

    Args:
        certificate: DER bytes that OpenSSL has read.
    """
    algorithm = _algorithm(certificate)
    return algorithm.startswith(RSA) or algorithm in {EC + curve for curve in CURVES}


def _algorithm(certificate: bytes) -> bytes:
    _, body, _ = _element(certificate)
    _, rest, _ = _element(body)
    tag, _, after = _element(rest)
    if tag == VERSION_TAG:
        rest = after
    for _ in range(FIELDS_BEFORE):
        _, _, rest = _element(rest)
    _, public_key, _ = _element(rest)
    _, algorithm, _ = _element(public_key)
    return algorithm


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first element, and what comes after it."""
    tag, size, start = der[0], der[1], 2
    if size & LONG_FORM:
        start += size & ~LONG_FORM
        size = int.from_bytes(der[2:start], "big")
    return tag, der[start : start + size], der[start + size :]
