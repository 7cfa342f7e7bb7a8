"""Retries as gRPC's standard retry policy has them (gRFC A6), over a client that makes one attempt.

What is retried is UNAVAILABLE and nothing else: the server did not answer. RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED are
answers of an overloaded server, and retrying them would feed the overload. grpc's own clients do the same where their
service config names `retryPolicy`; use those (benchmarks.grpc_client) where the client itself is in question.
"""

import random
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from benchmarks.client import DEADLINE_EXCEEDED, UNAVAILABLE, Reply
from benchmarks.connection import NEVER

JITTER = 0.2  # of the backoff, up or down, as in gRFC A6


class Attempts(Protocol):
    """A client whose calls may have a timeout each."""

    def send(self, payload: bytes, key: int, timeout_s: float | None = None) -> None: ...  # noqa: D102 - see Client
    def wait(self, timeout_s: float) -> list[Reply]: ...  # noqa: D102 - see Client
    def close(self) -> None: ...  # noqa: D102 - see Client


class RetryPolicy(NamedTuple):
    """When a call is tried again.

    Attributes:
        max_attempts: the first one included.
        initial_backoff_s: before the second attempt.
        max_backoff_s: the longest.
        backoff_multiplier: from one backoff to the next.
    """

    max_attempts: int = 3
    initial_backoff_s: float = 0.005
    max_backoff_s: float = 0.1
    backoff_multiplier: float = 2.0

    def backoff_s(self, attempts: int, chance: float) -> float:
        """How long to wait after so many attempts.

        Args:
            attempts: made so far.
            chance: drawn from [0, 1).
        """
        middle = min(self.max_backoff_s, self.initial_backoff_s * self.backoff_multiplier ** (attempts - 1))
        return middle * (1 - JITTER + 2 * JITTER * chance)


class _Call:
    """A call with the attempts that were made."""

    __slots__ = ("again", "attempts", "expires", "payload")

    def __init__(self, payload: bytes, expires: float) -> None:
        self.payload = payload
        self.expires = expires
        self.attempts = 1
        self.again = 0.0  # when the last attempt was made, if it was not the first


class RetryingClient:
    """Makes calls, each with as many attempts as the policy allows; its deadline covers them all.

    Args:
        client: makes the attempts.
        policy: when.
        deadline_s: of every call; none if left out.
        clock: the one that replies are stamped with.
        chance: draws from [0, 1).

    Attributes:
        retries: attempts so far that were not the first of their call.
    """

    def __init__(
        self,
        client: Attempts,
        policy: RetryPolicy,
        *,
        deadline_s: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._policy = policy
        self._deadline_s = deadline_s
        self._clock = clock
        self._chance = chance
        self._calls: dict[int, _Call] = {}
        self._backing_off: list[tuple[float, int]] = []  # heap of (when to go on, key)
        self.retries = 0

    def send(self, payload: bytes, key: int) -> None:
        """Begins a call."""
        self._calls[key] = _Call(payload, NEVER if self._deadline_s is None else self._clock() + self._deadline_s)
        self._client.send(payload, key, self._deadline_s)

    def wait(self, timeout_s: float) -> list[Reply]:
        """Waits at most timeout_s for replies; returns those that have come and are final."""
        final = self._go_on()
        patience = 0.0 if final else timeout_s
        if self._backing_off:
            patience = min(patience, self._backing_off[0][0] - self._clock())
        for reply in self._client.wait(max(0.0, patience)):
            call = self._calls[reply.key]
            if reply.status == UNAVAILABLE and call.attempts < self._policy.max_attempts:
                when = reply.at + self._policy.backoff_s(call.attempts, self._chance())
                heappush(self._backing_off, (min(when, call.expires), reply.key))
            else:
                del self._calls[reply.key]
                final.append(reply._replace(sent=reply.sent or call.again))
        return final

    def close(self) -> None:
        """Ends the client that makes the attempts."""
        self._client.close()

    def _go_on(self) -> list[Reply]:
        """Makes the attempts that are due; gives the calls whose deadline passed before."""
        now = self._clock()
        expired = []
        while self._backing_off and self._backing_off[0][0] <= now:
            _, key = heappop(self._backing_off)
            call = self._calls[key]
            if call.expires <= now:
                del self._calls[key]
                expired.append(Reply(key, now, DEADLINE_EXCEEDED, b"", call.again))
                continue
            call.attempts += 1
            call.again = now
            self.retries += 1
            self._client.send(call.payload, key, None if call.expires == NEVER else call.expires - now)
        return expired
