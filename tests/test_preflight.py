import os
from pathlib import Path

import pytest

from sidecar.bundle.registry import POINTER
from sidecar.config import Config
from sidecar.errors import BundleError, RouterError
from sidecar.fleet.settings import BudgetConfig
from sidecar.ledger.settings import LedgerConfig
from sidecar.preflight import preflight


def test_what_serve_would_start_with_passes_and_nothing_is_written(tiny_bundle: Path, tmp_path: Path) -> None:
    directory = tmp_path / "not" / "yet"
    config = Config(bundle=str(tiny_bundle), ledger=LedgerConfig(directory=str(directory)))
    table, trained = preflight(config)
    assert table.names == tuple(candidate.name for candidate in trained)
    assert not directory.parent.exists()


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"registry": "/nowhere"}, "registry: /nowhere is no directory"),
        ({"ledger": LedgerConfig(directory="/dev/null/x")}, "ledger.directory: /dev/null cannot be written"),
        (
            {"ledger": LedgerConfig(directory="/tmp", store_prompts=True, redact="nowhere:hook")},  # noqa: S108 - exists
            "ledger.redact: 'nowhere:hook' cannot be imported",
        ),
        ({"budgets": (BudgetConfig(name="b", candidates=("huge",), usd_per_day=1.0),)}, "budgets.b.candidates: 'huge'"),
    ],
)
def test_what_would_stop_serve_is_found(part: dict[str, object], told: str) -> None:
    with pytest.raises(RouterError) as caught:
        preflight(Config(**part).checked())  # type: ignore[arg-type]
    assert str(caught.value).startswith(told)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_is_not_ours_is_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RouterError, match=r"ledger\.directory"):
        preflight(Config(ledger=LedgerConfig(directory=str(tmp_path / "ledger"))))


def test_the_bundle_that_the_registry_points_to_is_the_one_that_is_checked(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "v1").symlink_to(tiny_bundle)
    config = Config(registry=str(tmp_path))
    assert "small" not in preflight(config)[0].names  # it names none, so the embedded one would run
    (tmp_path / POINTER).write_text("v1\n")
    assert "small" in preflight(config)[0].names
    (tmp_path / POINTER).write_text("../v1\n")
    with pytest.raises(BundleError, match=POINTER):
        preflight(config)
