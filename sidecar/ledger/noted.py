"""Decisions on their way into the journal: the hot path leaves references, the journal's thread makes records of them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import groupby
from typing import NamedTuple

import numpy as np

from sidecar.errors import ConfigError
from sidecar.faults import place
from sidecar.ledger.records import DecisionBatch
from sidecar.ledger.settings import LedgerConfig
from sidecar.routing.ask import Ask
from sidecar.routing.decision import Choice, Expectations, Outcome, Reason
from sidecar.routing.exclusion import Exclusions
from sidecar.types import Floats

log = logging.getLogger(__name__)

# A record of so many is well below a megabyte, and its fixed costs are shared by enough.
MOST_ROWS = 512
# Of what is expected the first are kept: quality, cost, seconds, utility.
MEASURES = 4
ONE_BYTE = 256
Redact = Callable[[str], str | None]


class Origin(NamedTuple):
    """What a router's decisions have in common; made once for each router.

    Attributes:
        bundle: name, version and digest of its manifest; empty strings if there is none.
        candidates: [C] names in output order.
        models: [C] the names that the gateway knows.
        offered: [C] whether the operator offers it; empty: all are.
        windows: [C] tokens of its context, inf where unknown; empty: nobody's is known.
    """

    bundle: tuple[str, str, str]
    candidates: tuple[str, ...]
    models: tuple[str, ...]
    offered: tuple[bool, ...] = ()
    windows: tuple[float, ...] = ()


class Noted(NamedTuple):
    """A batch of decisions as it was made. Nothing in it may be changed afterwards.

    Attributes:
        origin: of the router that decided.
        ids: [B] decision ids of 32 hexadecimal digits, in lower case.
        asks: [B].
        outcomes: [B]; requests that got no candidate are left out of the ledger.
        expected: each part [B, C].
        embedding: [B, D]; None if there is none.
    """

    origin: Origin
    ids: Sequence[str]
    asks: Sequence[Ask]
    outcomes: Sequence[Outcome]
    expected: Expectations
    embedding: Floats | None = None


class Recorder:
    """Makes records of what was noted.

    Args:
        keep_prompt: gives what may be kept of a prompt, or None; None keeps no prompt at all.

    Attributes:
        unredacted: prompts that were not kept, since the hook failed.
    """

    def __init__(self, keep_prompt: Redact | None) -> None:
        self.unredacted = 0
        self._keep_prompt = keep_prompt
        self._reasons: dict[tuple[Reason, ...], str] = {}
        self._exclusions: tuple[Origin, Exclusions] | None = None  # of the latest origin

    def __call__(self, noted: Sequence[Noted]) -> Iterator[DecisionBatch]:
        """Records of batches; neighbours of one origin share one."""
        for (origin, _), neighbours in groupby(noted, key=lambda batch: (batch.origin, _width(batch))):
            together: list[Noted] = []
            rows = 0
            for batch in neighbours:
                if together and rows + len(batch.ids) > MOST_ROWS:
                    yield self._record(origin, together)
                    together, rows = [], 0
                together.append(batch)
                rows += len(batch.ids)
            yield self._record(origin, together)

    def _record(self, origin: Origin, batches: Sequence[Noted]) -> DecisionBatch:
        one = batches[0] if len(batches) == 1 else _joined(origin, batches)
        choices = [outcome for outcome in one.outcomes if isinstance(outcome, Choice)]
        if len(choices) < len(one.outcomes):
            one = _rows(one, [row for row, outcome in enumerate(one.outcomes) if isinstance(outcome, Choice)])
        asks = one.asks
        expected = np.array(one.expected[:MEASURES], "<f4").transpose(1, 0, 2)
        rankings = [choice.ranking for choice in choices]
        excluded = self._excluded(origin)
        pack: Callable[[list[int]], bytes] = bytes if len(origin.candidates) <= ONE_BYTE else _two_bytes
        return DecisionBatch(
            bundle=origin.bundle,
            candidates=origin.candidates,
            models=origin.models,
            ids=bytes.fromhex("".join(one.ids)),
            segments=[ask.segment for ask in asks],
            sessions=[ask.session for ask in asks],
            policies=[ask.policy for ask in asks],
            values=[ask.terms.answer_value_usd for ask in asks],
            seconds=[ask.terms.second_value_usd for ask in asks],
            chosen=[ranking[0] for ranking in rankings],
            applied=[not ask.log_only for ask in asks],
            current=[ask.current_model for ask in asks],
            propensity=[choice.propensity for choice in choices],
            reasons=[self._named(choice.reasons) for choice in choices],
            novelty=[choice.novelty for choice in choices],
            prompt_tokens=[ask.prompt_tokens for ask in asks],
            expected=expected.tobytes(),
            rankings=[pack(ranking) for ranking in rankings],
            width=_width(one),
            embedding=b"" if one.embedding is None else one.embedding.astype("<f2").tobytes(),
            prompts=[] if self._keep_prompt is None else [self._kept(ask.text) for ask in asks],
            exclusions=[
                excluded(ask, choice, one.expected, row)
                for row, (ask, choice) in enumerate(zip(asks, choices, strict=True))
            ],
        )

    def _excluded(self, origin: Origin) -> Exclusions:
        if self._exclusions is None or self._exclusions[0] is not origin:
            self._exclusions = origin, Exclusions(origin.offered, origin.windows)
        return self._exclusions[1]

    def _named(self, reasons: tuple[Reason, ...]) -> str:
        named = self._reasons.get(reasons)
        if named is None:
            named = self._reasons[reasons] = ",".join(Reason(reason).name for reason in reasons)
        return named

    def _kept(self, prompt: str) -> str | None:
        assert self._keep_prompt is not None  # noqa: S101 - else this is not called
        try:
            kept = self._keep_prompt(prompt)
            if not (kept is None or isinstance(kept, str)):
                raise TypeError("the hook must give text or None")  # noqa: TRY301 - it counts as a failure of the hook
        except Exception as error:  # noqa: BLE001 - whatever the hook does, the decision is recorded
            if not self.unredacted:
                log.error("ledger.redact fails; such prompts are not kept: %s", place(error))  # noqa: TRY400 - no quote
            self.unredacted += 1
            return None
        return kept


def prompt_rule(config: LedgerConfig) -> Redact | None:
    """What is kept of prompts; None: nothing.

    Raises:
        ConfigError: the hook cannot be had.
    """
    if not config.store_prompts:
        return None
    if not config.redact:
        return lambda prompt: prompt
    module, _, function = config.redact.partition(":")
    try:
        hook = getattr(import_module(module), function)
    except (ImportError, AttributeError):
        raise ConfigError(
            f"ledger.redact: {config.redact!r} cannot be imported; put the module on PYTHONPATH of the sidecar."
        ) from None
    if not callable(hook):
        raise ConfigError(f"ledger.redact: {config.redact!r} is no function.")
    redact: Redact = hook
    return redact


def _rows(batch: Noted, rows: list[int]) -> Noted:
    """The batch with these of its rows."""
    return Noted(
        batch.origin,
        [batch.ids[row] for row in rows],
        [batch.asks[row] for row in rows],
        [batch.outcomes[row] for row in rows],
        Expectations(*(part[rows] for part in batch.expected)),
        None if batch.embedding is None else batch.embedding[rows],
    )


def _joined(origin: Origin, batches: Sequence[Noted]) -> Noted:
    embeddings = [batch.embedding for batch in batches if batch.embedding is not None]
    return Noted(
        origin,
        [name for batch in batches for name in batch.ids],
        [ask for batch in batches for ask in batch.asks],
        [outcome for batch in batches for outcome in batch.outcomes],
        Expectations(*(np.concatenate(parts) for parts in zip(*(batch.expected for batch in batches), strict=True))),
        np.concatenate(embeddings) if embeddings else None,
    )


def _width(batch: Noted) -> int:
    return 0 if batch.embedding is None else int(batch.embedding.shape[1])


def _two_bytes(ranking: list[int]) -> bytes:
    return np.array(ranking, "<u2").tobytes()
