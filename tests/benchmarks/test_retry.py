import pytest

from benchmarks.client import DEADLINE_EXCEEDED, OK, UNAVAILABLE, Reply
from benchmarks.retry import RetryingClient, RetryPolicy

RESOURCE_EXHAUSTED = 8
POLICY = RetryPolicy(max_attempts=3, initial_backoff_s=1.0, max_backoff_s=3.0, backoff_multiplier=2.0)


class World:
    """A clock, and a server that answers each attempt at once with the next status."""

    def __init__(self, *statuses: int) -> None:
        self.now = 0.0
        self.statuses = list(statuses)
        self.sent: list[tuple[float, int, float | None]] = []
        self.replies: list[Reply] = []

    def clock(self) -> float:
        return self.now

    def send(self, payload: bytes, key: int, timeout_s: float | None = None) -> None:
        self.sent.append((self.now, key, timeout_s))
        self.replies.append(Reply(key, self.now, self.statuses.pop(0), payload))

    def wait(self, timeout_s: float) -> list[Reply]:
        replies, self.replies = self.replies, []
        if not replies:
            self.now += timeout_s
        return replies

    def close(self) -> None:
        pass

    def result(self, client: RetryingClient) -> Reply:
        for _ in range(20):
            if replies := client.wait(10.0):
                return replies[0]
        raise AssertionError("no reply")


def client(world: World, policy: RetryPolicy = POLICY, deadline_s: float | None = None) -> RetryingClient:
    return RetryingClient(world, policy, deadline_s=deadline_s, clock=world.clock, chance=lambda: 0.5)


def test_an_attempt_that_finds_nobody_is_made_again_after_a_growing_backoff() -> None:
    world = World(UNAVAILABLE, UNAVAILABLE, OK)
    retrying = client(world)
    retrying.send(b"x", 7)
    reply = world.result(retrying)
    assert (reply.key, reply.status, reply.body) == (7, OK, b"x")
    assert [at for at, _, _ in world.sent] == pytest.approx([0.0, 1.0, 3.0])
    assert reply.sent == pytest.approx(3.0)
    assert retrying.retries == 2


def test_attempts_end_with_the_policy() -> None:
    world = World(*[UNAVAILABLE] * 5)
    retrying = client(world)
    retrying.send(b"x", 1)
    assert world.result(retrying).status == UNAVAILABLE
    assert len(world.sent) == POLICY.max_attempts


@pytest.mark.parametrize("status", [RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, OK])
def test_what_a_server_answered_is_not_asked_again(status: int) -> None:
    world = World(status, OK)
    retrying = client(world)
    retrying.send(b"x", 1)
    assert world.result(retrying).status == status
    assert len(world.sent) == 1


def test_the_deadline_covers_all_attempts_and_ends_the_call_while_it_backs_off() -> None:
    world = World(UNAVAILABLE, UNAVAILABLE)
    retrying = client(world, deadline_s=2.5)
    retrying.send(b"x", 1)
    reply = world.result(retrying)
    assert reply.status == DEADLINE_EXCEEDED
    assert reply.at == pytest.approx(2.5)
    assert [timeout for _, _, timeout in world.sent] == pytest.approx([2.5, 1.5])


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_backoffs_are_spread_so_that_clients_do_not_come_back_together(chance: float, seconds: float) -> None:
    assert POLICY.backoff_s(1, chance) == pytest.approx(seconds)
    assert POLICY.backoff_s(9, chance) == pytest.approx(3 * seconds)
