import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import CandidateConfig, Config
from sidecar.errors import BundleError
from sidecar.routing.ask import Ask
from sidecar.routing.candidates import CandidateTable, join
from sidecar.routing.compare import Side, compare
from sidecar.routing.decision import Choice, choose
from sidecar.routing.policy import Terms
from sidecar.routing.recorded import Comparison, Figures, Recorded
from sidecar.types import Scores
from tests.routing.fleet import TRAINED, ask_for, scores_of, table_of

CHEAP, DEAR = (0.9, 0.5, 0.5), (0.1, 0.2, 0.95)


class Model:
    """Says of every text the same, fails on `bad`, and remembers the sizes of its batches."""

    def __init__(self, quality: Callable[[str], Sequence[float]]) -> None:
        self.quality = quality
        self.batches: list[int] = []

    def __call__(self, texts: Sequence[str]) -> Scores:
        self.batches.append(len(texts))
        if "bad" in texts:
            raise ValueError("the secret prompt")
        return scores_of([list(self.quality(text)) for text in texts])


def side_of(quality: Sequence[float] | Callable[[str], Sequence[float]], table: CandidateTable | None = None) -> Side:
    return Side(table or table_of(), Model(quality if callable(quality) else lambda _: quality))


def sample_of(count: int, **changes: object) -> list[Recorded]:
    return [Recorded.of(ask_for(**changes), table_of()) for _ in range(count)]


def test_a_bundle_agrees_with_itself() -> None:
    comparison = compare(side_of(DEAR), side_of(DEAR), sample_of(5))
    assert (comparison.requests, comparison.agreement) == (5, 1.0)
    assert comparison.before == comparison.after
    assert comparison.after.mean_quality == pytest.approx(0.95)


def test_shares_costs_and_qualities_are_told_before_and_after() -> None:
    turned = side_of(lambda text: DEAR if text == "hard" else CHEAP)
    sample = sample_of(3, text="easy") + sample_of(1, text="hard")
    comparison = compare(side_of(CHEAP), turned, sample)
    assert comparison.agreement == 0.75
    assert comparison.before.share == {"small": 1.0}
    assert comparison.after.share == {"small": 0.75, "large": 0.25}
    # 100 prompt and 100 answer tokens: small costs 100 * 0.1e-6 + 100 * 0.4e-6, large fifty times that.
    assert comparison.before.mean_cost_usd == pytest.approx(5e-5)
    assert comparison.after.mean_cost_usd == pytest.approx((3 * 5e-5 + 2.5e-3) / 4)
    assert comparison.after.mean_quality == pytest.approx((3 * 0.9 + 0.95) / 4)


def test_candidates_are_compared_by_name_whatever_their_order() -> None:
    backwards = join(Config(), TRAINED[::-1])
    comparison = compare(side_of(DEAR), side_of(DEAR[::-1], backwards), sample_of(4))
    assert comparison.agreement == 1.0
    assert comparison.after.share == {"large": 1.0}


def test_requests_go_through_in_batches_of_32() -> None:
    side = side_of(CHEAP)
    compare(side_of(CHEAP), side, sample_of(70))
    assert isinstance(side.score, Model)
    assert side.score.batches == [32, 32, 6]


def test_what_the_limits_leave_to_nobody_counts_as_undecided() -> None:
    sample = sample_of(3) + sample_of(1, terms=Terms(0.01, min_quality=0.93), limited=True)
    comparison = compare(side_of(CHEAP), side_of(DEAR), sample)
    assert (comparison.before.undecided, comparison.after.undecided) == (1, 0)
    assert comparison.agreement == 0.0
    assert comparison.before.mean_quality == pytest.approx(0.9)
    assert comparison.after.mean_quality == pytest.approx(0.95)
    assert compare(side_of(CHEAP), side_of(CHEAP), sample).agreement == 1.0


def test_one_text_that_cannot_be_scored_spoils_itself_alone() -> None:
    sample = sample_of(2) + sample_of(1, text="bad") + sample_of(2)
    comparison = compare(side_of(CHEAP), side_of(CHEAP), sample)
    assert (comparison.before.unscored, comparison.after.unscored, comparison.after.undecided) == (1, 1, 0)
    assert comparison.agreement == 0.8
    assert comparison.after.share == {"small": 1.0}


def test_without_requests_nothing_is_claimed() -> None:
    comparison = compare(side_of(CHEAP), side_of(DEAR), [])
    nothing = Figures(share={}, mean_cost_usd=0.0, mean_quality=0.0, undecided=0, unscored=0)
    assert comparison == Comparison(requests=0, agreement=0.0, before=nothing, after=nothing)


def test_no_text_gets_into_the_result() -> None:
    comparison = compare(side_of(CHEAP), side_of(DEAR), sample_of(3, text="my secret", segment="my secret"))
    assert b"secret" not in msgspec.json.encode(comparison)


def test_a_recorded_request_names_what_it_admits() -> None:
    mask = np.array([True, False, True])
    assert Recorded.of(ask_for(admitted=mask), table_of()).admitted == ("small", "large")
    assert Recorded.of(ask_for(admitted=None), table_of()).admitted is None
    assert Recorded.of(ask_for(admitted=np.zeros(3, np.bool_)), table_of()).admitted == ()


def test_a_request_that_named_nothing_admits_what_the_other_bundle_offers() -> None:
    two = table_of(CandidateConfig(name="small"), CandidateConfig(name="large"))
    recorded = Recorded.of(ask_for(admitted=two.offered), two)
    assert recorded.admitted is None
    mask = recorded.to_ask(table_of()).admitted
    assert mask is not None
    assert mask.all()


def test_a_request_admits_nobody_whom_the_other_bundle_does_not_offer() -> None:
    recorded = Recorded.of(ask_for(admitted=np.array([True, True, False])), table_of())
    mask = recorded.to_ask(table_of(CandidateConfig(name="medium"))).admitted
    assert mask is not None
    assert mask.tolist() == [False, True, False]


limits = st.floats(0.0, 1.0) | st.just(math.inf)


@given(
    asks=st.lists(
        st.builds(
            lambda terms, tokens, most, mask: ask_for(
                terms=Terms(*terms), prompt_tokens=tokens, max_output_tokens=most, admitted=mask, limited=True
            ),
            st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0), limits, limits),
            st.integers(0, 10**6),
            st.floats(1.0, 1e6) | st.just(math.inf),
            st.none() | st.lists(st.booleans(), min_size=3, max_size=3).map(np.array),
        ),
        min_size=1,
        max_size=5,
    ),
    quality=st.lists(st.floats(0.0, 1.0, width=32), min_size=3, max_size=3),
)
def test_recording_and_encoding_change_no_decision(asks: list[Ask], quality: list[float]) -> None:
    table = table_of(CandidateConfig(name="small", seconds_per_output_token=0.01), *map(_named, ("medium", "large")))
    recorded = [Recorded.of(ask, table) for ask in asks]
    as_json = msgspec.json.decode(msgspec.json.encode(recorded), type=list[Recorded])
    assert as_json == recorded == msgspec.msgpack.decode(msgspec.msgpack.encode(recorded), type=list[Recorded])
    scores = scores_of([quality] * len(asks))
    replayed = choose(table, [each.to_ask(table) for each in as_json], scores)[1]
    assert list(map(_ranking, replayed)) == list(map(_ranking, choose(table, asks, scores)[1]))


def _named(name: str) -> CandidateConfig:
    return CandidateConfig(name=name)


def _ranking(outcome: object) -> list[int] | str:
    return outcome.ranking if isinstance(outcome, Choice) else str(outcome)


@pytest.mark.parametrize("demanded", [0.0, 0.75])
def test_enough_agreement_passes(demanded: float) -> None:
    turned = side_of(lambda text: DEAR if text == "hard" else CHEAP)
    sample = sample_of(15, text="easy") + sample_of(5, text="hard")
    compare(side_of(CHEAP), turned, sample).demand(demanded)


def test_too_little_agreement_is_refused_with_the_figures() -> None:
    comparison = compare(side_of(CHEAP), side_of(DEAR), sample_of(20))
    comparison.demand(0.0)
    reason = (
        r"^comparison: it agrees .* on 0.0% of 20 .*require_agreement is 50.0%; .*5e-05 -> 0.0025 USD, quality 0.900"
    )
    with pytest.raises(BundleError, match=reason):
        comparison.demand(0.5)


def test_too_few_requests_tell_nothing() -> None:
    comparison = compare(side_of(CHEAP), side_of(CHEAP), sample_of(19))
    comparison.demand(0.0)
    with pytest.raises(BundleError, match=r"too few requests to tell \(19 of at least 20\); send traffic first"):
        comparison.demand(0.01)
