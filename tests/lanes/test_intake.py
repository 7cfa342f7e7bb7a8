import math

import pytest

from sidecar.config import CandidateConfig, Config, SegmentConfig
from sidecar.errors import InvalidRequest
from sidecar.lanes.intake import Intake
from sidecar.routing.ask import Ask
from sidecar.routing.candidates import join
from sidecar.routing.policy import Policy
from sidecar.scoring.recipe import TextRecipe
from sidecar.wire import router_pb2 as pb
from tests.routing.fleet import TRAINED

REMINDER = "<system-reminder>\nToday is Tuesday.\n</system-reminder>\n"
VISION = CandidateConfig(name="large", capabilities=("vision", "audio", "file", "tools"), context_window=1000)


def intake(request: pb.RouteRequest, **settings: object) -> Ask:
    config = Config(**settings)  # type: ignore[arg-type]
    return Intake(config, join(config, TRAINED), TextRecipe(), lambda: 2.0)(request, 1.0)


def test_a_plain_request_names_nothing_and_is_limited_by_nothing() -> None:
    ask = intake(pb.RouteRequest(text="What IS it?"))
    assert (ask.text, ask.admitted, ask.limited, ask.policy) == ("what is it?", None, False, "balanced")
    assert (ask.arrived, ask.ready, ask.max_output_tokens) == (1.0, 2.0, math.inf)


def test_tokens_are_estimated_over_all_turns_unless_given() -> None:
    turns = [pb.ChatMessage(role="system", content="s" * 400), pb.ChatMessage(role="user", content="u" * 40)]
    assert intake(pb.RouteRequest(messages=turns)).prompt_tokens == 110
    assert intake(pb.RouteRequest(messages=turns, prompt_tokens=7)).prompt_tokens == 7


@pytest.mark.parametrize(
    ("keys", "segment"),
    [
        (("segment",), "docs"),
        (("envelope",), "reminder"),
        (("metadata.tenant", "segment"), "acme/docs"),
        (("metadata.absent", "segment"), "docs"),
        (("metadata.absent",), ""),
    ],
)
def test_the_segment_is_built_from_the_configured_keys(keys: tuple[str, ...], segment: str) -> None:
    request = pb.RouteRequest(text=REMINDER + "Which is it?", segment="docs", metadata={"tenant": "acme"})
    ask = intake(request, segment_keys=keys)
    assert (ask.segment, ask.envelope, ask.text) == (segment, "reminder", "which is it?")


def test_a_policy_comes_from_the_request_else_the_segment_else_the_default() -> None:
    settings = {
        "policies": {"house": Policy(answer_value_usd=7.0)},
        "segments": {"acme": SegmentConfig(policy="house")},
    }
    assert intake(pb.RouteRequest(text="x", segment="acme"), **settings).terms.answer_value_usd == 7.0
    assert intake(pb.RouteRequest(text="x", segment="acme", policy_name="thrifty"), **settings).policy == "thrifty"
    inline = pb.RouteRequest(text="x", segment="acme", policy=pb.Policy(answer_value_usd=3.0, max_latency_ms=500))
    ask = intake(inline, **settings)
    assert (ask.policy, ask.terms.answer_value_usd, ask.terms.max_seconds) == ("inline", 3.0, 0.5)
    assert ask.limited


def test_of_the_policys_and_the_requests_limits_the_tighter_holds() -> None:
    request = pb.RouteRequest(
        text="x",
        policy=pb.Policy(answer_value_usd=1.0, min_quality=0.5, max_cost_usd=0.1),
        constraints=pb.Constraints(min_quality=0.4, max_cost_usd=0.01),
    )
    terms = intake(request).terms
    assert (terms.min_quality, terms.max_cost_usd) == (0.5, 0.01)


def test_a_limit_of_the_ranking_is_no_limit_of_the_candidates() -> None:
    assert intake(pb.RouteRequest(text="x")).ranking_limit is None
    ask = intake(pb.RouteRequest(text="x", ranking_limit=2))
    assert (ask.ranking_limit, ask.limited, ask.admitted) == (2, False, None)
    with pytest.raises(InvalidRequest, match=r"^ranking_limit is 0: give at least 1"):
        intake(pb.RouteRequest(text="x", ranking_limit=0))


@pytest.mark.parametrize("part", [{"image_url": "data:,"}, {"input_audio": ""}, {"file": ""}])
def test_parts_that_are_not_text_demand_a_capability(part: dict[str, str]) -> None:
    (kind,) = part
    turn = pb.ChatMessage(role="user", parts=[pb.ContentPart(text="look"), pb.ContentPart()])
    setattr(turn.parts[1], kind, part[kind])
    ask = intake(pb.RouteRequest(messages=[turn]), candidates=(VISION, CandidateConfig(name="small")))
    assert ask.admitted is not None
    assert ask.admitted.tolist() == [False, False, True]


def test_tool_calls_of_an_earlier_turn_demand_tools() -> None:
    turns = [
        pb.ChatMessage(role="user", content="look it up"),
        pb.ChatMessage(role="assistant", tool_calls=["search"]),
        pb.ChatMessage(role="tool", content="found"),
    ]
    ask = intake(pb.RouteRequest(messages=turns), candidates=(VISION, CandidateConfig(name="small")))
    assert ask.admitted is not None
    assert ask.admitted.tolist() == [False, False, True]


def test_only_a_prompt_near_a_context_window_is_tested_against_it() -> None:
    candidates = (VISION, CandidateConfig(name="small"))
    assert not intake(pb.RouteRequest(text="x", prompt_tokens=1000), candidates=candidates).limited
    assert intake(pb.RouteRequest(text="x", prompt_tokens=1001), candidates=candidates).limited
    assert intake(pb.RouteRequest(text="x", prompt_tokens=990, max_output_tokens=11), candidates=candidates).limited


def test_a_long_segment_is_refused_without_being_repeated() -> None:
    with pytest.raises(InvalidRequest, match=r"^segment: 300 characters"):
        intake(pb.RouteRequest(text="x", segment="s" * 300))


def test_in_log_only_mode_the_caller_must_name_its_own_model() -> None:
    request = pb.RouteRequest(text="What is it?", segment="careful")
    careful = {"segments": {"careful": SegmentConfig(log_only=True)}}
    with pytest.raises(InvalidRequest, match=r"current_model is empty.*log-only"):
        intake(request, **careful)
    with pytest.raises(InvalidRequest, match="current_model is empty"):
        intake(pb.RouteRequest(text="What is it?"), log_only=True)
    request.current_model = "gpt-of-theirs"
    ask = intake(request, **careful)
    assert (ask.log_only, ask.current_model) == (True, "gpt-of-theirs")
    assert not intake(pb.RouteRequest(text="What is it?", segment="other"), **careful).log_only


def test_a_segment_may_adopt_while_all_others_are_log_only() -> None:
    brave = {"segments": {"brave": SegmentConfig(log_only=False), "rich": SegmentConfig(policy="quality")}}
    ask = intake(pb.RouteRequest(text="What is it?", segment="brave"), log_only=True, **brave)
    assert not ask.log_only
    request = pb.RouteRequest(text="What is it?", segment="rich", current_model="gpt-of-theirs")
    assert intake(request, log_only=True, **brave).log_only


def test_a_segment_may_be_log_only_without_a_policy_of_its_own() -> None:
    request = pb.RouteRequest(text="What is it?", segment="careful", current_model="x")
    ask = intake(request, segments={"careful": SegmentConfig(log_only=True)}, default_policy="thrifty")
    assert ask.policy == "thrifty"


def test_the_session_and_its_cache_are_passed_on() -> None:
    request = pb.RouteRequest(text="What is it?", session_id="chat", current_model="large", cached_tokens=0)
    ask = intake(request)
    assert (ask.session, ask.current_model, ask.cached_tokens) == ("chat", "large", 0)
    assert intake(pb.RouteRequest(text="What is it?")).cached_tokens is None


@pytest.mark.parametrize("field", ["session_id", "current_model"])
def test_names_that_are_too_long_are_refused(field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{field}: 257 characters"):
        intake(pb.RouteRequest(text="What is it?", **{field: "x" * 257}))  # type: ignore[arg-type]
