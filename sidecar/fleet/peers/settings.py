"""What the configuration says about other sidecars."""

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

import msgspec

from sidecar.errors import ConfigError

SCHEMES = ("redis", "rediss", "unix")
FORM = "give redis://HOST:PORT/DATABASE, rediss:// for TLS, or unix:///PATH"
_GROUP = re.compile(r"[A-Za-z0-9._-]{1,64}")
# A sidecar that was not heard of for so many intervals may be gone; for fewer, it may just have been late.
MIN_INTERVALS = 3.0


class PeersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the sidecars of a group hear of each other. Without `url` each knows of itself only.

    Attributes:
        url: of a Valkey or Redis server: `redis://HOST:PORT/DATABASE`, `rediss://` for TLS, `unix:///PATH`.
        password_file: path of a file that holds the password and nothing else; read anew for every connection.
        ca_file: PEM file of the authorities that may have signed the server's certificate; empty is the system's.
        group: sidecars of one group choose among the same candidates: a model's name means the same servers and account
            to all of them, and a budget's name the same budget.
        name: of this sidecar, for people; empty is the host's name and a few random digits.
        interval_ms: between two exchanges.
        forget_seconds: what a sidecar said counts for so long.
    """

    url: str = ""
    password_file: str = ""
    ca_file: str = ""
    group: str = "default"
    name: str = ""
    interval_ms: Annotated[float, msgspec.Meta(ge=20.0, le=10_000.0)] = 200.0
    forget_seconds: Annotated[float, msgspec.Meta(ge=0.2, le=60.0)] = 2.0

    def checked(self) -> "PeersConfig":
        """These settings, if they fit together. Messages never hold the URL, since it may hold a password.

        Raises:
            ConfigError: the message names the key and the remedy.
        """
        if not self.url:
            return self
        parts = split_url(self.url)
        if parts.password and self.password_file:
            raise ConfigError("fleet.peers: password_file is set, and the URL has a password too; keep one.")
        if self.ca_file and parts.scheme != "rediss":
            raise ConfigError("fleet.peers.ca_file: is of use with TLS only; make the URL rediss://, or drop it.")
        if not _GROUP.fullmatch(self.group):
            raise ConfigError(f"fleet.peers.group: {self.group[:64]!r} is no name; give 1 to 64 of A-Z a-z 0-9 . _ -")
        if len(self.name) > 64 or not self.name.isprintable():  # noqa: PLR2004 - as many as for a group
            raise ConfigError("fleet.peers.name: give at most 64 printable characters.")
        least = MIN_INTERVALS * self.interval_ms / 1000.0
        if self.forget_seconds < least:
            raise ConfigError(
                f"fleet.peers.forget_seconds is {self.forget_seconds:g}: with interval_ms = {self.interval_ms:g} give at "
                f"least {least:g}, so that one late message is no loss."
            )
        return self


def split_url(url: str) -> SplitResult:
    """The parts of a URL.

    Raises:
        ConfigError: it is none of ours. The message does not hold it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"fleet.peers.url: is no URL; {FORM}.") from None
    if parts.scheme not in SCHEMES:
        raise ConfigError(f"fleet.peers.url: {parts.scheme[:16]!r} is none of {', '.join(SCHEMES)}; {FORM}.")
    if parts.query or parts.fragment:
        raise ConfigError(f"fleet.peers.url: has options behind a ? or #, of which none is taken; {FORM}.")
    if parts.scheme == "unix":
        sound = not parts.netloc and len(parts.path) > 1
    else:
        database = parts.path.removeprefix("/")
        sound = bool(parts.hostname) and port != 0 and (not database or (database.isascii() and database.isdigit()))
    if not sound or not url.isprintable() or " " in url:
        raise ConfigError(f"fleet.peers.url: is no address of a server; {FORM}.")
    return parts


def shown(url: str) -> str:
    """Where the server is, without user and password."""
    parts = split_url(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or 6379}{parts.path}"
