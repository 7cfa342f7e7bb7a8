import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sidecar.coverage import Covered
from sidecar.stats import Stats

LEDGER = (
    *("log_only", "disagreements", "switches", "forced_stays", "outcomes_accepted", "outcomes_invalid"),
    *("ledger_decisions", "ledger_acknowledged", "ledger_refused", "ledger_syncs", "ledger_waiting"),
)
counts = st.integers(0, 10**6)
stats = st.builds(
    Stats,
    versions=st.dictionaries(st.sampled_from("123"), st.tuples(counts, counts, counts)),
    invalid=counts,
    shed=counts,
    expired=counts,
    cancelled=counts,
    cache_hits=counts,
    cache_misses=counts,
    cache_evictions=counts,
    cache_bytes=counts,
    window=st.dictionaries(st.sampled_from("ab"), st.tuples(counts, counts)),
    providers=st.dictionaries(st.sampled_from("CG"), st.tuples(counts)),
    device_faults=counts,
    reasons=st.dictionaries(st.sampled_from("LR"), st.tuples(counts)),
    connections=counts,
    closed=st.dictionaries(st.sampled_from("pq"), st.tuples(counts)),
    ledger_dropped=st.dictionaries(st.sampled_from("qr"), st.tuples(counts)),
    **dict.fromkeys(LEDGER, counts),
)


@given(stats, stats, stats)
def test_it_does_not_matter_in_which_order_workers_are_added(one: Stats, two: Stats, three: Stats) -> None:
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + Stats() == one == Stats() + one


@given(stats, stats)
def test_adding_adds_every_count_and_changes_neither(one: Stats, two: Stats) -> None:
    before = msgspec.msgpack.encode((one, two))
    total = one + two
    cache = ("cache_hits", "cache_misses", "cache_evictions", "cache_bytes")
    for name in ("invalid", "shed", "expired", "cancelled", "device_faults", *cache, *LEDGER):
        assert getattr(total, name) == getattr(one, name) + getattr(two, name)
    assert set(total.versions) == set(one.versions) | set(two.versions)
    for name in ("reasons", "ledger_dropped"):
        mine, theirs = getattr(one, name), getattr(two, name)
        assert getattr(total, name) == {
            key: (mine.get(key, (0,))[0] + theirs.get(key, (0,))[0],) for key in {*mine, *theirs}
        }
    for version, numbers in total.versions.items():
        none = (0, 0, 0)
        parts = zip(one.versions.get(version, none), two.versions.get(version, none), strict=True)
        assert numbers == tuple(map(sum, parts))
    assert msgspec.msgpack.encode((one, two)) == before


@given(stats)
def test_it_goes_over_a_link_and_comes_back_the_same(one: Stats) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Stats) == one


@given(stats)
def test_of_a_worker_that_has_ended_what_it_served_stays_and_what_it_held_does_not(one: Stats) -> None:
    now = {"cache_bytes": 0, "window": {}, "providers": {}, "device_faults": 0, "connections": 0, "ledger_waiting": 0}
    assert one.past == msgspec.structs.replace(one, **now)


def test_its_window_is_coverage() -> None:
    assert Stats(window={"s": (3, 1)}).covered() == {"s": Covered(3, 1)}
