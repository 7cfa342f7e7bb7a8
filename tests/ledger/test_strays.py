import pytest

from sidecar.ledger.store import Store
from sidecar.ledger.strays import PATIENCE_S, Strays
from tests.ledger.made import imported, name, noted


def test_an_outcome_is_unknown_once_its_decision_had_time_to_come(store: Store) -> None:
    here, late, never = (bytes.fromhex(name()) for _ in range(3))
    store.add(imported(noted([here.hex()])))
    strays = Strays()
    strays.take([here, late, never, never], 10.0)
    strays.step(store, 10.0 + PATIENCE_S - 1.0, 100)
    assert strays.unknown == 0
    store.add(imported(noted([late.hex()])))
    strays.step(store, 10.0 + PATIENCE_S, 100)
    assert strays.unknown == 2
    strays.step(store, 10.0 + 9 * PATIENCE_S, 100)
    assert strays.unknown == 2


def test_so_many_at_a_time(store: Store) -> None:
    strays = Strays()
    strays.take([bytes.fromhex(name()) for _ in range(5)], 0.0)
    strays.step(store, PATIENCE_S, 3)
    assert strays.unknown == 3
    strays.step(store, PATIENCE_S, 3)
    assert strays.unknown == 5


def test_more_than_can_be_remembered_are_not_looked_at(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.ledger.strays.MOST", 2)
    strays = Strays()
    strays.take([bytes.fromhex(name()) for _ in range(5)], 0.0)
    strays.step(store, PATIENCE_S, 9)
    assert strays.unknown == 2
