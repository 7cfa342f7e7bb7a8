"""The real sidecar in the loop: it decides for the simulated gateway, hears the outcomes and sees the telemetry."""

import time
from collections.abc import Callable, Sequence

from benchmarks.fleet.asking import Reports, Routed, Sidecar, payloads
from benchmarks.fleet.calendar import Calendar
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.gateway import Gateway, Journey
from benchmarks.fleet.replay import Paced
from benchmarks.fleet.scene import Backstage, Scene, policy
from benchmarks.fleet.servers import Call
from benchmarks.fleet.workload import Workload

CHANNELS = 2


async def closed_loop(
    scene: Scene,
    address: str,
    backstage: Backstage,
    asked: Workload,
    speed: float,
    *,
    fleet: Sequence[Candidate] | None = None,
    first_token_timeout_s: float = float("inf"),
    prepare: Callable[[Gateway], None] = lambda _gateway: None,
) -> tuple[list[Journey], Gateway]:
    """The sidecar decides every request of a workload and hears what became of it.

    Args:
        scene: questions, and the fleet if no other one is given.
        address: of the sidecar.
        backstage: shows the servers' metrics.
        asked: what comes.
        speed: virtual seconds per real one.
        fleet: instead of the scene's, candidates of the same names.
        first_token_timeout_s: of the gateway, in virtual seconds.
        prepare: may enter events into the gateway's calendar.
    """
    made = payloads(scene.questions, scene.names, policy(scene.second_value_usd, speed))
    async with Sidecar(address, CHANNELS) as sidecar:
        reports = Reports(sidecar, scene.names, speed, scene.questions)

        def heard(journey: Journey, candidate: int, call: Call) -> None:
            headers = gateway.servers[candidate].limits() if scene.headers else {}
            reports.heard(journey, candidate, call, headers)

        gateway = Gateway(fleet or scene.fleet, scene.questions, Calendar(), first_token_timeout_s, heard)
        prepare(gateway)
        backstage.gateway = gateway
        try:
            paced = Paced(gateway, speed, time.perf_counter)
            journeys = await paced.run(asked, Routed(sidecar, made, scene.names), reports.close)
        finally:
            backstage.gateway = None
    return journeys, gateway
