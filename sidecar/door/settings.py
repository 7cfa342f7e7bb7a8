"""What the configuration says about the door."""

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0.0, le=86400.0)]
SecondsOrOff = Annotated[float, msgspec.Meta(ge=0.0, le=30 * 86400.0)]


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Paths of PEM files; they are read again when they change.

    Attributes:
        certificate: the server's certificate, with its chain.
        key: its private key, without a passphrase.
        client_ca: certificates of the authorities that clients must show a certificate of; empty asks for none.
    """

    certificate: str
    key: str
    client_ca: str = ""


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one caller may take; every worker counts for itself.

    Attributes:
        max_metadata_bytes: headers of one call, counted as HTTP/2 does (names, values, 32 for each pair).
        max_concurrent_streams: calls in flight on one connection; clients hold back what is above.
        max_connections: open connections; further ones are closed at once. 0 is no limit.
        handshake_timeout_seconds: time for TLS and the first HTTP/2 settings, after which a connection is closed.
        keepalive_seconds: a connection that was silent for so long is pinged, to find peers that are gone; 0 never.
        keepalive_timeout_seconds: how long such a ping may go unanswered.
        min_ping_seconds: a client that pings more often than this without sending anything is told to go away, after
            two warnings.
        max_connection_age_seconds: connections are ended in good order after about this time; 0 never. Off, since a
            sidecar's one gateway would pay a handshake for nothing. Set it where several workers share a port, to
            spread connections anew, or where revoked tokens and certificates must lose their open streams.
        max_connection_age_grace_seconds: how long calls may go on after that.
    """

    max_metadata_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1 << 20)] = 16 << 10
    max_concurrent_streams: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 1024
    max_connections: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 512
    handshake_timeout_seconds: Seconds = 10.0
    keepalive_seconds: SecondsOrOff = 60.0
    keepalive_timeout_seconds: Seconds = 20.0
    min_ping_seconds: SecondsOrOff = 10.0
    max_connection_age_seconds: SecondsOrOff = 0.0
    max_connection_age_grace_seconds: SecondsOrOff = 10.0
