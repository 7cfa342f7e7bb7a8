import pytest

from sidecar.fleet.sources.samples import Exposition, SourceError, matching
from tests.fleet.sources import expositions

WAITING = "vllm:num_requests_waiting"


def test_only_the_wanted_metrics_are_read() -> None:
    samples = Exposition(frozenset({WAITING, "vllm:time_to_first_token_seconds_sum"})).read(
        expositions.vllm(waiting=9.0, ttft=(1.5, 3.0))
    )
    assert samples.keys() == {WAITING, "vllm:time_to_first_token_seconds_sum"}
    assert samples[WAITING][0][1] == 9.0


def test_a_metric_is_not_taken_for_another_that_begins_likewise() -> None:
    with pytest.raises(SourceError, match="none of the expected metrics"):
        Exposition(frozenset({"vllm:num_requests"})).read(expositions.vllm())


def test_counters_without_total_keep_their_name() -> None:
    text = '# TYPE tgi_request_failure counter\ntgi_request_failure{err="overloaded"} 3\n'
    samples = Exposition(frozenset({"tgi_request_failure"})).read(text)
    assert samples == {"tgi_request_failure": [({"err": "overloaded"}, 3.0)]}


def test_the_model_name_picks_the_rows() -> None:
    text = expositions.vllm(waiting=1.0, model="a") + expositions.vllm(waiting=5.0, model="b")
    rows = Exposition(frozenset({WAITING}), "b").read(text)[WAITING]
    assert [value for _, value in rows] == [5.0]


def test_several_models_without_a_choice_are_an_error_that_names_them() -> None:
    text = expositions.vllm(model="a") + expositions.vllm(model="b")
    with pytest.raises(SourceError, match=r"set telemetry\.model_name to one of 'a', 'b'"):
        Exposition(frozenset({WAITING})).read(text)


def test_a_model_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(SourceError, match="no rows of model_name 'c'; there are 'a'"):
        Exposition(frozenset({WAITING}), "c").read(expositions.vllm(model="a"))


def test_a_server_that_names_no_model_needs_none() -> None:
    samples = Exposition(frozenset({"tgi_queue_size"}), "whatever").read(expositions.tgi(queue=3.0))
    assert samples["tgi_queue_size"] == [({}, 3.0)]


@pytest.mark.parametrize("line", [f"{WAITING} not-a-number", f'{WAITING}{{x="1 5', f"{WAITING} "])
def test_garbage_is_an_error(line: str) -> None:
    with pytest.raises(SourceError):
        Exposition(frozenset({WAITING})).read(line + "\n")


def test_rows_of_ranks_are_one_row_and_other_rows_are_not() -> None:
    rows = [({"tp_rank": "0", "dp": "0"}, 4.0), ({"tp_rank": "1", "dp": "0"}, 5.0), ({"tp_rank": "0", "dp": "1"}, 2.0)]
    assert sorted(matching(rows, ())) == [2.0, 5.0]
    assert matching(rows, (("dp", "1"),)) == [2.0]


def test_an_empty_label_is_one_that_is_missing() -> None:
    rows = [({"priority": ""}, 4.0), ({"priority": "1"}, 3.0), ({}, 9.0)]
    assert matching(rows, (("priority", ""),)) == [4.0, 9.0]
