"""How the command line reaches a sidecar behind a door: certificates and a token, never on the command line itself."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from sidecar.door.exposure import is_loopback
from sidecar.door.tokens import PREFIX
from sidecar.errors import ConfigError
from sidecar.service_config import CHANNEL_OPTIONS

FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True)
class Access:
    """What a caller needs beside the address.

    Attributes:
        tls_ca: PEM file of the authorities that may have signed the sidecar's certificate; None is no TLS.
        tls_cert: PEM file of the caller's own certificate.
        tls_key: PEM file of its private key.
        tls_name: the name that the sidecar's certificate is made out to, where it is not the target's host.
        token_file: file that holds a token and nothing else.
    """

    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_name: str = ""
    token_file: Path | None = None

    def channel(self, target: str) -> Any:
        """A grpc.Channel to HOST:PORT.

        Raises:
            ConfigError: a file cannot be read, or the options do not go together.
        """
        import grpc  # noqa: PLC0415 - `--help` stays instant

        if self.tls_ca is None:
            if self.tls_cert or self.tls_key or self.tls_name:
                raise ConfigError(
                    "--tls-ca is missing: give the PEM file of the authority of the sidecar's certificate."
                )
            return grpc.insecure_channel(target, CHANNEL_OPTIONS)
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ConfigError("--tls-cert and --tls-key go together: give both, or neither.")
        credentials = grpc.ssl_channel_credentials(
            _read("--tls-ca", self.tls_ca),
            _read("--tls-key", self.tls_key) if self.tls_key else None,
            _read("--tls-cert", self.tls_cert) if self.tls_cert else None,
        )
        options = [("grpc.ssl_target_name_override", self.tls_name)] if self.tls_name else []
        return grpc.secure_channel(target, credentials, [*CHANNEL_OPTIONS, *options])

    def metadata(self, target: str) -> tuple[tuple[str, str], ...]:
        """What a call to HOST:PORT carries to be let in.

        Raises:
            ConfigError: the token file holds no token, or the token would cross the network in clear.
        """
        if self.token_file is None:
            return ()
        if self.tls_ca is None and not is_loopback(target):
            raise ConfigError(f"--token-file: {target} would get the token unencrypted: give --tls-ca too.")
        token = _read("--token-file", self.token_file).decode("ascii", "replace").strip()
        if not token.startswith(PREFIX) or not token.isascii() or len(token.split()) != 1:
            raise ConfigError(
                f"--token-file: {self.token_file} holds no token: put in it what `router-sidecar token new` prints."
            )
        return (("authorization", f"Bearer {token}"),)


PLAIN = Access()


def access_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say how to reach a sidecar, as one argument `access`."""

    @functools.wraps(command)
    def with_access(*args: Any, **given: Any) -> None:
        parts = {name: given.pop(name) for name in Access.__dataclass_fields__}
        command(*args, access=Access(**parts), **given)

    ca, cert, key, name, token = (
        click.option(
            "--tls-ca",
            type=FILE,
            envvar="ROUTER_SIDECAR_TLS_CA",
            show_envvar=True,
            help="PEM file of the authority of the sidecar's certificate; turns TLS on.",
        ),
        click.option("--tls-cert", type=FILE, help="PEM file of a client certificate, where the sidecar asks for one."),
        click.option("--tls-key", type=FILE, help="PEM file of its private key."),
        click.option("--tls-name", default="", help="Name in the sidecar's certificate, if not the target's host."),
        click.option(
            "--token-file",
            type=FILE,
            envvar="ROUTER_SIDECAR_TOKEN_FILE",
            show_envvar=True,
            help="File that holds a token.",
        ),
    )
    return ca(cert(key(name(token(with_access)))))


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{option}: {path} cannot be read: {error.strerror}.") from None
