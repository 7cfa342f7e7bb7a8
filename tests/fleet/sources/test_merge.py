from math import isnan

from sidecar.fleet.sources.merge import Merge
from sidecar.fleet.telemetry import Telemetry


def test_what_only_one_source_knows_stays_beside_the_others_news() -> None:
    taken: list[Telemetry] = []
    merge = Merge(taken.append, 5.0)
    merge.of("prometheus")(Telemetry(running=3.0, waiting=1.0, observed_unix=100.0))
    merge.of("orca")(Telemetry(waiting=2.0, kv_used=0.5, observed_unix=101.0))
    last = taken[-1]
    assert (last.running, last.waiting, last.kv_used, last.observed_unix) == (3.0, 2.0, 0.5, 101.0)


def test_what_a_source_said_long_ago_does_not() -> None:
    taken: list[Telemetry] = []
    merge = Merge(taken.append, 5.0)
    merge.of("prometheus")(Telemetry(running=3.0, observed_unix=100.0))
    merge.of("orca")(Telemetry(waiting=2.0, observed_unix=105.5))
    assert isnan(taken[-1].running)
