from collections.abc import Sequence

import pytest

from benchmarks.prompts import batches, conversations, requests, salted, texts
from sidecar.lanes.intake import Conversation
from sidecar.scoring.recipe import TextRecipe
from sidecar.scoring.text import window_of_text, window_of_turns
from sidecar.wire import router_pb2 as pb


@pytest.mark.parametrize("chars", [20, 21, 200, 2000, 100_000])
def test_prompts_have_exactly_the_length_that_was_asked_for_and_are_all_different(chars: int) -> None:
    made = texts(chars, 40, 1)
    assert {len(text) for text in made} == {chars}
    assert len(set(made)) == 40


def test_the_same_seed_gives_the_same_prompts_and_another_seed_others() -> None:
    assert texts(200, 5, 3) == texts(200, 5, 3)
    assert not set(texts(200, 5, 3)) & set(texts(200, 5, 4))


def test_a_prompt_too_short_for_its_salt_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        texts(19, 1, 1)


def test_long_prompts_come_in_a_number_that_fits_into_memory() -> None:
    assert len(texts(1_000_000, 10_000, 1)) < 200


def test_requests_carry_the_text_and_several_segments() -> None:
    parsed = [pb.RouteRequest.FromString(raw) for raw in requests(50, 8, 1)]
    assert [request.text for request in parsed] == texts(50, 8, 1)
    assert len({request.segment for request in parsed}) > 1


@pytest.mark.parametrize("chars", [20, 500, 501, 1000, 1499, 2000, 12_345])
def test_a_conversation_alternates_and_ends_with_the_user(chars: int) -> None:
    (raw,) = conversations(chars, 1, 1)
    turns = pb.RouteRequest.FromString(raw).messages
    assert turns[0].role == "system"
    assert turns[-1].role == "user"
    assert all(turn.role == ("user", "assistant")[index % 2] for index, turn in enumerate(turns[1:]))
    assert sum(len(turn.content) for turn in turns) == pytest.approx(chars, abs=1)


def test_a_batch_holds_whole_requests_in_order() -> None:
    items = requests(50, 10, 1)
    parsed = [pb.RouteBatchRequest.FromString(raw) for raw in batches(items, 4)]
    assert [len(batch.requests) for batch in parsed] == [4, 4]
    assert [item.SerializeToString() for item in parsed[1].requests] == list(items[4:8])


@pytest.mark.parametrize("chars", [20, 200, 2_000, 100_000])
def test_salted_anew_a_request_is_as_long_but_scored_by_another_window(chars: int) -> None:
    def windows(payloads: Sequence[bytes]) -> set[str]:
        found = map(pb.RouteRequest.FromString, payloads)
        recipe = TextRecipe()
        return {
            (
                window_of_turns(recipe, Conversation(one.messages))
                if one.messages
                else window_of_text(recipe, one.text)
            ).text
            for one in found
        }

    for made in (requests(chars, 20, 1), conversations(chars, 20, 1)):
        again, once_more = salted(made), salted(made)
        assert [len(raw) for raw in again] == [len(raw) for raw in made]
        assert len(windows(made) | windows(again) | windows(once_more)) == 60
