import pytest

from sidecar.config import CandidateConfig, Config, SegmentConfig
from sidecar.doubts import doubts
from sidecar.fleet.settings import BudgetConfig
from sidecar.ledger.settings import LedgerConfig
from tests.routing.fleet import TRAINED

CAREFUL = {"careful": SegmentConfig(log_only=True)}


def candidate(**figures: float) -> Config:
    return Config(candidates=(CandidateConfig(name="small", **figures),))  # type: ignore[arg-type]


def test_what_is_likely_meant_raises_no_doubt() -> None:
    ledger = LedgerConfig(directory="/var/lib/router")
    segments = ("acme", "quite another")
    budgets = (
        BudgetConfig(name="b", segments=segments, candidates=("medium", "large"), usd_per_day=1.0),
        BudgetConfig(name="all", usd_per_day=1.0, when_used_up="refuse"),
    )
    sound = Config(log_only=True, segments={"acme": SegmentConfig(policy="quality")}, budgets=budgets, ledger=ledger)
    assert doubts(sound, TRAINED) == []
    assert doubts(candidate(input_usd_per_mtok=0.02, output_usd_per_mtok=0.0), TRAINED) == []
    assert doubts(candidate(input_usd_per_mtok=1e-7)) == []  # nothing is known to compare it with


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (Config(log_only=True), "log_only: nothing is recorded"),
        (Config(segments=CAREFUL), "segments.careful.log_only: nothing is recorded"),
        (
            Config(
                segments={"acme": SegmentConfig()},
                budgets=(BudgetConfig(name="b", segments=("acmee",), candidates=("large",), usd_per_day=1.0),),
            ),
            "budgets.b.segments: 'acmee' is not among [segments] (did you mean 'acme'?).",
        ),
        (Config(budgets=(BudgetConfig(name="b", usd_per_day=1.0),)), "budgets.b.candidates: covers all of them"),
        (
            Config(
                candidates=(CandidateConfig(name="small"), CandidateConfig(name="large")),
                budgets=(BudgetConfig(name="b", candidates=("small", "large"), usd_per_day=1.0),),
            ),
            "budgets.b.candidates: covers all of them",
        ),
        (candidate(input_usd_per_mtok=1e-7), "candidates.small.input_usd_per_mtok: is 1e-07, and was 0.1 at training"),
        (candidate(output_usd_per_mtok=1e6), "candidates.small.output_usd_per_mtok: is 1e+06, and was "),
        (candidate(cached_input_usd_per_mtok=0.2), "candidates.small.cached_input_usd_per_mtok: is 0.2, more than"),
        (
            candidate(input_usd_per_mtok=0.05, cached_input_usd_per_mtok=0.07),
            "candidates.small.cached_input_usd_per_mtok: is 0.07, more than a token that is not cached (0.05).",
        ),
    ],
)
def test_what_is_hardly_meant_is_told(config: Config, told: str) -> None:
    (doubt,) = doubts(config, TRAINED)
    assert doubt.startswith(told)
