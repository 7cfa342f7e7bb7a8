from sidecar.routing.decision_id import DecisionIds


def test_ids_have_32_hexadecimal_digits_and_begin_with_the_time() -> None:
    number, (first,) = DecisionIds(lambda: 1.5, process=7).take(1)
    assert number == 0
    assert first == f"{1500:012x}{7:010x}{0:010x}"
    assert len(first) == 32


def test_ids_of_one_process_never_repeat_though_the_clock_stands_still() -> None:
    ids = DecisionIds(lambda: 0.0)
    taken = [*ids.take(500).ids, *ids.take(500).ids]
    assert len(set(taken)) == 1000
    assert taken == sorted(taken)


def test_ids_of_two_processes_differ() -> None:
    assert set(DecisionIds(lambda: 0.0).take(10).ids).isdisjoint(DecisionIds(lambda: 0.0).take(10).ids)
