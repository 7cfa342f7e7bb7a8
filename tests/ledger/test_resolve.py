from hypothesis import given
from hypothesis import strategies as st

from sidecar.ledger.outcome import Outcome
from sidecar.ledger.resolve import Answer, resolve
from sidecar.ledger.rows import Decision, Reported, outcome_row
from tests.ledger.made import NOW, ORIGIN, imported, name, noted, said

ID = name()


def decided(**more: object) -> Decision:
    """Small, which the gateway knows as acme/small-1, was chosen."""
    (row,) = imported(noted([ID], **more)).decisions  # type: ignore[arg-type]
    return Decision._make((*row, *ORIGIN[:3]))


def reports(*outcomes: Outcome) -> list[Reported]:
    return [Reported(seq, *outcome_row(outcome)) for seq, outcome in enumerate(outcomes)]


def small(*outcomes: Outcome) -> Answer:
    return resolve(decided(), reports(*outcomes))["small"]


def test_partial_reports_add_up() -> None:
    answer = small(
        said(ID, latency_ms=900.0, output_tokens=70, error=""),
        said(ID, cost_usd=0.5, received=NOW + 9),
        said(ID, "user", quality=1.0, received=NOW + 86400, labels={"thumb": "up"}),
    )
    served = True
    assert answer == Answer(served, 3, 1.0, "user", 900.0, None, None, 70, None, 0.5, "", {"thumb": "up"})


def test_a_better_source_counts_more_than_a_later_one() -> None:
    judged = said(ID, "judge", quality=0.75, received=NOW + 10)
    later = said(ID, "user", quality=0.0, received=NOW + 20)
    assert (small(judged, later).quality, small(later, judged).quality_source) == (0.75, "judge")
    looked = said(ID, "human", quality=0.5, received=NOW + 5)
    assert small(looked, judged, later).quality_source == "human"


def test_of_equal_sources_the_later_observation_counts_whenever_it_came() -> None:
    first = said(ID, "user", quality=0.0, observed=NOW + 1, received=NOW + 90)
    second = said(ID, "user", quality=1.0, observed=NOW + 2, received=NOW + 3)
    assert small(first, second).quality == small(second, first).quality == 1.0


def test_a_later_report_that_says_nothing_of_a_field_leaves_it() -> None:
    assert small(said(ID, "judge", quality=0.25), said(ID, "human", labels={"seen": "yes"})).quality == 0.25


def test_labels_of_all_reports_are_kept_and_the_one_that_counts_more_wins() -> None:
    answer = small(said(ID, "human", labels={"a": "human"}), said(ID, "user", labels={"a": "user", "b": "user"}))
    assert answer.labels == {"a": "human", "b": "user"}


def test_a_shadow_answer_is_another_answer() -> None:
    answers = resolve(
        decided(),
        reports(said(ID, "judge", quality=1.0), said(ID, "judge", model="acme/large-2", shadow=True, quality=0.5)),
    )
    assert {model: (answer.served, answer.quality) for model, answer in answers.items()} == {
        "small": (True, 1.0), "large": (False, 0.5)
    }  # fmt: skip


def test_a_failure_that_names_no_model_is_the_decided_ones_also_where_another_answered() -> None:
    failed = said(ID, error="server", key="attempt-1")
    answered = said(ID, model="acme/large-2", latency_ms=100.0, error="", key="attempt-2")
    for told in ((failed, answered), (answered, failed)):
        answers = resolve(decided(), reports(*told))
        assert {model: (answer.served, answer.error, answer.latency_ms) for model, answer in answers.items()} == {
            "small": (False, "server", None), "large": (True, "", 100.0)
        }  # fmt: skip


def test_reports_without_a_model_are_about_the_one_that_the_gateway_named_last() -> None:
    answers = resolve(
        decided(),
        reports(
            said(ID, model="acme/small-1", error="timeout"),
            said(ID, model="acme/large-2", received=NOW + 5, latency_ms=100.0),
            said(ID, "judge", model="small", quality=0.0, received=NOW + 7),
            said(ID, "user", quality=1.0, received=NOW + 6),
        ),
    )
    assert answers["large"].served
    assert (answers["large"].quality, answers["large"].latency_ms) == (1.0, 100.0)
    assert (answers["small"].served, answers["small"].quality, answers["small"].error) == (False, 0.0, "timeout")


def test_in_log_only_mode_the_callers_own_model_answered() -> None:
    own = decided(applied=[False], current=["acme/large-2"])
    assert resolve(own, reports(said(ID, "user", quality=1.0)))["large"].served
    stranger = decided(applied=[False], current=["elsewhere/x"])
    assert resolve(stranger, reports(said(ID, "user", quality=1.0)))["elsewhere/x"].served


def test_of_an_unknown_decision_only_what_is_said_is_known() -> None:
    assert resolve(None, reports(said(ID, quality=1.0)))[""].quality == 1.0
    assert list(resolve(None, reports(said(ID, "user", model="m", quality=1.0), said(ID, latency_ms=1.0)))) == ["m"]
    assert resolve(decided(), []) == {}


@given(
    st.lists(
        st.builds(
            lambda source, at, quality, latency: said(
                ID, source, observed=at, quality=quality, latency_ms=latency, error=""
            ),
            st.sampled_from(["human", "judge", "user", "gateway", "mine"]),
            st.integers(1, 5).map(float),
            st.none() | st.sampled_from([0.0, 0.5, 1.0]),
            st.none() | st.sampled_from([1.0, 2.0]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.randoms(),
)
def test_the_order_in_which_reports_are_read_does_not_matter(outcomes: list[Outcome], chance: object) -> None:
    numbered = reports(*outcomes)
    mixed = numbered.copy()
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    answer = resolve(decided(), numbered)["small"]
    assert resolve(decided(), mixed)["small"] == answer
    told = [report for report in numbered if report.quality is not None]
    best = max(told, key=lambda report: (report.source_rank, report.observed_at, report.seq), default=None)
    assert answer.quality == (best.quality if best else None)
