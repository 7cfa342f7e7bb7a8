import math

from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import CandidateConfig, Config
from sidecar.errors import NoCandidate
from sidecar.lanes.reply import FLOAT_FIELDS, MOST_NAMES, Replies, delimited, varint
from sidecar.routing.candidates import CandidateTable, join
from sidecar.routing.decision import choose, degrade
from sidecar.routing.decision_id import DecisionIds
from sidecar.routing.policy import Terms
from sidecar.routing.router import Decided
from sidecar.wire import router_pb2 as pb
from tests.routing.fleet import TRAINED, ask_for, scores_of, table_of


def replies_for(table: CandidateTable) -> Replies:
    return Replies(table, ("name", "1.0"), lambda: 12.000_900)


def ids(amount: int) -> list[str]:
    return DecisionIds(lambda: 0.0, process=1).take(amount).ids


def decided_of(table: CandidateTable, quality: list[tuple[float, float, float]]) -> Decided:
    asks = [ask_for(arrived=12.0, ready=12.000_010, terms=Terms(1.0), segment=str(i)) for i in range(len(quality))]
    expected, outcomes = choose(table, asks, scores_of(quality, novelty=0.25))
    return Decided(asks, expected, outcomes, ids(len(asks)), 12.000_050, 0.000_100, 0.000_200, 12.000_400, scored=True)


def decoded(encoded: object) -> pb.RouteResponse:
    assert isinstance(encoded, bytes)
    return pb.RouteResponse.FromString(encoded)


@given(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 3), min_size=1, max_size=6))
def test_what_is_encoded_by_hand_decodes_to_what_was_decided(quality: list[tuple[float, float, float]]) -> None:
    table = table_of()
    decided = decided_of(table, quality)
    for row, encoded in enumerate(replies_for(table).encode(decided)):
        reply = decoded(encoded)
        ranking = decided.outcomes[row].ranking  # type: ignore[union-attr]
        assert [entry.candidate for entry in reply.ranking] == [table.names[index] for index in ranking]
        for entry, index in zip(reply.ranking, ranking, strict=True):
            assert entry.quality == decided.expected.quality[row, index]
            assert math.isclose(entry.cost_usd, decided.expected.cost[row, index], rel_tol=1e-6)
            assert math.isclose(entry.utility_usd, decided.expected.utility[row, index], rel_tol=1e-6, abs_tol=1e-9)
        assert reply.segment == str(row)
        # Written the protobuf way it is the same message, so nothing in it is malformed or doubled.
        assert pb.RouteResponse.FromString(reply.SerializeToString()) == reply


def test_stages_are_told_in_microseconds() -> None:
    table = table_of()
    (encoded,) = replies_for(table).encode(decided_of(table, [(0.1, 0.2, 0.3)]))
    timings = decoded(encoded).timings
    stages = (timings.intake_us, timings.queue_us, timings.tokenize_us, timings.score_us, timings.decide_us)
    for told, true in zip(stages, (10, 40, 100, 200, 50), strict=True):
        assert abs(told - true) <= 1
    assert abs(timings.total_us - 900) <= 1
    assert timings.batch_size == 1


def test_the_gateways_name_and_the_candidates_name_are_both_given() -> None:
    table = join(Config(candidates=(CandidateConfig(name="large", model="vendor/large"),)), TRAINED)
    asks = [ask_for(admitted=table.offered)]
    expected, outcomes = choose(table, asks, scores_of([[0.1, 0.2, 0.3]]))
    (encoded,) = replies_for(table).encode(
        Decided(asks, expected, outcomes, ids(len(asks)), 0.0, 1e-6, 1e-6, 1e-5, scored=True)
    )
    reply = decoded(encoded)
    assert (reply.model, reply.ranking[0].candidate) == ("vendor/large", "large")


def test_a_degraded_reply_names_no_bundle_since_none_scored_it() -> None:
    table = table_of()
    expected, outcomes = degrade(table, [ask_for()])
    (encoded,) = replies_for(table).encode(
        Decided([ask_for()], expected, outcomes, ids(1), 0.0, 0.0, 0.0, 0.0, scored=False)
    )
    assert decoded(encoded).bundle_name == ""


def test_a_request_without_a_candidate_keeps_its_place_as_an_error() -> None:
    table = table_of()
    asks = [ask_for(), ask_for(limited=True, terms=Terms(1.0, min_quality=1.0)), ask_for()]
    expected, outcomes = choose(table, asks, scores_of([[0.1, 0.2, 0.3]] * 3))
    first, second, third = replies_for(table).encode(
        Decided(asks, expected, outcomes, ids(len(asks)), 0.0, 1e-6, 1e-6, 1e-5, scored=True)
    )
    assert isinstance(second, NoCandidate)
    assert decoded(first).decision_id != decoded(third).decision_id


def plainly(table: CandidateTable, decided: Decided) -> list[bytes]:
    """The rankings as protobuf itself writes them."""
    ranked = []
    for row, outcome in enumerate(decided.outcomes):
        reply = pb.RouteResponse()
        for index in outcome.ranking:  # type: ignore[union-attr]
            of = {name: float(column[row, index]) for name, column in zip(FLOAT_FIELDS, decided.expected, strict=False)}
            reply.ranking.add(candidate=table.names[index], model=table.rows[index].model, **of)
        ranked.append(reply.SerializeToString())
    return ranked


@given(st.lists(st.tuples(*[st.floats(2**-10, 1, width=32)] * 3), min_size=1, max_size=40))
def test_rankings_without_a_zero_are_to_the_byte_what_protobuf_writes(
    quality: list[tuple[float, float, float]],
) -> None:
    table = table_of(*(CandidateConfig(name=trained.name, first_token_seconds=0.5) for trained in TRAINED))
    replies, decided = replies_for(table), decided_of(table, quality)
    for encoded, wanted in zip(replies.encode(decided), plainly(table, decided), strict=True):
        assert isinstance(encoded, bytes)
        assert encoded.endswith(wanted)


NAMES = st.text(max_size=200)


@given(NAMES, NAMES, NAMES, NAMES, st.sampled_from([0.0, 0.25, 1.0]), st.integers(0, 2**32 - 1))
def test_a_reply_is_to_the_byte_what_protobuf_writes(
    segment: str, envelope: str, policy: str, current: str, novelty: float, tokens: int
) -> None:
    table = table_of()
    replies, decided = replies_for(table), decided_of(table, [(0.1, 0.2, 0.3)])
    log_only = bool(current)
    ask = decided.asks[0]._replace(
        segment=segment,
        envelope=envelope,
        policy=policy,
        prompt_tokens=tokens,
        current_model=current,
        log_only=log_only,
    )
    (choice,) = decided.outcomes
    changed = decided._replace(asks=[ask], outcomes=[choice._replace(novelty=novelty)])  # type: ignore[union-attr]
    for _ in range(2):  # the second time, all that is remembered is remembered
        (encoded,) = replies.encode(changed)
        reply = decoded(encoded)
        assert (reply.segment, reply.envelope, reply.policy, reply.prompt_tokens) == (segment, envelope, policy, tokens)
        assert (reply.novelty, reply.applied, reply.decision_id) == (novelty, not log_only, decided.ids[0])
        assert reply.model == (current if log_only else reply.ranking[0].model)
        for written_apart in ("ranking", "reasons", "bundle_name", "bundle_version"):
            reply.ClearField(written_apart)
        assert encoded.startswith(reply.SerializeToString())  # type: ignore[union-attr]


def test_a_message_that_lives_on_holds_no_text_since_its_memory_would_only_grow() -> None:
    table = table_of()
    replies = replies_for(table)
    list(replies.encode(decided_of(table, [(0.1, 0.2, 0.3)])))
    assert {field.name for field, _ in replies._numbers.ListFields()} <= {"applied", "prompt_tokens", "timings"}


def test_names_are_remembered_up_to_a_bound() -> None:
    table = table_of()
    replies, decided = replies_for(table), decided_of(table, [(0.1, 0.2, 0.3)])
    for number in range(MOST_NAMES + 10):
        asks = [decided.asks[0]._replace(segment=f"segment {number}")]
        assert decoded(next(replies.encode(decided._replace(asks=asks)))).segment == f"segment {number}"
    assert len(replies._names) <= MOST_NAMES


@given(st.integers(1, 5))
def test_a_ranking_is_cut_to_its_limit(limit: int) -> None:
    table = table_of()
    decided = decided_of(table, [(0.1, 0.2, 0.3), (0.3, 0.1, 0.2)])
    whole = list(replies_for(table).encode(decided))
    asks = [decided.asks[0]._replace(ranking_limit=limit), decided.asks[1]]
    cut = list(replies_for(table).encode(decided._replace(asks=asks)))
    wanted = decoded(whole[0])
    del wanted.ranking[limit:]
    assert decoded(cut[0]) == wanted
    assert cut[1] == whole[1]


@given(st.integers(0, 2**32 - 1))
def test_varints_are_protobufs(number: int) -> None:
    assert pb.Limits.FromString(b"\x08" + varint(number)).max_message_bytes == number


@given(st.text(max_size=300))
def test_delimited_fields_are_protobufs(text: str) -> None:
    encoded = delimited(pb.RouteRequest.TEXT_FIELD_NUMBER, text.encode())
    assert pb.RouteRequest.FromString(encoded).text == text
