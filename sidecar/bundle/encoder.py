"""Puts the scorer of an encoder together: on the CPU, or on a GPU with the CPU behind it."""

import logging
import weakref
from collections.abc import Callable
from functools import partial

from sidecar.bundle import golden as golden_vectors
from sidecar.bundle.device import model_for_device, open_device
from sidecar.bundle.manifest import GOLDEN_OF
from sidecar.bundle.verify import Verified
from sidecar.errors import BundleError, RouterError
from sidecar.scoring.bucketed import Bucketed, warm
from sidecar.scoring.failover import Failover
from sidecar.scoring.overlap import OverlappingScorer
from sidecar.scoring.pace import Limits, Pace
from sidecar.scoring.placement import Placement
from sidecar.scoring.providers import CPU, Choice, Wanted, choose, unusable
from sidecar.scoring.ragged import Ragged
from sidecar.scoring.runner import Runner
from sidecar.scoring.session import Session, available
from sidecar.scoring.tokenizer import Tokenizer
from sidecar.types import NoveltyMeasure

log = logging.getLogger(__name__)

# Kernels differ from shape to shape and from device to device; in half precision that shows in the third digit.
DEVICE_TOLERANCE = 0.01


class Encoder:
    """Makes the scorer of one bundle.

    Args:
        verified: the bundle.
        session: its model on the CPU.
        width: of its embedding.
        tokenizer: of the bundle.
        novelty: of the bundle.
        limits: what runs may take.
        golden: whether to check golden vectors on the device.
    """

    def __init__(
        self,
        verified: Verified,
        session: Session,
        width: int,
        tokenizer: Tokenizer,
        novelty: NoveltyMeasure,
        limits: Limits,
        *,
        golden: bool,
    ) -> None:
        self._verified = verified
        self._session = session
        self._width = width
        self._tokenizer = tokenizer
        self._novelty = novelty
        self._limits = limits
        self._golden = golden
        self._pace = Pace(limits)
        self._cpu = Ragged(session, verified.manifest.tokenizer.pad_id, limits.rows, unpadded=session.unpadded)

    def scorer(self, wanted: Wanted) -> tuple[OverlappingScorer, Placement]:
        """The scorer where it is wanted, warm and tried; and where that is.

        Raises:
            BundleError: a device is demanded, and the bundle has no model for it, or scores differently there.
            ConfigError: a device is demanded and cannot be had.
        """
        choice = choose(wanted, self._verified.manifest.family, available())
        if choice.provider == CPU:
            return self._on_cpu(choice.reason)
        if choice.demanded:
            model_for_device(self._verified)
        try:
            scorer, placement = self._on_device(choice)
        except Exception as error:  # ONNX Runtime has an exception type per status code, without a common base
            reason = str(error) if isinstance(error, RouterError) else f"it failed with {type(error).__name__}"
            if not choice.demanded:
                return self._on_cpu(f"{choice.provider} cannot be used: {reason}")
            raise unusable(wanted, reason) from error
        log.info("the model runs on %s: %s", placement.execution_provider, choice.reason)
        return scorer, placement

    def _on_cpu(self, reason: str) -> tuple[OverlappingScorer, Placement]:
        log.info("the model runs on %s: %s", CPU, reason)
        return self._scorer(Runner(self._cpu, self._pace)), Placement(CPU, reason)

    def _scorer(self, runner: Runner) -> OverlappingScorer:
        return OverlappingScorer(self._tokenizer.rows, runner, self._novelty, self._pace)

    def _on_device(self, choice: Choice) -> tuple[OverlappingScorer, Placement]:
        placement = Placement(choice.provider, choice.reason)
        make = partial(
            open_device,
            *(self._verified, choice, self._limits, self._session),
            width=self._width,
            last_id=self._tokenizer.last_id,
        )
        device = make()
        failover = Failover(device, self._cpu, lambda: _revived(make, me), placement, self._pace)
        runner = Runner(failover, self._pace)
        me = weakref.ref(runner)  # the thread must not keep alive what it ends with
        warm(device, runner.call)
        scorer = self._scorer(runner)
        self._check(scorer)
        if placement.fault:
            raise BundleError(placement.fault)
        return scorer, placement

    def _check(self, scorer: OverlappingScorer) -> None:
        if not self._golden:
            return
        name = model_for_device(self._verified)
        golden = GOLDEN_OF[name]
        vectors = golden_vectors.read(self._verified.goldens[name], len(self._verified.manifest.candidates), golden)
        tolerance = max(self._verified.manifest.golden_tolerance, DEVICE_TOLERANCE)
        golden_vectors.check(vectors, scorer, tolerance, golden)


def _revived(make: Callable[[], Bucketed], runner: "weakref.ref[Runner]") -> Bucketed:
    """A device anew, for a runner that has lost its own."""
    device = make()
    thread = runner()
    if thread is None:
        raise BundleError("the bundle's turn is over")
    warm(device, thread.call)
    return device
