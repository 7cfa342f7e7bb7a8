"""From a request on the wire to what the core decides on."""

import math
from collections.abc import Callable, Sequence
from typing import overload

import numpy as np

from sidecar.config import ENVELOPE_KEY, METADATA_KEY, SEGMENT_KEY, Config
from sidecar.errors import InvalidRequest
from sidecar.routing.ask import Ask
from sidecar.routing.candidates import MAX_NAME_CHARS, CandidateTable, Mask
from sidecar.routing.policy import Policy, Terms, limits
from sidecar.scoring.recipe import TextRecipe
from sidecar.scoring.text import window_of_text, window_of_turns
from sidecar.types import Turn, Window
from sidecar.wire import router_pb2 as pb

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
# What a part of a turn demands of the candidate; text demands nothing.
PART_CAPABILITIES = {"image_url": "vision", "input_audio": "audio", "file": "file"}
TOOLS = "tools"
INLINE = "inline"
# Characters per token where the caller does not say: the usual rule of thumb for English.
CHARS_PER_TOKEN = 4
MAX_SEGMENT_CHARS = 256
MAX_MODEL_CHARS = 256
MAX_SESSION_CHARS = 256

SegmentOf = Callable[[pb.RouteRequest, str], str]


class Intake:
    """Checks requests and makes Asks of them.

    Args:
        config: policies and segments.
        table: the candidates.
        recipe: of the running bundle.
        clock: monotonic seconds.
    """

    def __init__(self, config: Config, table: CandidateTable, recipe: TextRecipe, clock: Callable[[], float]) -> None:
        self._table = table
        self._recipe = recipe
        self._clock = clock
        self._terms = config.terms()
        self._default = config.default_policy
        self._policy_of_segment = {segment: entry.policy for segment, entry in config.segments.items() if entry.policy}
        self._log_only = config.log_only
        self._log_only_of_segment = {
            segment: entry.log_only for segment, entry in config.segments.items() if entry.log_only is not None
        }
        self._segment_of = _segment_rule(config.segment_keys)
        self._everything: Mask | None = None if table.offered.all() else table.offered

    def __call__(self, request: pb.RouteRequest, arrived: float) -> Ask:
        """Makes an Ask.

        Raises:
            InvalidRequest: the message names the field and the remedy.
        """
        needed: set[str] = set()
        text = request.text
        if text and not request.messages:
            window, chars = window_of_text(self._recipe, text), len(text)
        else:
            window, chars = self._converse(request, needed)
        segment = self._segment_of(request, window.envelope)
        if len(segment) > MAX_SEGMENT_CHARS:
            raise InvalidRequest(f"segment: {len(segment)} characters; give a name of at most {MAX_SEGMENT_CHARS}.")
        policy, terms = self._policy(request, segment)
        admitted = self._everything
        if request.tools:
            needed.add(TOOLS)
        if request.HasField("constraints"):
            terms = self._tightened(terms, request.constraints)
            admitted = self._admitted(request.constraints, needed)
        elif needed:
            admitted = self._capable(self._table.offered, needed)
        tokens = request.prompt_tokens or -(-chars // CHARS_PER_TOKEN)
        most = float(request.max_output_tokens) if request.HasField("max_output_tokens") else math.inf
        if most < 1:
            raise InvalidRequest("max_output_tokens is 0: give at least 1, or leave it out for no limit.")
        whole = tokens if most == math.inf else tokens + most
        log_only = self._log_only_of_segment.get(segment, self._log_only)
        current, session = request.current_model, request.session_id
        if log_only or current or session:
            _check_names(current, session, log_only=log_only)
        ranked = request.ranking_limit if request.HasField("ranking_limit") else None
        if ranked == 0:
            raise InvalidRequest("ranking_limit is 0: give at least 1, or leave it out for all candidates.")
        limited = terms[2:] != (0.0, math.inf, math.inf) or whole > self._table.smallest_window
        return Ask(
            window.text,
            window.envelope,
            segment,
            policy,
            terms,
            tokens,
            most,
            admitted,
            limited,
            arrived,
            self._clock(),
            session,
            current,
            request.cached_tokens if request.HasField("cached_tokens") else None,
            log_only,
            ranked,
        )

    def _converse(self, request: pb.RouteRequest, needed: set[str]) -> tuple[Window, int]:
        if request.text:
            raise InvalidRequest("text and messages are both set: send exactly one of them.")
        if not request.messages:
            raise InvalidRequest("text and messages are both empty: send the prompt as text, or the chat messages.")
        conversation = Conversation(request.messages)
        chars = conversation.check(needed)
        return window_of_turns(self._recipe, conversation), chars

    def _policy(self, request: pb.RouteRequest, segment: str) -> tuple[str, Terms]:
        which = request.WhichOneof("policy_choice")
        if which is None:
            name = self._policy_of_segment.get(segment, self._default)
            return name, self._terms[name]
        if which == "policy":
            return INLINE, _inline(request.policy)
        name = request.policy_name
        if name not in self._terms:
            raise InvalidRequest(
                f"policy_name: no policy is called {name[:MAX_NAME_CHARS]!r}; known are {', '.join(self._terms)}."
            )
        return name, self._terms[name]

    def _tightened(self, terms: Terms, constraints: pb.Constraints) -> Terms:
        return terms.tightened(
            *limits(
                "constraints",
                constraints.min_quality if constraints.HasField("min_quality") else None,
                constraints.max_cost_usd if constraints.HasField("max_cost_usd") else None,
                constraints.max_latency_ms if constraints.HasField("max_latency_ms") else None,
            )
        )

    def _admitted(self, constraints: pb.Constraints, needed: set[str]) -> Mask:
        admitted = self._table.offered
        if constraints.allow:
            admitted = admitted & self._named(constraints.allow, "constraints.allow")
        if constraints.deny:
            admitted = admitted & ~self._named(constraints.deny, "constraints.deny")
        return self._capable(admitted, needed.union(constraints.capabilities))

    def _capable(self, admitted: Mask, needed: set[str]) -> Mask:
        for capability in needed:
            admitted = admitted & self._table.capable(capability)
        return admitted

    def _named(self, names: Sequence[str], field: str) -> Mask:
        mask = np.zeros(len(self._table), np.bool_)
        for name in names:
            mask[self._table.index(name, field)] = True
        return mask


def _check_names(current: str, session: str, *, log_only: bool) -> None:
    if log_only and not current:
        raise InvalidRequest(
            "current_model is empty: this segment is in log-only mode, where the sidecar decides but the caller's own "
            "model answers; say which that is."
        )
    if len(current) > MAX_MODEL_CHARS:
        raise InvalidRequest(f"current_model: {len(current)} characters; give a name of at most {MAX_MODEL_CHARS}.")
    if len(session) > MAX_SESSION_CHARS:
        raise InvalidRequest(f"session_id: {len(session)} characters; give a name of at most {MAX_SESSION_CHARS}.")


def _inline(policy: pb.Policy) -> Terms:
    return Policy(
        answer_value_usd=policy.answer_value_usd,
        second_value_usd=policy.second_value_usd,
        min_quality=policy.min_quality,
        max_cost_usd=policy.max_cost_usd if policy.HasField("max_cost_usd") else None,
        max_latency_ms=policy.max_latency_ms if policy.HasField("max_latency_ms") else None,
    ).terms("policy")


class Conversation(Sequence[Turn]):
    """The turns of a request, made when they are looked at: of thousands the recipe wants the last few."""

    def __init__(self, messages: Sequence[pb.ChatMessage]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> Turn: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Turn]: ...
    def __getitem__(self, index: int | slice) -> Turn | Sequence[Turn]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        message = self._messages[index]
        if not message.parts:
            return Turn(message.role, message.content)
        return Turn(message.role, "\n".join(part.text for part in message.parts if part.HasField("text")))

    def check(self, needed: set[str]) -> int:
        """Checks every turn, adds to `needed` the capabilities that they demand, and counts their characters.

        Raises:
            InvalidRequest: the message names the turn.
        """
        chars = 0
        for index, message in enumerate(self._messages):
            chars += len(message.content)
            if message.role not in ROLES:
                raise InvalidRequest(
                    f"messages[{index}].role is {message.role[:32]!r}: give one of {', '.join(sorted(ROLES))}."
                )
            if message.tool_calls:
                needed.add(TOOLS)
            if message.parts:
                chars += _check_parts(index, message, needed)
        return chars


def _check_parts(index: int, message: pb.ChatMessage, needed: set[str]) -> int:
    if message.content:
        raise InvalidRequest(f"messages[{index}]: content and parts are both set; send one of them.")
    chars = 0
    for number, part in enumerate(message.parts):
        kind = part.WhichOneof("part")
        if kind is None:
            raise InvalidRequest(
                f"messages[{index}].parts[{number}] is empty: set text, image_url, input_audio or file."
            )
        if kind == "text":
            chars += len(part.text)
        else:
            needed.add(PART_CAPABILITIES[kind])
    return chars


def _segment_rule(keys: Sequence[str]) -> SegmentOf:
    if tuple(keys) == (SEGMENT_KEY,):
        return lambda request, _envelope: request.segment
    getters = [_getter(key) for key in keys]
    return lambda request, envelope: "/".join(filter(None, (get(request, envelope) for get in getters)))


def _getter(key: str) -> SegmentOf:
    if key == SEGMENT_KEY:
        return lambda request, _envelope: request.segment
    if key == ENVELOPE_KEY:
        return lambda _request, envelope: envelope
    name = key.removeprefix(METADATA_KEY)
    return lambda request, _envelope: request.metadata.get(name, "")
