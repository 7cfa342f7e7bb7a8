import pytest

from benchmarks.hits import Lookups, info, told
from benchmarks.server import ServerFault


def test_the_ratio_is_of_what_came_between_two_readings() -> None:
    assert told(Lookups(100, 100), Lookups(101, 199)).startswith("score cache: 1.00% hits of 100 lookups")


def test_where_nothing_was_looked_up_there_is_no_ratio() -> None:
    assert told(Lookups(5, 5), Lookups(5, 5)) == "score cache: not asked"


def test_where_nobody_answers_the_address_is_named() -> None:
    with pytest.raises(ServerFault, match=r"127\.0\.0\.1:1: Info answers UNAVAILABLE; is it a sidecar\?"):
        info("127.0.0.1:1")
