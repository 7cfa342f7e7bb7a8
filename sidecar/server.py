"""Puts a sidecar together: configuration, bundle, router, services, lane. Everything is decided here, once."""

import gc
import logging
import time
from pathlib import Path

from sidecar.bundle.load import Bundle, load
from sidecar.config import Config
from sidecar.errors import BundleError
from sidecar.lanes.auto import LaneChoice, choose_lane
from sidecar.lanes.entrance import entrance_of
from sidecar.lanes.info import describe
from sidecar.lanes.intake import Intake
from sidecar.lanes.lane import Lane
from sidecar.lanes.reply import Replies
from sidecar.lanes.services import RouterServices
from sidecar.routing.candidates import CandidateTable, join, without_bundle
from sidecar.routing.decision_id import DecisionIds
from sidecar.routing.router import Router
from sidecar.scoring.recipe import TextRecipe

log = logging.getLogger(__name__)

DEFAULT_BUNDLE = Path(__file__).parent / "bundles" / "default"


class Server:
    """A sidecar that can be started once.

    Args:
        config: checked.

    Raises:
        ConfigError: the configuration does not fit the bundle, or the lane or the address cannot be had.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        directory = Path(config.bundle) if config.bundle else DEFAULT_BUNDLE
        try:
            self.bundle: Bundle | None = load(directory)
            fault = ""
        except BundleError as error:
            self.bundle = None
            fault = f"bundle {directory}: {error}"
        self.choice = choose_lane(config.lane)
        self.router, self._lane = _assemble(config, self.bundle, fault, self.choice)
        if fault:
            log.error("DEGRADED: %s; the safe candidate answers every request", fault)

    def start(self) -> str:
        """Serves; gives the address with the port that was chosen."""
        address = self._lane.start(self._config.listen)
        # What lives now lives as long as the process: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        return address

    def drain(self) -> None:
        """Health says NOT_SERVING, calls in flight may end; returns when all is closed."""
        self._lane.drain(self._config.drain_seconds)


def _assemble(config: Config, bundle: Bundle | None, fault: str, choice: LaneChoice) -> tuple[Router, Lane]:
    clock = time.perf_counter
    table: CandidateTable = join(config, bundle.manifest.candidates) if bundle else without_bundle(config, fault)
    router = Router(table, bundle.scorer if bundle else None, clock, fault)
    recipe = bundle.manifest.text_recipe if bundle else TextRecipe()
    version = (bundle.manifest.name, bundle.manifest.version) if bundle else ("", "")
    services = RouterServices(
        router,
        Intake(config, table, recipe, clock),
        Replies(table, version, DecisionIds(time.time), clock),
        clock,
        info=describe(config, bundle, router, choice),
        max_score_batch=config.max_score_batch,
        max_batch_items=config.max_batch_items,
    )
    lane: Lane = choice.make(services, entrance_of(config), fault)
    router.on_fault = lane.report
    return router, lane
