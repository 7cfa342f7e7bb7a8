import numpy as np
import pytest

from sidecar.bundle.manifest import TrainedCandidate
from sidecar.config import CandidateConfig, Config
from sidecar.errors import ConfigError, InvalidRequest
from sidecar.fleet.settings import BudgetConfig
from sidecar.routing.candidates import join, without_bundle
from tests.routing.fleet import TRAINED, table_of


def test_without_entries_all_of_the_bundles_candidates_are_offered_at_its_prices() -> None:
    table = table_of()
    assert table.offered.all()
    assert table.input_usd.tolist() == pytest.approx([1e-7, 5e-7, 5e-6])


def test_with_entries_only_these_are_offered() -> None:
    table = table_of(CandidateConfig(name="small"), CandidateConfig(name="large"))
    assert table.offered.tolist() == [True, False, True]


def test_an_entrys_price_wins_even_when_it_is_nought() -> None:
    table = table_of(CandidateConfig(name="small", input_usd_per_mtok=0.0, output_usd_per_mtok=9.0))
    assert (table.input_usd[0], table.output_usd[0]) == (0.0, pytest.approx(9e-6))


def test_a_candidate_is_found_by_name_model_and_alias() -> None:
    table = table_of(CandidateConfig(name="large", model="vendor/large-1", aliases=("big", "gpt")))
    assert {table.index(name, "f") for name in ("large", "vendor/large-1", "big", "gpt")} == {2}


def test_an_unknown_name_is_refused_with_the_field_and_the_known_names() -> None:
    with pytest.raises(InvalidRequest, match=r"^constraints\.allow: no candidate is called 'huge'; known are small"):
        table_of().index("huge", "constraints.allow")


def test_an_alias_that_is_another_candidates_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="also names"):
        table_of(CandidateConfig(name="small", aliases=("large",)))


def test_an_entry_that_the_bundle_does_not_score_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^candidates\.huge: the bundle does not score it; it scores small, medium, large"
    ):
        table_of(CandidateConfig(name="huge"))


def test_a_budget_of_a_candidate_that_the_bundle_does_not_score_is_refused() -> None:
    budget = BudgetConfig(name="b", candidates=("small", "mediun"), usd_per_day=1.0)
    with pytest.raises(
        ConfigError, match=r"^budgets\.b\.candidates: 'mediun' is unknown; known are .* \(did you mean 'medium'\?\)"
    ):
        join(Config(budgets=(budget,)), TRAINED)


def test_the_safe_candidate_is_the_best_offered_one_by_prior_unless_configured() -> None:
    assert table_of().safe == 2
    assert table_of(CandidateConfig(name="small"), CandidateConfig(name="medium")).safe == 1
    assert table_of(safe="small").safe == 0


@pytest.mark.parametrize(("safe", "complaint"), [("huge", "is unknown"), ("large", "is unknown|not among")])
def test_a_safe_candidate_that_cannot_be_chosen_is_refused(safe: str, complaint: str) -> None:
    entries = (CandidateConfig(name="small"),)
    with pytest.raises(ConfigError, match=complaint):
        join(Config(candidates=entries, safe_candidate=safe), TRAINED)


def test_capabilities_come_from_the_entries() -> None:
    table = table_of(CandidateConfig(name="small"), CandidateConfig(name="large", capabilities=("vision",)))
    assert table.capable("vision").tolist() == [False, False, True]
    assert not table.capable("smell").any()


def test_latency_is_known_only_where_it_was_given() -> None:
    table = table_of(CandidateConfig(name="small", first_token_seconds=0.0), CandidateConfig(name="large"))
    assert table.latency_known.tolist() == [True, False, False]
    assert np.isinf(table.context_window).all()


def test_without_a_bundle_the_configuration_must_name_candidates_and_the_safe_one() -> None:
    entries = (CandidateConfig(name="a"), CandidateConfig(name="b", model="vendor/b"))
    table = without_bundle(Config(candidates=entries, safe_candidate="b"), "broken")
    assert table.rows[table.safe].model == "vendor/b"
    for poor in (Config(), Config(candidates=entries), Config(safe_candidate="a")):
        with pytest.raises(ConfigError, match="broken; there is no usable bundle"):
            without_bundle(poor, "broken")


def test_a_bundle_of_one_candidate_works() -> None:
    only = TrainedCandidate(
        name="only", prior_quality=0.5, mean_output_tokens=0.0, input_usd_per_mtok=0.0, output_usd_per_mtok=0.0
    )
    assert len(join(Config(), (only,))) == 1
