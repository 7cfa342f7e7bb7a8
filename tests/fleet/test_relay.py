import math

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.fleet.layout import RELAY_ENTRIES
from sidecar.fleet.outcome import Fault, Origin, Outcome, key_of_model, process_of
from sidecar.fleet.relay import Relay
from sidecar.fleet.table import FleetTable
from sidecar.fleet.writer import Writer
from tests.fleet.stage import Clock


def relays_of(table: FleetTable, clock: Clock, amount: int) -> list[tuple[Relay, int]]:
    writers = [Writer(table, number, clock) for number in range(amount)]
    processes = [process_of(writer.number, writer.epoch) for writer in writers]
    return [(Relay(writer, process), process) for writer, process in zip(writers, processes, strict=True)]


def test_an_outcome_arrives_at_whom_it_is_addressed_to_once_and_whole(table: FleetTable, clock: Clock) -> None:
    (sender, _), (receiver, address), (bystander, _) = relays_of(table, clock, 3)
    outcome, begun = (
        Outcome(Fault.RATE_LIMIT, 0.25, 1.5, 120.0, 7.0),
        Outcome(Fault.NONE, 0.25, 0.3, 1.0, 0.0, ended=False),
    )
    model = key_of_model("model")
    sender.send(Origin(address, 2**40 - 1), outcome, model)
    sender.send(Origin(address, 7), begun, 0.0)
    assert list(receiver.receive()) == [(2**40 - 1, outcome, model), (7, begun, 0.0)]
    assert list(receiver.receive()) == []
    assert list(bystander.receive()) == []


def test_what_is_unknown_stays_unknown(table: FleetTable, clock: Clock) -> None:
    (sender, _), (receiver, address) = relays_of(table, clock, 2)
    sender.send(Origin(address, 1), Outcome(), 0.0)
    [(_, outcome, _)] = receiver.receive()
    assert outcome.fault is Fault.NONE
    assert all(math.isnan(value) for value in outcome[1:5])
    assert outcome.ended


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, RELAY_ENTRIES + 10), min_size=1, max_size=4))
def test_in_order_and_complete_unless_more_came_than_the_ring_holds(bursts: list[int]) -> None:
    import tempfile  # noqa: PLC0415 - a table for each example
    from pathlib import Path  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        table = FleetTable.create(Path(directory) / "fleet", 2, 16)
        (sender, _), (receiver, address) = relays_of(table, Clock(), 2)
        sent = lost = 0
        for burst in bursts:
            for _ in range(burst):
                sender.send(Origin(address, sent), Outcome(), 0.0)
                sent += 1
            numbers = [number for number, _, _ in receiver.receive()]
            dropped = max(0, burst - RELAY_ENTRIES + 1)
            assert numbers == list(range(sent - burst + dropped, sent))
            lost += dropped
            assert receiver.lost == lost
        table.close()


def test_who_comes_later_does_not_hear_what_was_said_before(table: FleetTable, clock: Clock) -> None:
    [(sender, _)] = relays_of(table, clock, 1)
    late = Writer(table, 1, clock)
    sender.send(Origin(process_of(late.number, late.epoch), 1), Outcome(), 0.0)
    assert list(Relay(late, process_of(late.number, late.epoch)).receive()) == []
