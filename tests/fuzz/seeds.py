"""Where the fuzzer begins: requests of every kind that the contract knows, sound and wrong, made in code."""

from collections.abc import Iterator

from sidecar.scoring.envelopes import RULES, Form
from sidecar.wire import router_pb2 as pb
from tests.fuzz.target import MARK, encoded

# JSON deeper than any parser goes, in the shape of a tool's result.
DEEP = '[{"type": "tool_result", "content": ' + "[" * 5000
PLAIN = f"What is the capital of Portugal? {MARK}"
HARD = f"Prove that every compact manifold embeds. {MARK}"


def _turn(role: str, content: str) -> pb.ChatMessage:
    return pb.ChatMessage(role=role, content=content)


def _parts(*parts: pb.ContentPart) -> pb.ChatMessage:
    return pb.ChatMessage(role="user", parts=parts)


def requests() -> Iterator[pb.RouteRequest]:
    """Single requests."""
    yield pb.RouteRequest()
    yield from (
        pb.RouteRequest(text=text) for text in (PLAIN, " \n\t ", "x", "\u200b\u00e9\u4e16\U0001f600", "y " * 3000)
    )
    yield pb.RouteRequest(text=DEEP)
    yield pb.RouteRequest(messages=[_turn("user", PLAIN), _turn("user", DEEP)])
    yield pb.RouteRequest(text=PLAIN, messages=[_turn("user", PLAIN)])
    yield pb.RouteRequest(messages=[_turn("user", HARD)])
    yield pb.RouteRequest(messages=[_turn("system", "be kind"), _turn("assistant", "Shall I?"), _turn("user", "yes")])
    yield pb.RouteRequest(messages=[_turn("system", "be kind")])
    yield pb.RouteRequest(messages=[_turn("robot", PLAIN)])
    yield pb.RouteRequest(messages=[_turn("user", " ")] * 70 + [_turn("tool", "found")] * 5)
    yield pb.RouteRequest(messages=[pb.ChatMessage(role="assistant", tool_calls=["search"]), _turn("user", PLAIN)])
    yield pb.RouteRequest(messages=[_parts(pb.ContentPart(text=PLAIN), pb.ContentPart(image_url="data:,"))])
    yield pb.RouteRequest(messages=[_parts(pb.ContentPart(input_audio=""), pb.ContentPart(file=""))])
    yield pb.RouteRequest(messages=[_parts(pb.ContentPart())])
    yield pb.RouteRequest(messages=[pb.ChatMessage(role="user", content="a", parts=[pb.ContentPart(text="b")])])
    yield pb.RouteRequest(text=PLAIN, segment="acme", metadata={"tenant": "acme", "x": "y"}, tools=["search"])
    yield pb.RouteRequest(text=PLAIN, segment="s" * 300)
    yield pb.RouteRequest(text=PLAIN, prompt_tokens=2**32 - 1, max_output_tokens=2**32 - 1)
    yield pb.RouteRequest(text=PLAIN, max_output_tokens=0)
    yield pb.RouteRequest(text=PLAIN, ranking_limit=1)
    yield pb.RouteRequest(text=PLAIN, ranking_limit=0)
    for name in ("house", "quality", "none"):
        yield pb.RouteRequest(text=PLAIN, policy_name=name)
    for number in (0.01, 0.0, -1.0, float("nan"), float("inf"), 1e300):
        yield pb.RouteRequest(text=PLAIN, policy=pb.Policy(answer_value_usd=number))
        yield pb.RouteRequest(text=PLAIN, policy=pb.Policy(answer_value_usd=1, second_value_usd=number))
        yield pb.RouteRequest(text=PLAIN, constraints=pb.Constraints(min_quality=number, max_cost_usd=number))
    yield pb.RouteRequest(text=PLAIN, policy=pb.Policy(answer_value_usd=1, max_cost_usd=0.1, max_latency_ms=900))
    yield pb.RouteRequest(text=PLAIN, constraints=pb.Constraints(allow=["pro", "yi-6b-chat"], deny=["pro"]))
    yield pb.RouteRequest(text=PLAIN, constraints=pb.Constraints(deny=["gpt-9"], capabilities=["vision"]))
    yield pb.RouteRequest(text=PLAIN, constraints=pb.Constraints(max_latency_ms=1, capabilities=["telepathy"]))


def wrapped() -> Iterator[str]:
    """A prompt in each kind of envelope."""
    for rule in RULES:
        if rule.example:
            yield f"{rule.example}\n\n{PLAIN}"
        elif rule.form is Form.FENCE:
            yield f"```{rule.opening}\nnoise\n```\n{PLAIN}"
        elif rule.form is Form.HEADING:
            yield f"[{rule.opening}: noise]\nnoise\n\n{PLAIN}"
        elif rule.form in (Form.TAG, Form.BRACKET):
            start, end = "<>" if rule.form is Form.TAG else "[]"
            yield f"{start}{rule.opening}{end}\nnoise\n{start}/{rule.opening}{end}\n{PLAIN}"
        else:
            yield f"{rule.opening} noise\n{rule.closing} {PLAIN}"


def words() -> list[str]:
    """What the recipe looks for: the words that a mutation may put into a text."""
    marks = {f"<{rule.opening}>" for rule in RULES if rule.form is Form.TAG}
    marks |= {f"</{rule.opening}>" for rule in RULES if rule.form is Form.TAG}
    marks |= {f"[{rule.opening}]" for rule in RULES if rule.form in (Form.BRACKET, Form.HEADING)}
    marks |= {f"[/{rule.opening}]" for rule in RULES if rule.form is Form.BRACKET}
    marks |= {word for rule in RULES if rule.form in (Form.LABEL, Form.LEAD) for word in (rule.opening, rule.closing)}
    marks |= {f"```{rule.opening}\n" for rule in RULES if rule.form is Form.FENCE}
    marks |= {rule.example for rule in RULES}
    marks |= {
        "```",
        "\n```\n",
        "\n",
        "\n\n",
        "?",
        ":",
        "yes",
        "ok do option 2",
        "[",
        "{",
        "<",
        "\u200b",
        "\x00",
        "\x85",
    }
    marks |= {
        "\ufdfa" * 3,
        "\U0010ffff",
        "\u0130",
        "\u2028",
        "e\u0301",
        "user",
        "system",
        "tool",
        "pro",
        "vision",
        "house",
    }
    marks |= {DEEP, "<task>" * 500, "[/INST]" * 500}
    return sorted(marks - {""})


def seeds() -> list[bytes]:
    """All inputs to begin with."""
    single = list(requests())
    prompts = list(wrapped())
    made = [encoded(request) for request in single]
    made += [encoded(pb.RouteRequest(text=text)) for text in prompts]
    made += [encoded(pb.RouteRequest(messages=[_turn("user", text), _turn("user", text)])) for text in prompts[::4]]
    made += [encoded(pb.RouteBatchRequest(requests=single[at : at + 5])) for at in range(0, len(single), 5)]
    made += [encoded(pb.RouteBatchRequest(requests=[pb.RouteRequest()] * amount)) for amount in (0, 257)]
    made += [
        encoded(pb.RouteStreamRequest(sequence=2**64 - 1 - number, request=request))
        for number, request in enumerate(single)
    ]
    made.append(encoded(pb.RouteStreamRequest(sequence=3)))
    made += [whole[:-3] for whole in made[:8]]
    made += [whole.replace(MARK.encode(), b"\xff\xfe" + MARK.encode()[2:]) for whole in made[:12]]
    made += [bytes([method]) + tail for method in range(3) for tail in (b"", b"\xff" * 11, b"\x0a\x7f", b"\x0b\x0c")]
    return sorted(set(made) - {b""})
