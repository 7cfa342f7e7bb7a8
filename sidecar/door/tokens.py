"""Bearer tokens: the file that lists them by digest, and the making of new ones."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec

from sidecar.errors import ConfigError

PREFIX = "rs_"  # lets scanners for leaked secrets recognise one
RANDOM_BYTES = 32
NAME = r"^[A-Za-z0-9._-]{1,64}$"


class Role(StrEnum):
    """What a token is good for."""

    ROUTE = "route"
    REPORT = "report"
    OPERATE = "operate"


class TokenEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One caller's token, as the file lists it.

    Attributes:
        name: whose it is.
        sha256: hexadecimal digest of the token; the token itself stands nowhere.
        roles: what it is good for.
    """

    name: Annotated[str, msgspec.Meta(pattern=NAME)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    roles: Annotated[tuple[Role, ...], msgspec.Meta(min_length=1)]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    tokens: Annotated[tuple[TokenEntry, ...], msgspec.Meta(min_length=1)]


class Minted(NamedTuple):
    """A new token, and the lines that let it in."""

    token: str
    lines: str


def mint(name: str, roles: Sequence[Role]) -> Minted:
    """A new random token.

    Raises:
        ConfigError: the name is none.
    """
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"name: {name!r} is none: give 1 to 64 letters, digits, dots, dashes or underscores.")
    token = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    listed = ", ".join(f'"{role}"' for role in dict.fromkeys(roles))
    lines = f'[[tokens]]\nname = "{name}"\nsha256 = "{digest(token).hex()}"\nroles = [{listed}]\n'
    return Minted(token, lines)


def digest(token: str) -> bytes:
    """What the file holds of a token. A token is random enough to need no salt."""
    return hashlib.sha256(token.encode()).digest()


def parse_tokens(path: str, content: bytes) -> tuple[TokenEntry, ...]:
    """The entries of a tokens file.

    Args:
        path: for messages.
        content: of the file.

    Raises:
        ConfigError: it is not a tokens file; the message names the place and quotes nothing of it.
    """
    import tomllib  # noqa: PLC0415 - not without a tokens file

    try:
        entries = msgspec.convert(tomllib.loads(content.decode()), _File).tokens
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigError(f"tokens: {path} is not TOML: append what `router-sidecar token new` prints.") from None
    except msgspec.ValidationError as error:
        place = str(error).rpartition(" - at ")[2]
        raise ConfigError(
            f"tokens: {path}: {place} is missing or wrong; each [[tokens]] has name, sha256 (64 hexadecimal digits) and "
            f"roles (of {', '.join(Role)}): append what `router-sidecar token new` prints."
        ) from None
    for key in ("name", "sha256"):
        values = [getattr(entry, key) for entry in entries]
        if len(set(values)) != len(values):
            raise ConfigError(f"tokens: {path}: two entries have the same {key}; give every caller one of its own.")
    return entries
