"""What a configuration may say, and is hardly meant: told to the operator, and served all the same."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from sidecar.bundle.manifest import TrainedCandidate
from sidecar.config import CandidateConfig, Config
from sidecar.misfit import nearest

# Prices fall to a tenth in a few years; in other units than USD per million tokens they are off by a thousand or more.
FAR_OFF = 50.0


def doubts(config: Config, trained: Sequence[TrainedCandidate] = ()) -> list[str]:
    """What may not be meant, each with the key and what is meant perhaps.

    Args:
        config: checked.
        trained: candidates of the bundle, where it is at hand.
    """
    bundle = {candidate.name: candidate for candidate in trained}
    offered = {candidate.name for candidate in config.candidates} or bundle.keys()
    return [
        *_unrecorded(config),
        *_segments(config),
        *_budgets(config, offered),
        *_prices(config.candidates, bundle),
    ]


def _unrecorded(config: Config) -> Iterator[str]:
    if config.ledger.directory:
        return
    if config.log_only:
        yield "log_only: nothing is recorded, since there is no ledger; set ledger.directory."
    for name, entry in config.segments.items():
        if entry.log_only:
            yield f"segments.{name}.log_only: nothing is recorded, since there is no ledger; set ledger.directory."


def _segments(config: Config) -> Iterator[str]:
    for budget in config.budgets:
        for segment in budget.segments:
            if segment not in config.segments and (hint := nearest(segment, config.segments)):
                yield f"budgets.{budget.name}.segments: {segment!r} is not among [segments]{hint}."


def _budgets(config: Config, offered: Collection[str]) -> Iterator[str]:
    for budget in config.budgets:
        if budget.when_used_up == "last_resort" and (
            not budget.candidates or (offered and set(budget.candidates) >= set(offered))
        ):
            yield (
                f"budgets.{budget.name}.candidates: covers all of them, so when it is used up a last resort answers all the "
                "same (reason LAST_RESORT), and spending goes on; leave a candidate out of it that may always answer, set "
                'when_used_up = "refuse", or have the gateway heed the reason.'
            )


def _prices(candidates: Sequence[CandidateConfig], trained: Mapping[str, TrainedCandidate]) -> Iterator[str]:
    for candidate in candidates:
        path = f"candidates.{candidate.name}"
        known = trained.get(candidate.name)
        for key in ("input_usd_per_mtok", "output_usd_per_mtok"):
            price = getattr(candidate, key)
            before = getattr(known, key) if known else 0.0
            if price and before and not before / FAR_OFF <= price <= before * FAR_OFF:
                yield f"{path}.{key}: is {price:g}, and was {before:g} at training; prices are USD per million tokens."
        whole = candidate.input_usd_per_mtok
        if whole is None and known:
            whole = known.input_usd_per_mtok
        cached = candidate.cached_input_usd_per_mtok
        if cached is not None and whole is not None and cached > whole:
            yield f"{path}.cached_input_usd_per_mtok: is {cached:g}, more than a token that is not cached ({whole:g})."
