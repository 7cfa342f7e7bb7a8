"""Makes load: as many calls as are kept in flight, or calls at times that were fixed beforehand."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from benchmarks.client import UNANSWERED, Client
from benchmarks.samples import Samples
from benchmarks.schedule import Seconds

Clock = Callable[[], float]
# A sleeping process wakes up to 0.1 ms late, so the last stretch before a call is due is not slept.
SPIN_S = 0.0002
GIVE_UP_S = 10.0


def open_loop(
    client: Client,
    schedule: Seconds,
    payloads: Sequence[bytes],
    *,
    clock: Clock = time.perf_counter,
    spin_s: float = SPIN_S,
    give_up_s: float = GIVE_UP_S,
) -> Samples:
    """Sends each call when it is due, whether or not earlier ones were answered.

    Args:
        client: makes the calls.
        schedule: [N] seconds from the start, ascending.
        payloads: used in turn.
        clock: the one that replies are stamped with.
        spin_s: how long before a call is due the generator stops sleeping; 0 where it shares its core.
        give_up_s: after the last call, how long replies are waited for.
    """
    due = schedule.tolist()
    sent, done = np.zeros(len(due)), np.full(len(due), np.nan)
    status = np.full(len(due), UNANSWERED)
    bodies = [b""] * len(due)
    waited: dict[int, float] = {}
    begin, missing = 0, len(due)
    count, variety = len(due), len(payloads)
    with steady():
        start = clock()
        end = start + due[-1] + give_up_s
        while missing:
            now = clock()
            while begin < count and start + due[begin] <= now:
                client.send(payloads[begin % variety], begin)
                sent[begin] = now - start
                begin += 1
                now = clock()
            if begin == count and now >= end:
                break
            wake = start + due[begin] - spin_s if begin < count else end
            for reply in client.wait(wake - clock()):
                done[reply.key] = reply.at - start
                status[reply.key] = reply.status
                bodies[reply.key] = reply.body
                if reply.sent:
                    waited[reply.key] = reply.sent - start
                missing -= 1
        elapsed = clock() - start
    done[np.isnan(done)] = elapsed
    written = sent.copy()
    written[list(waited)] = list(waited.values())
    return Samples(schedule, sent, done, status, bodies, elapsed, written)


def closed_loop(
    client: Client,
    payloads: Sequence[bytes],
    in_flight: int,
    seconds: float,
    *,
    warm_up_s: float = 0.5,
    clock: Clock = time.perf_counter,
    give_up_s: float = GIVE_UP_S,
) -> Samples:
    """Keeps `in_flight` calls in flight: each reply begins the next call.

    Only calls that end within `seconds` after the warm-up are counted.
    """
    sent: list[float] = []
    ended: list[tuple[float, float, int, bytes]] = []
    variety = len(payloads)
    with steady():
        start = clock()
        first, last = warm_up_s, warm_up_s + seconds
        pending = set[int]()

        def begin() -> None:
            key = len(sent)
            sent.append(clock() - start)
            pending.add(key)
            client.send(payloads[key % variety], key)

        for _ in range(in_flight):
            begin()
        now = clock() - start
        while pending and now < last + give_up_s:
            for reply in client.wait(last + give_up_s - now if now >= last else last - now):
                pending.discard(reply.key)
                at = reply.at - start
                if first <= at < last:
                    ended.append((sent[reply.key], at, reply.status, reply.body))
                if at < last:
                    begin()
            now = clock() - start
    ended += [(sent[key], now, UNANSWERED, b"") for key in pending]
    times = np.array([entry[:2] for entry in ended], dtype=np.float64).reshape(-1, 2)
    status = np.array([entry[2] for entry in ended], dtype=np.int64)
    return Samples(times[:, 0], times[:, 0], times[:, 1], status, [entry[3] for entry in ended], seconds)


@contextmanager
def steady() -> Iterator[None]:
    """Keeps the garbage collector out of the run."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
