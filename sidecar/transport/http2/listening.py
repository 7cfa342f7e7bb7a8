"""The sockets of a port, and the TLS that its connections begin with."""

import socket
import ssl

from sidecar.door.certificates import Certificates, Pair, as_file
from sidecar.errors import ConfigError

BACKLOG = 1024


def listen_on(listen: str, *, shared: bool) -> socket.socket:
    """A socket that listens on HOST:PORT.

    Args:
        listen: HOST:PORT; port 0 lets the system choose.
        shared: True if other processes may listen on the same port.

    Raises:
        ConfigError: the address cannot be had.
    """
    host, _, port = listen.rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError:
        raise ConfigError(
            f"listen: cannot bind {listen!r}: give HOST:PORT with a free port and an address of this machine (port 0 lets "
            "the system choose)."
        ) from None
    return listener


class Handshakes:
    """Gives each handshake the certificate of the moment.

    Args:
        certificates: looked at for each handshake.
    """

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._context = _context(certificates.pair)

    def context(self) -> ssl.SSLContext:
        """The context for a handshake that begins now."""
        pair = self._certificates.news()
        if pair is not None:
            self._context = _context(pair)
        return self._context


def _context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    with as_file(pair.certificate) as certificate, as_file(pair.key) as key:
        context.load_cert_chain(certificate, key)
    if pair.client_ca is not None:
        context.load_verify_locations(cadata=pair.client_ca.decode("ascii"))
        context.verify_mode = ssl.CERT_REQUIRED
    return context
