"""The server's certificate and key: only ever a pair that fits together."""

import hashlib
import logging
import os
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from sidecar.door.keys import is_servable
from sidecar.door.settings import TlsConfig
from sidecar.door.watched import Watched
from sidecar.errors import ConfigError

log = logging.getLogger(__name__)

FINGERPRINT_CHARS = 16


class Pair(NamedTuple):
    """PEM bytes that were checked against each other.

    Attributes:
        certificate: with its chain.
        key: its private key.
        client_ca: authorities of clients; None asks for no certificates of clients.
    """

    certificate: bytes
    key: bytes
    client_ca: bytes | None

    @property
    def fingerprint(self) -> str:
        """The beginning of the SHA-256 of the server's own certificate."""
        return hashlib.sha256(_leaf(self.certificate)).hexdigest()[:FINGERPRINT_CHARS]


class Certificates:
    """The last good pair.

    Args:
        config: the paths.

    Raises:
        ConfigError: a file cannot be read, or the files do not fit together; the message names the key and the remedy.
    """

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self._reading = threading.Lock()
        names = (config.certificate, config.key, config.client_ca)
        self._watched = Watched([Path(name) for name in names if name])
        try:
            contents = self._watched.news()
        except OSError as error:
            raise _unreadable(config, error) from None
        assert contents is not None  # noqa: S101 - all is new the first time
        self.pair = _checked(config, contents)

    def news(self) -> Pair | None:
        """The new pair where the files hold one; else None. Never raises; from any thread.

        Files that do not fit together, as when one was replaced and the other not yet, are left alone and logged once.
        """
        if not self._reading.acquire(blocking=False):
            return None  # another handshake looks
        try:
            return self._look()
        except OSError as error:
            log.warning("%s The certificate in use stays.", _unreadable(self._config, error))
        except ConfigError as error:
            log.warning("%s The certificate in use stays.", error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the handshake at hand must go on
            # Not what it says: that may hold a key.
            log.error("tls: looking for new certificates failed: %s. The one in use stays.", type(error).__name__)  # noqa: TRY400
        finally:
            self._reading.release()
        return None

    def _look(self) -> Pair | None:
        contents = self._watched.news()
        if contents is None:
            return None
        pair = _checked(self._config, contents)
        if pair == self.pair:
            return None  # back to what is in use
        self.pair = pair
        log.info("tls: a new certificate is served, SHA-256 %s...", pair.fingerprint)
        return pair


def _checked(config: TlsConfig, contents: list[bytes]) -> Pair:
    certificate, key = contents[:2]
    client_ca = contents[2] if config.client_ca else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The very bytes that will be served: the files may be others by now.
        with ExitStack() as stack:
            certificate_path, key_path = (stack.enter_context(as_file(content)) for content in (certificate, key))
            context.load_cert_chain(certificate_path, key_path, password=lambda: _locked(config))
    except ssl.SSLError as error:
        raise ConfigError(
            f"tls.certificate, tls.key: {config.certificate} and {config.key} do not go together "
            f"({error.reason or 'not PEM'}): give a PEM certificate and the private key that it was made for."
        ) from None
    try:
        servable = is_servable(_leaf(certificate))
    except ValueError:  # OpenSSL also reads a format of its own
        servable = False
    if not servable:
        raise ConfigError(
            f"tls.certificate: {config.certificate} is no PEM certificate for a kind of key that gRPC can serve: give one for an RSA key of "
            "2048 bits or more, or for an EC key on P-256 or P-384."
        )
    if client_ca is not None:
        try:
            context.load_verify_locations(cadata=client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise ConfigError(
                f"tls.client_ca: {config.client_ca} holds no PEM certificate: give those of the authorities that sign "
                "your clients' certificates."
            ) from None
    return Pair(certificate, key, client_ca)


@contextmanager
def as_file(content: bytes) -> Iterator[str]:
    """A path under which OpenSSL finds the bytes: it reads files only."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pem")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
    else:
        with tempfile.NamedTemporaryFile() as file:  # only its owner may read it
            file.write(content)
            file.flush()
            yield file.name


def _locked(config: TlsConfig) -> str:
    # Without this OpenSSL asks for the passphrase on the terminal.
    raise ConfigError(f"tls.key: {config.key} has a passphrase: store it without one, readable by this user only.")


def _unreadable(config: TlsConfig, error: OSError) -> ConfigError:
    keys = {config.certificate: "certificate", config.key: "key", config.client_ca: "client_ca"}
    name = str(error.filename)
    return ConfigError(
        f"tls.{keys.get(name, 'certificate')}: {name} cannot be read: {error.strerror}; give a PEM file."
    )


def _leaf(pem: bytes) -> bytes:
    """The server's own certificate, which is the first, as DER."""
    text = pem.decode("ascii", "replace")
    begin = text.index(ssl.PEM_HEADER)
    return ssl.PEM_cert_to_DER_cert(text[begin : text.index(ssl.PEM_FOOTER, begin) + len(ssl.PEM_FOOTER)])
