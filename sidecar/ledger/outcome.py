"""An outcome: what somebody says became of a decision."""

import hashlib
import math
import re

import msgspec

from sidecar.errors import InvalidRequest

# Who knows better: a person who looked, a test that ran, a judge, the user's thumb, the gateway's own guess.
RANKS = {"human": 5, "test": 4, "judge": 3, "user": 2, "gateway": 1}
MOST_KEY, MOST_NAME, MOST_LABELS, MOST_LABEL = 128, 256, 32, 1024
MOST_TOKENS = 1 << 31
# Clocks of two machines do not differ by more; ids begin with the time, and are kept for as long as that says.
AHEAD_S = 86400.0
MEASURES = (
    "quality",
    "latency_ms",
    "ttft_ms",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cost_usd",
    "error",
)
_ID = re.compile(r"[0-9a-f]{32}")
_SOURCE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")


class Outcome(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One report about one decision. Fields that are None say nothing; other reports may.

    A later version may add fields at the end only: journals hold these values in their order.

    Attributes:
        decision_id: 32 hexadecimal digits.
        source: who says so: user, judge, test, human, gateway, or a word of your own. See RANKS.
        received: Unix seconds at which it came.
        observed: Unix seconds at which it was so; `received` if left out.
        key: names this report: a second one with the same decision and key changes nothing. Derived from the source and
            what is said if left out.
        model: that answered, by the name that the gateway knows or the candidate's; None: the one that was decided.
        shadow: whether that answer was made in the background, only to learn from.
        quality: in [0, 1].
        latency_ms: to the full answer.
        ttft_ms: to the first token.
        input_tokens: of the prompt.
        output_tokens: of the answer.
        cached_tokens: of the prompt, read from the provider's cache.
        cost_usd: of the call.
        error: kind of failure (a status or a word, not a message); empty says that there was none.
        labels: whatever else is to be kept.
    """

    decision_id: str
    source: str
    received: float
    observed: float = 0.0
    key: str = ""
    model: str | None = None
    shadow: bool = False
    quality: float | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cost_usd: float | None = None
    error: str | None = None
    labels: dict[str, str] = {}

    @property
    def rank(self) -> int:
        """How much its source counts, 0 to 5; words of your own count least."""
        return RANKS.get(self.source, 0)


def checked(outcome: Outcome) -> Outcome:
    """This outcome with its key and time, if it can be kept.

    Raises:
        InvalidRequest: the message names the field and the remedy.
    """
    if not _ID.fullmatch(outcome.decision_id):
        raise InvalidRequest("decision_id: is no id of a decision; give the 32 hexadecimal digits of Route's reply.")
    if not _SOURCE.fullmatch(outcome.source):
        raise InvalidRequest(
            f"source: must be one of {', '.join(RANKS)}, or a short word of your own in lower-case letters, digits and '-'."
        )
    if int(outcome.decision_id[:12], 16) / 1000 > outcome.received + AHEAD_S:
        raise InvalidRequest(
            "decision_id: begins with a time that is yet to come, so no sidecar made it; give the id of Route's reply."
        )
    _check_texts(outcome)
    _check_numbers(outcome)
    if outcome.shadow and not outcome.model:
        raise InvalidRequest("model: is missing; an outcome of a shadow call must say which model answered.")
    if not outcome.labels and all(getattr(outcome, name) is None for name in (*MEASURES, "model")):
        raise InvalidRequest(
            "outcome: says nothing; set quality, latency_ms, tokens, cost_usd, error, model or labels."
        )
    key, observed = outcome.key or _derived(outcome), outcome.observed or outcome.received
    return msgspec.structs.replace(outcome, key=key, observed=observed)


def _derived(outcome: Outcome) -> str:
    # Not of when it came: the same report, sent again for want of an answer, is the same.
    said = msgspec.structs.replace(outcome, received=0.0, labels=dict(sorted(outcome.labels.items())))
    return f"~{hashlib.blake2b(msgspec.msgpack.encode(said), digest_size=12).hexdigest()}"


def _check_numbers(outcome: Outcome) -> None:
    if outcome.quality is not None and not 0.0 <= outcome.quality <= 1.0:
        raise InvalidRequest("quality: must be from 0 to 1; rescale it.")
    for field in ("received", "observed", "latency_ms", "ttft_ms", "cost_usd"):
        value = getattr(outcome, field)
        if value is not None and not (math.isfinite(value) and value >= 0.0):
            raise InvalidRequest(f"{field}: must be a finite number of 0 or more.")
    for field in ("input_tokens", "output_tokens", "cached_tokens"):
        value = getattr(outcome, field)
        if value is not None and not 0 <= value <= MOST_TOKENS:
            raise InvalidRequest(f"{field}: must be from 0 to {MOST_TOKENS}.")


def _check_texts(outcome: Outcome) -> None:
    for field, text, most in (("key", outcome.key, MOST_KEY), ("model", outcome.model, MOST_NAME)):
        _check_text(field, text or "", most)
    _check_text("error", outcome.error or "", MOST_NAME)
    if len(outcome.labels) > MOST_LABELS:
        raise InvalidRequest(f"labels: at most {MOST_LABELS} are kept; send fewer.")
    for name, text in outcome.labels.items():
        _check_text("labels", name, MOST_NAME)
        _check_text("labels", text, MOST_LABEL)


def _check_text(field: str, text: str, most: int) -> None:
    if len(text) > most:
        raise InvalidRequest(f"{field}: has {len(text)} characters; {most} are the limit.")
    if "\0" in text:
        raise InvalidRequest(f"{field}: holds a NUL character; leave it out.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{field}: is no valid Unicode text.") from None
