"""What the configuration says about the ledger."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec

from sidecar.errors import ConfigError

STORE_FILE = "ledger.sqlite"
SQLITE, POSTGRESQL = "sqlite", "postgresql"
_HOOK = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
# The password of a URL, and that of a connection string's query.
_PASSWORD = re.compile(r"(//[^/:@?]*:).*(@)|(password=)[^&]*")

Bytes = Annotated[int, msgspec.Meta(ge=1 << 20, le=1 << 50)]


class LedgerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where decisions and outcomes are kept, and for how long.

    There is no ledger until a directory is named: a sidecar that nobody told where to write should not fill a disk, and
    no directory is right for a container, a package and a developer alike.

    Attributes:
        directory: of the journals, and of the SQLite store; each sidecar needs one of its own, on a local disk that
            outlives it. Empty: no ledger.
        url: of the store: `sqlite:///PATH`, or `postgresql://...` for several sidecars; empty is `ledger.sqlite` in the
            directory. Leave the password of PostgreSQL to PGPASSFILE or the service file.
        keep_days: older decisions and outcomes are deleted; 0 keeps them.
        keep_bytes: the oldest are deleted while the store holds more; 0 is no limit.
        store_prompts: whether the text that was scored is kept too, after `redact`.
        redact: `MODULE:FUNCTION` that takes a prompt and gives what may be kept of it, or None for nothing; empty keeps
            prompts as they are. Called in the journal's thread, on which acknowledgements of outcomes wait: keep it fast.
        journal_bytes: most that all journals of the directory may take while the store is away. Decisions stop, and
            are counted as dropped, at three quarters of it; outcomes are refused at all of it.
        free_bytes: outcomes are refused when the disk has less left than this; decisions stop at twice that.
        segment_bytes: a journal begins a new file after so many.
        flush_ms: decisions reach the journal within about this time; what a killed worker loses.
        max_decisions_waiting: most decisions that wait for the journal, at about 2 KB each; further ones are dropped and
            counted.
        max_outcomes_waiting: most outcomes that wait to be acknowledged; further ones are refused.
    """

    directory: str = ""
    url: str = ""
    keep_days: Annotated[float, msgspec.Meta(ge=0.0, le=36500.0)] = 30.0
    keep_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 50)] = 10 << 30
    store_prompts: bool = False
    redact: str = ""
    journal_bytes: Bytes = 1 << 30
    free_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 50)] = 256 << 20
    segment_bytes: Annotated[int, msgspec.Meta(ge=1 << 16, le=1 << 30)] = 8 << 20
    flush_ms: Annotated[float, msgspec.Meta(ge=1.0, le=60_000.0)] = 100.0
    max_decisions_waiting: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 16384
    max_outcomes_waiting: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 16384

    def checked(self) -> "LedgerConfig":
        """This configuration, if its parts fit together.

        Raises:
            ConfigError: the message names the key and the remedy.
        """
        if self.url and not self.directory:
            raise ConfigError("ledger.directory: is missing; the journals need one, also where the store is elsewhere.")
        if self.directory:
            location(self)
        if self.redact and not _HOOK.fullmatch(self.redact):
            raise ConfigError(f"ledger.redact: {self.redact!r} is no hook; give MODULE:FUNCTION.")
        if self.redact and not self.store_prompts:
            raise ConfigError(
                "ledger.redact: no prompt is stored, so none is redacted; set ledger.store_prompts, or drop it."
            )
        if self.segment_bytes * 8 > self.journal_bytes:
            raise ConfigError("ledger.segment_bytes: must be an eighth of ledger.journal_bytes at most; lower it.")
        return self


def location(config: LedgerConfig) -> tuple[str, str]:
    """Kind of the store, and where it is: a path, or PostgreSQL's URL.

    Raises:
        ConfigError: the URL is none of ours.
    """
    if not config.url:
        return SQLITE, str(Path(config.directory) / STORE_FILE)
    try:
        parts = urlsplit(config.url)
    except ValueError:
        raise ConfigError("ledger.url: is no URL; give sqlite:///PATH or postgresql://HOST/DATABASE.") from None
    if parts.scheme in (POSTGRESQL, "postgres"):
        return POSTGRESQL, config.url
    if parts.scheme == SQLITE and not parts.netloc and len(parts.path) > 1 and not parts.query:
        return SQLITE, unquote(parts.path)
    raise ConfigError(
        f"ledger.url: {shown(config.url)!r} is none of ours; give sqlite:///PATH (an absolute path: three slashes) or "
        "postgresql://HOST/DATABASE."
    )


def shown(url: str) -> str:
    """The URL without its password, fit to be printed."""
    return _PASSWORD.sub(lambda match: f"{match[1] or match[3]}***{match[2] or ''}", url)
