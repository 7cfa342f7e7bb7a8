import pytest

from sidecar.errors import TooMany
from sidecar.transport.slots import Slots


def test_as_many_are_taken_as_there_are_and_one_more_is_refused_until_one_is_free() -> None:
    places = Slots(2, "watches")
    with places.taken():
        with places.taken(), pytest.raises(TooMany, match="2 watches are open; close one first"), places.taken():
            pytest.fail("there is no third")
        with places.taken():
            pass


def test_a_place_is_free_again_though_the_call_failed() -> None:
    places = Slots(1, "watches")
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), places.taken():
            raise ZeroDivisionError
