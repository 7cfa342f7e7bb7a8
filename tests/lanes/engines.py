"""Engines and services without a transport: the test is the transport's thread."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import msgspec

from sidecar.batching import Caller
from sidecar.bundle.load import Bundle
from sidecar.config import Config
from sidecar.coverage import Coverage
from sidecar.lanes.canary import Canary
from sidecar.lanes.engine import Engine
from sidecar.lanes.lane import Encoded
from sidecar.lanes.services import ROUTE, RouterServices
from sidecar.routing.decision_id import DecisionIds
from sidecar.wire import router_pb2 as pb

FOREVER_S = 60.0


class Patient:
    """A caller who waits for ever."""

    gone = False
    expires = float("inf")

    def waker(self) -> Callable[[], None]:
        return lambda: None

    def resume(self, then: Callable[[], None]) -> Callable[[], None]:
        return then


PATIENT: Caller = Patient()


def of_version(bundle: Bundle, version: str) -> Bundle:
    """The same bundle, as if it were of another version."""
    manifest = msgspec.structs.replace(bundle.manifest, version=version)
    return replace(bundle, manifest=manifest, manifest_sha256=sha256(version.encode()).hexdigest())


class Bench:
    """Services whose transport is the test.

    Attributes:
        services: ours.
        replies: what was delivered, by key.
        faults: what was passed on.
    """

    def __init__(self, bundle: Bundle | None, **settings: Any) -> None:
        self.config = Config(**settings).checked()
        self.coverage = Coverage()
        self.replies: dict[Any, Encoded] = {}
        self.faults: list[str] = []
        self.services: RouterServices = RouterServices(
            self.config,
            self.engine(bundle),
            self.coverage,
            clock=time.perf_counter,
            on_fault=self.faults.append,
        )

    def engine(self, bundle: Bundle | None, fault: str = "") -> Engine:
        return Engine(
            self.config,
            bundle,
            fault,
            ids=DecisionIds(time.time),
            coverage=self.coverage,
            clock=time.perf_counter,
            on_fault=lambda engine, reason: self.services.fault(engine, reason),  # noqa: PLW0108 - the first comes before them
        )

    def take(self, key: Any, text: str = "what is the capital", **fields: Any) -> None:
        raw = pb.RouteRequest(text=text, **fields).SerializeToString()
        self.services.unary[ROUTE].take(raw, self.replies.__setitem__, key, PATIENT)

    def version(self, key: Any) -> str:
        reply = self.replies[key]
        assert isinstance(reply, bytes)
        return str(pb.RouteResponse.FromString(reply).bundle_version)

    def route(self, text: str = "what is the capital", **fields: Any) -> str:
        """The version that scores a request."""
        self.take("now", text, **fields)
        self.services.flush()
        return self.version("now")

    def ask_to_switch(
        self, engine: Engine, canary: Canary | None = None, patience_s: float = FOREVER_S
    ) -> Callable[[float], bool | None]:
        """Asks from another thread; gives a function that waits for the answer so long, None if there is none yet."""
        answer: list[bool] = []
        asker = threading.Thread(target=lambda: answer.append(self.services.switch(engine, canary, patience_s)))
        asker.start()

        def answered(wait_s: float) -> bool | None:
            asker.join(wait_s)
            return answer[0] if answer else None

        return answered

    def switch(self, engine: Engine, canary: Canary | None = None) -> None:
        """Switches, with as many flushes as that takes."""
        answered = self.ask_to_switch(engine, canary)
        while (done := answered(0.001)) is None:
            self.services.flush()
        assert done
