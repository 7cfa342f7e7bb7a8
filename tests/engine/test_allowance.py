from sidecar.engine.allowance import Allowance


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_saved_up_can_be_spent_at_once_and_then_only_the_share() -> None:
    clock = Clock()
    allowance = Allowance(0.1, 0.5, clock)
    assert allowance.open()
    allowance.spend(0.5)
    assert not allowance.open()
    clock.now += 1.0
    assert allowance.open()
    allowance.spend(0.1)
    assert not allowance.open()


def test_a_debt_is_paid_off_before_it_opens_again() -> None:
    clock = Clock()
    allowance = Allowance(0.1, 0.5, clock)
    allowance.spend(0.7)
    clock.now += 1.9
    assert not allowance.open()
    clock.now += 0.2
    assert allowance.open()


def test_no_more_is_saved_up_than_allowed() -> None:
    clock = Clock()
    allowance = Allowance(0.5, 0.2, clock)
    clock.now += 1000.0
    assert allowance.open()
    allowance.spend(0.2)
    assert not allowance.open()


def test_no_share_is_never_open() -> None:
    clock = Clock()
    allowance = Allowance(0.0, 0.0, clock)
    clock.now += 1000.0
    assert not allowance.open()
