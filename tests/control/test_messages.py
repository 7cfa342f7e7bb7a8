import pytest

from sidecar.control.messages import State, Target

ONE, TWO, THREE = (Target(f"/{name}", f"tiny {name}", name) for name in ("one", "two", "three"))
UNCHECKED = Target("/one")


@pytest.mark.parametrize(
    ("state", "differs"),
    [
        (State(TWO, ONE, THREE, 0.5), False),
        (State(TWO, None, THREE, 0.5), False),  # what is kept in memory answers nobody
        (State(ONE, None, THREE, 0.5), True),
        (State(TWO, ONE, ONE, 0.5), True),
        (State(TWO, ONE, THREE, 0.25), True),
        (State(TWO, ONE), True),
        (State(UNCHECKED), False),  # it could not be loaded
        (State(), False),
    ],
)
def test_states_differ_if_they_answer_otherwise(state: State, differs: bool) -> None:  # noqa: FBT001 - expected
    other = State(TWO, ONE, THREE, 0.5)
    assert (state.differs(other), other.differs(state)) == (differs, differs)


def test_what_is_activated_takes_the_place_of_what_ran_and_ends_a_canary() -> None:
    assert State(ONE, TWO, THREE, 0.5).with_bundle(THREE, None) == State(THREE, ONE)
    assert State(ONE, TWO, THREE, 0.5).with_bundle(ONE, None) == State(ONE, TWO)


def test_a_canary_leaves_what_runs_and_what_ran_before() -> None:
    assert State(ONE, TWO).with_bundle(THREE, 0.25) == State(ONE, TWO, THREE, 0.25)
