import pytest

from sidecar.ledger import history as module
from sidecar.ledger.history import history
from sidecar.ledger.rows import first_id
from sidecar.ledger.store import Store
from tests.ledger.made import NOW, imported, name, noted, said


def test_every_decision_comes_once_with_its_own_outcomes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    ids = [name(NOW + second) for second in range(8)]
    outcomes = [said(ids[number], received=NOW + 9, output_tokens=number) for number in range(0, 8, 2)]
    store.add(imported(noted(ids), outcomes=[*outcomes, said(name(NOW + 4), received=NOW + 9, quality=1.0)]))
    pages = list(history(store, first_id(NOW + 1), first_id(NOW + 8)))
    assert [len(page) for page in pages] == [3, 3, 1]
    found = [past for page in pages for past in page]
    assert [past.decision.decision_id.hex() for past in found] == ids[1:]
    tokens = [past.answers["small"].output_tokens if past.answers else None for past in found]
    assert tokens == [None, 2, None, 4, None, 6, None]


def test_it_says_which_candidate_the_caller_got(store: Store) -> None:
    plain, own, told = (name(NOW + second) for second in range(3))
    store.add(imported(noted([plain])))
    store.add(imported(noted([own], applied=[False], current=["acme/large-2"])))
    store.add(imported(noted([told]), outcomes=[said(told, received=NOW + 9, model="acme/large-2", error="")]))
    ((first, second, third),) = history(store, bytes(16), b"\xff" * 16)
    assert (first.served(), second.served()) == (("small", None), ("large", None))
    served, answer = third.served()
    assert (served, answer is not None) == ("large", True)
