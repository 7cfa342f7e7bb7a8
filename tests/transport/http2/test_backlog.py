"""More comes at once than can be answered: of a backlog the fresh end is taken, and reading waits for answering."""

from sidecar.transport.http2.budget import BURST
from sidecar.transport.http2.connection import BACKLOG_BYTES, FRESH_BYTES
from sidecar.transport.http2.server import GREEDY_BYTES, READING_S
from tests.transport.http2.memory import UNARY, Line, Memory, closed, wanted
from tests.transport.http2.peers import CALL, call, cancel, head, to
from tests.transport.http2.reading import status

RESOURCE_EXHAUSTED = 8
MESSAGE = wanted(0, bytes(300))
EACH = len(call(3, MESSAGE))
CALLS = 2 * BACKLOG_BYTES // EACH


def opened(memory: Memory) -> Line:
    """A connection whose header block is known already."""
    line = memory.opened()
    assert status(line.send(call(1, wanted(0)))) == 0
    return line


def numbers(first: int, calls: int) -> list[int]:
    return [first + 2 * call for call in range(calls)]


def test_where_calls_wait_the_old_part_of_a_backlog_is_refused_unread() -> None:
    memory = Memory()
    line = opened(memory)
    memory.services.crowded = True
    before = memory.services.offered
    sent = line.send(b"".join(call(number, MESSAGE) for number in numbers(3, CALLS)))
    ends = [status(sent, number) for number in numbers(3, CALLS)]
    refused = ends.count(RESOURCE_EXHAUSTED)
    assert ends == [RESOURCE_EXHAUSTED] * refused + [0] * (CALLS - refused)
    assert memory.services.turned_away == refused
    assert memory.services.offered - before == CALLS - refused
    assert FRESH_BYTES - EACH <= (CALLS - refused) * EACH <= FRESH_BYTES + EACH
    assert status(line.send(call(3 + 2 * CALLS, wanted(0))), 3 + 2 * CALLS) == 0
    closed(memory.server)


def test_where_nothing_waits_all_of_it_is_taken() -> None:
    memory = Memory()
    line = opened(memory)
    sent = line.send(b"".join(call(number, MESSAGE) for number in numbers(3, CALLS)))
    assert {status(sent, number) for number in numbers(3, CALLS)} == {0}
    assert memory.services.turned_away == 0
    closed(memory.server)


def test_what_is_not_a_usual_call_ends_the_part_that_is_refused() -> None:
    memory = Memory()
    line = opened(memory)
    memory.services.crowded = True
    odd = head(3 + 2 * 5, CALL) + head(3 + 2 * 6, CALL)  # two calls whose messages come later
    calls = [call(number, MESSAGE) for number in numbers(3, 5)] + [odd]
    calls += [call(number, MESSAGE) for number in numbers(3 + 2 * 7, CALLS)]
    sent = line.send(b"".join(calls))
    assert [status(sent, number) for number in numbers(3, 5)] == [RESOURCE_EXHAUSTED] * 5
    assert memory.services.turned_away == 5
    assert {status(sent, number) for number in numbers(3 + 2 * 7, CALLS)} == {0}
    assert set(line.connection.streams) == {3 + 2 * 5, 3 + 2 * 6}
    closed(memory.server)


def test_a_connection_that_brings_much_is_not_read_again_before_a_batch_was_answered() -> None:
    memory = Memory()
    greedy, modest = opened(memory), opened(memory)
    large = b"".join(call(number, MESSAGE) for number in numbers(3, 1 + GREEDY_BYTES // EACH))
    memory.server._reading_s = READING_S  # other connections were read before it in this turn
    memory.clock.now += 0.001
    greedy.connection.now = memory.clock.now - 0.001
    memory.server.took_in(greedy.connection, len(large))
    assert (greedy.wire.reads, modest.wire.reads) == (False, True)
    memory.loop.run()
    assert greedy.wire.reads
    greedy.send(call(3, wanted(0)))
    assert not memory.server._greedy
    closed(memory.server)


def test_a_held_connection_stays_paused_for_its_other_reasons() -> None:
    memory = Memory()
    line = opened(memory)
    memory.server._reading_s = 2 * READING_S
    memory.server.took_in(line.connection, GREEDY_BYTES)
    line.connection.pause()
    memory.loop.run()
    assert not line.wire.reads
    line.connection.resume()
    assert line.wire.reads
    closed(memory.server)


def test_calls_with_a_deadline_that_are_given_up_while_others_wait_are_no_flood() -> None:
    memory = Memory()
    memory.services.crowded = memory.services.busy = True
    timed = to(UNARY, ("grpc-timeout", "50m"))
    line = memory.opened()
    for number in numbers(1, int(BURST) + 10):
        line.send(call(number, wanted(0), timed) + cancel(number))
    assert not line.wire.closed
    memory.services.busy = False
    closed(memory.server)
