from pathlib import Path

import pytest

from benchmarks.checkout import Checkout


@pytest.mark.parametrize(
    ("package", "option"),
    [("sidecar/transport/http2", ["--transport", "http2"]), ("sidecar/lanes", ["--lane", "fast"])],
)
def test_another_checkout_is_started_with_its_own_options(tmp_path: Path, package: str, option: list[str]) -> None:
    (tmp_path / package).mkdir(parents=True)
    other = Checkout(tmp_path)
    assert other.root == tmp_path.resolve()
    for command in (other.sidecar(None), other.floor(7)):
        place = command.index(option[0])
        assert command[place : place + 2] == option


def test_a_directory_that_is_no_checkout_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkout"):
        Checkout(tmp_path)
