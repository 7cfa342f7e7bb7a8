"""The Valkey or Redis server in the middle. Needs the extra `peers`.

Keys, all with the group in braces, so that they share a slot of a cluster: a set of the members' ids; each member's latest
message, which expires by itself; and for each day a hash of what each member spent, which outlives the members. An exchange
takes two round trips.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from sidecar.errors import ConfigError
from sidecar.fleet.peers.message import MOST_BYTES
from sidecar.fleet.peers.settings import PeersConfig, shown, split_url

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
    from redis.exceptions import TimeoutError as TooSlow
    from redis.retry import Retry
except ImportError:
    raise ConfigError("fleet.peers.url: needs the library redis; install 'router-sidecar[peers]'.") from None

PREFIX = "router-sidecar"
ID = re.compile(rb"[0-9a-f]{16}")
# Beyond so many sidecars something else writes into our set.
MOST_MEMBERS = 256
# A day's sums are of use on that day, wherever a clock stands.
KEEP_MONEY_S = 2 * 86400
_WORD = re.compile(r"(?:^|error: )([A-Z]{2,20}) ")


class Away(Exception):
    """There was no exchange; the text says why, and holds no secret."""


class Reply(NamedTuple):
    """What the others left.

    Attributes:
        messages: by id.
        spent: by id, on the day that was asked for.
        faults: keys that are not what they should be.
        server: the server's clock, seconds.
        asked: when it was asked for that, monotonic seconds.
        answered: when it had answered.
    """

    messages: Mapping[str, bytes]
    spent: Mapping[str, bytes]
    faults: int
    server: float
    asked: float
    answered: float


class Server:
    """A connection that is made when it is needed, and made anew when it broke. In one thread at a time.

    Args:
        config: checked.
        timeout_s: that each step may take.
        clock: monotonic seconds.

    Raises:
        ConfigError: a file that the configuration names cannot be used.
    """

    def __init__(self, config: PeersConfig, timeout_s: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._config = config
        self._name = shown(config.url)
        self._timeout_s = timeout_s
        self._keep_ms = round(config.forget_seconds * 1000.0)
        self._key = f"{PREFIX}:{{{config.group}}}"
        self._connection: redis.Redis | None = None
        if config.ca_file and not Path(config.ca_file).is_file():
            raise ConfigError(f"fleet.peers.ca_file: {config.ca_file} is no file; give the PEM file of the authority.")
        try:
            self._password()
        except Away as away:
            raise ConfigError(f"fleet.peers.{away}.") from None

    def exchange(self, member: str, message: bytes, day: int, spent: bytes) -> Reply:
        """Leaves a message, and takes those of the others.

        Args:
            member: this sidecar's id.
            message: its own.
            day: days since 1970; below 0: money is of no interest.
            spent: what it spent on that day; empty: nothing.

        Raises:
            Away: the server cannot be reached, does not answer in time, or refuses.
        """
        try:
            return self._exchange(self._connect(), member.encode(), message, day, spent)
        except (AuthenticationError, NoPermissionError):
            why = "the user or the password is refused, or may not do this; see fleet.peers.password_file"
        except TooSlow:
            why = f"no answer within {self._timeout_s:g} s"
        except ResponseError as error:
            # Only the kind of error: the rest may repeat what was sent.
            kind = _WORD.search(str(error))
            why = f"refused ({kind[1] if kind else type(error).__name__})"
        except (RedisError, OSError) as error:
            why = f"cannot be reached ({type(error).__name__})"
        except (ValueError, TypeError, AttributeError, IndexError) as error:  # it does not speak the protocol
            why = f"is no Valkey or Redis ({type(error).__name__})"
        self.close()
        raise Away(f"{self._name}: {why}")

    def leave(self, member: str) -> None:
        """Takes this sidecar's message away, so that the others need not wait until it expires."""
        if self._connection is not None:
            with suppress(RedisError, OSError):  # else it expires
                self._connection.delete(self._of(member.encode()))
                self._connection.srem(f"{self._key}:members", member)
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _tell(
        self, connection: "redis.Redis", own: bytes, message: bytes, money: str, spent: bytes
    ) -> tuple[list[bytes], float]:
        """Leaves what this sidecar has to say; gives all members' ids, and the time."""
        members = f"{self._key}:members"
        pipeline = connection.pipeline(transaction=False)
        pipeline.set(self._of(own), message, px=self._keep_ms)
        pipeline.sadd(members, own)
        pipeline.srandmember(members, MOST_MEMBERS)
        if spent:
            pipeline.hset(money, own, spent)
            pipeline.expire(money, KEEP_MONEY_S)
        pipeline.time()
        answers: list[Any] = pipeline.execute()
        seconds, micros = answers[-1]
        return answers[2], seconds + micros / 1e6

    def _exchange(self, connection: "redis.Redis", own: bytes, message: bytes, day: int, spent: bytes) -> Reply:
        money = f"{self._key}:usd:{day}"
        asked = self._clock()
        known, server = self._tell(connection, own, message, money, spent)
        answered = self._clock()
        others = sorted(member for member in known if ID.fullmatch(member) and member != own)
        gone = [member for member in known if not ID.fullmatch(member)]
        faults = len(gone)
        pipeline = connection.pipeline(transaction=False)
        for member in others:
            pipeline.getrange(self._of(member), 0, MOST_BYTES)
        if day >= 0:
            pipeline.hgetall(money)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        messages: dict[str, bytes] = {}
        for member, answer in zip(others, answers, strict=False):
            if not isinstance(answer, bytes):
                faults += 1
            elif answer:
                messages[member.decode()] = answer
            else:
                gone.append(member)
        left: Any = answers[-1] if day >= 0 else {}
        if not isinstance(left, dict):
            faults, left = faults + 1, {}
        if gone:  # who lives adds itself again with each message
            connection.srem(f"{self._key}:members", *gone)
        others_spent = {who.decode("ascii", "replace"): what for who, what in left.items() if who != own}
        return Reply(messages, others_spent, faults, server, asked, answered)

    def _of(self, member: bytes) -> str:
        return f"{self._key}:of:{member.decode()}"

    def _connect(self) -> "redis.Redis":
        if self._connection is None:
            parts, config = split_url(self._config.url), self._config
            options: dict[str, Any] = {
                "username": unquote(parts.username) if parts.username else None,
                "password": self._password(),
                "socket_timeout": self._timeout_s,
                "retry": Retry(NoBackoff(), 0),  # what comes too late is out of date; the next message is the retry
                "single_connection_client": True,
            }
            if parts.scheme == "unix":
                options["unix_socket_path"] = unquote(parts.path)
            else:
                options |= {
                    "host": parts.hostname,
                    "port": parts.port or 6379,
                    "db": int(parts.path[1:] or 0),
                    "socket_connect_timeout": self._timeout_s,
                }
            if parts.scheme == "rediss":
                options |= {"ssl": True, "ssl_ca_certs": config.ca_file or None}
            self._connection = redis.Redis(**options)
        return self._connection

    def _password(self) -> str | None:
        if self._config.password_file:
            try:
                return Path(self._config.password_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is no text"
                raise Away(f"password_file: {self._config.password_file} cannot be read: {why}") from None
        password = split_url(self._config.url).password
        return unquote(password) if password else None
