"""Decides from a call's metadata whether it may come in."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from hmac import compare_digest
from pathlib import Path

from sidecar.door.tokens import Role, TokenEntry, digest, parse_tokens
from sidecar.door.watched import Watched
from sidecar.errors import ConfigError, NotPermitted, RouterError, Unauthenticated

log = logging.getLogger(__name__)

Metadata = Iterable[tuple[str, str | bytes]]
Admit = Callable[[Metadata], RouterError | None]

HEADER = "authorization"
SCHEME = "bearer "
LOOK_SECONDS = 1.0


class Admission:
    """The tokens that are let in. The file is looked at once a second, when a call comes; nothing here locks.

    Args:
        path: of the tokens file.
        clock: monotonic seconds.

    Raises:
        ConfigError: the file cannot be read or is no tokens file.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._watched = Watched([Path(path)])
        self._looking = threading.Lock()
        self._look_at = clock() + LOOK_SECONDS
        try:
            (content,) = self._watched.news() or (b"",)
        except OSError as error:
            raise _unreadable(path, error) from None
        self._known = _known(parse_tokens(path, content))

    def keeper(self, role: Role | None) -> Admit:
        """What checks the calls of a method that needs the role; None is any of them.

        The check gives None where the call may come in, else what the caller is told.
        """
        needed = frozenset(Role) if role is None else frozenset((role,))
        wanted = f"the role {role}" if role else "a role"
        clock = self._clock

        def admit(metadata: Metadata) -> RouterError | None:
            if clock() >= self._look_at:
                self._look()
            value = next((value for name, value in metadata if name == HEADER), None)
            if value is None:
                return Unauthenticated("no token: send `authorization: Bearer TOKEN` with the call.")
            if not isinstance(value, str) or value[: len(SCHEME)].lower() != SCHEME:
                return Unauthenticated("authorization is not of the form `Bearer TOKEN`.")
            shown = digest(value[len(SCHEME) :])
            roles: frozenset[Role] = frozenset()
            known = False
            for stored, granted in self._known:  # every one of them: the time taken tells nothing
                if compare_digest(stored, shown):
                    roles, known = granted, True
            if not known:
                return Unauthenticated("the token is unknown: ask the operator for one (`router-sidecar token new`).")
            if roles.isdisjoint(needed):
                return NotPermitted(f"the token lacks {wanted}: ask the operator to add it to the token's roles.")
            return None

        return admit

    def _look(self) -> None:
        if not self._looking.acquire(blocking=False):
            return  # another thread is at it
        try:
            self._look_at = self._clock() + LOOK_SECONDS
            news = self._watched.news()
            if news is None:
                return
            self._known = _known(parse_tokens(self._path, news[0]))
            log.info("tokens: %s was read again, %d are let in", self._path, len(self._known))
        except OSError as error:
            log.warning("%s The tokens in use stay.", _unreadable(self._path, error))
        except ConfigError as error:
            log.warning("%s The tokens in use stay.", error)
        finally:
            self._looking.release()


def _known(entries: Iterable[TokenEntry]) -> tuple[tuple[bytes, frozenset[Role]], ...]:
    return tuple((bytes.fromhex(entry.sha256), frozenset(entry.roles)) for entry in entries)


def _unreadable(path: str, error: OSError) -> ConfigError:
    return ConfigError(f"tokens: {path} cannot be read: {error.strerror}; give a file that this user may read.")
