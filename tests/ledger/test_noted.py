import logging

import numpy as np
import pytest

from sidecar.errors import ConfigError
from sidecar.ledger import noted as module
from sidecar.ledger.noted import Origin, Recorder, prompt_rule
from sidecar.ledger.records import DecisionBatch
from sidecar.ledger.settings import LedgerConfig
from tests.ledger.made import ORIGIN, imported, name, noted


def test_neighbours_of_one_origin_share_a_record_in_their_order() -> None:
    ids = [name() for _ in range(6)]
    (record,) = Recorder(None)(
        [noted(ids[:1], sessions=["s"]), noted(ids[1:3]), noted(ids[3:], propensity=[0.5, 0.25, 1.0])]
    )
    assert record.ids.hex() == "".join(ids)
    assert record.sessions == ["s", "", "", "", "", ""]
    assert record.propensity == [1.0, 1.0, 1.0, 0.5, 0.25, 1.0]
    assert record.prompt_tokens == [12, 12, 13, 12, 13, 14]


def test_a_record_of_joined_batches_says_what_those_of_single_ones_say() -> None:
    batches = [noted([name() for _ in range(size)], chosen=size % 2) for size in (1, 3, 2)]
    alone = [row for batch in batches for row in imported(batch).decisions]
    assert imported(*batches).decisions == alone


def test_another_origin_or_another_width_begins_a_new_record() -> None:
    other = Origin(("demo", "4", ""), ("small",), ("m",))
    records = list(
        Recorder(None)([noted([name()]), noted([name()], origin=other), noted([name()], width=0), noted([name()])])
    )
    assert [(record.bundle[1], record.width) for record in records] == [("3", 4), ("4", 4), ("3", 0), ("3", 4)]


def test_records_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 10)
    records = list(Recorder(None)([noted([name() for _ in range(4)]) for _ in range(5)]))
    assert [len(record.segments) for record in records] == [8, 8, 4]


def test_requests_that_got_no_candidate_are_left_out() -> None:
    ids = [name() for _ in range(3)]
    (record,) = Recorder(lambda prompt: prompt)([noted(ids, excluded=[1], sessions=["a", "b", "c"])])
    assert record.ids.hex() == ids[0] + ids[2]
    assert (record.sessions, record.prompts) == (["a", "c"], ["the secret prompt 0", "the secret prompt 2"])
    assert np.frombuffer(record.expected, "<f4").reshape(2, 4, 2)[1, 2].tolist() == [4.0, 5.0]
    assert np.frombuffer(record.embedding, "<f2").reshape(2, 4)[1].tolist() == [1.0, 1.125, 1.25, 1.375]


def test_prompts_are_kept_only_if_asked_for() -> None:
    assert prompt_rule(LedgerConfig(directory="d")) is None
    (record,) = Recorder(None)([noted([name()])])
    assert record.prompts == []


def test_the_hook_sees_every_prompt_before_anybody_keeps_it() -> None:
    hook = prompt_rule(LedgerConfig(directory="d", store_prompts=True, redact="tests.ledger.hooks:mask"))
    (record,) = Recorder(hook)([noted([name()]), noted([name()], prompt="drop me")])
    assert record.prompts == ["the ****** prompt 0", None]


@pytest.mark.parametrize("hook", ["tests.ledger.hooks:fail", "tests.ledger.hooks:give_bytes"])
def test_a_hook_that_fails_keeps_nothing_and_is_counted_and_quotes_nothing(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(prompt_rule(LedgerConfig(directory="d", store_prompts=True, redact=hook)))
    with caplog.at_level(logging.ERROR):
        (record,) = recorder([noted([name(), name()])])
    assert (record.prompts, recorder.unredacted) == ([None, None], 2)
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize("hook", ["no.such.module:f", "tests.ledger.hooks:nothing", "tests.ledger.hooks:NUMBER"])
def test_a_hook_that_cannot_be_had_is_refused_at_the_start(hook: str) -> None:
    with pytest.raises(ConfigError, match=r"ledger\.redact"):
        prompt_rule(LedgerConfig(directory="d", store_prompts=True, redact=hook))


def test_rankings_of_many_candidates_take_two_bytes_each() -> None:
    names = tuple(f"c{number}" for number in range(300))
    made = imported(noted([name()], origin=Origin(("", "", ""), names, names), chosen=299))
    assert made.decisions[0][9] == "c299"
    assert np.frombuffer(made.decisions[0][17], "<u2").tolist() == [299, *range(299)]


def test_nothing_of_a_record_depends_on_the_batch_it_came_from() -> None:
    batch = noted([name()])
    (record,) = Recorder(None)([batch])
    assert isinstance(record, DecisionBatch)
    batch.expected.quality[:] = 7.0
    assert np.frombuffer(record.expected, "<f4")[0] == 0.0


def test_why_candidates_could_not_be_chosen_goes_by_what_each_origin_offers() -> None:
    recorder = Recorder(None)
    for offered, told in (((True, False), b"\x00\x01"), ((False, True), b"\x01\x00"), ((True, False), b"\x00\x01")):
        origin = ORIGIN._replace(offered=offered)
        (record,) = recorder([noted([name()], origin=origin, ranking=[offered.index(True)])])
        assert record.exclusions == [told]
