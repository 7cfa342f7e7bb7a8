import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ledger.frames import Kind, frame, scan
from sidecar.ledger.noted import Recorder
from sidecar.ledger.records import DecisionBatch, Unreadable, decode, encode, list_of
from sidecar.ledger.rows import Import, decided_at, first_id, identity
from tests.ledger.made import NOW, name, noted, said


@given(st.floats(0, 2e11))
def test_the_first_id_of_a_time_parts_what_was_before_from_what_was_after(at: float) -> None:
    border = first_id(at)
    assert decided_at(border) == pytest.approx(at, abs=0.001)
    millisecond = int.from_bytes(border[:6])
    assert (millisecond.to_bytes(6) + bytes(10)) == border
    assert (millisecond + 1).to_bytes(6) + bytes(10) > border


def test_times_beyond_what_ids_can_say_are_at_their_ends() -> None:
    assert first_id(-5.0) == bytes(16)
    assert first_id(1e15) == b"\xff" * 6 + bytes(10)


def test_equal_bundles_have_equal_numbers_everywhere() -> None:
    assert identity(("demo", "3", "ab")) == identity(("demo", "3", "ab")) != identity(("demo", "3", "ac"))
    assert 0 <= identity(("x",)) < 1 << 63


@pytest.mark.parametrize(
    "change", [{"segments": ["only one"]}, {"expected": b"abc"}, {"chosen": [0, 9]}, {"ids": bytes(17)}, {"width": 3}]
)
def test_decisions_whose_parts_do_not_fit_are_refused_whole(change: dict[str, object]) -> None:
    (record,) = Recorder(None)([noted([name(), name()])])
    made = Import()
    with pytest.raises(Unreadable):
        made.add(msgspec.structs.replace(record, **change))
    assert (len(made), made.bundles, made.candidate_sets) == (0, {}, {})


def test_records_go_through_their_bytes_unchanged() -> None:
    (batch,) = Recorder(lambda prompt: prompt)([noted([name(), name()])])
    outcomes = [said(name(), quality=0.5, labels={"a": "b"}), said(name(), error="429", received=NOW)]
    data = frame(Kind.DECISIONS, [encode(batch)]) + frame(Kind.OUTCOMES, list_of([encode(each) for each in outcomes]))
    first, second = (decode(each) for each in scan(memoryview(data)))
    assert (first, second) == (batch, outcomes)


def test_what_an_older_version_wrote_is_read_with_defaults_and_what_a_newer_one_added_is_ignored() -> None:
    (batch,) = Recorder(None)([noted([name()], width=0)])
    columns = msgspec.to_builtins(batch, builtin_types=(bytes,))
    older = msgspec.structs.replace(batch, exclusions=[])
    for written, wanted in ((columns[:-4], older), ([*columns, "of a later version"], batch)):
        (held,) = scan(memoryview(frame(Kind.DECISIONS, [encode(written)])))
        record = decode(held)
        assert isinstance(record, DecisionBatch)
        assert record == wanted
