"""What all parts of the benchmark share: the fleet, the questions, the load-blind decisions and where these saturate."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np

from benchmarks.cores import Cores
from benchmarks.fleet import settings
from benchmarks.fleet.asking import Sidecar, payloads
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.exposition import MetricsServer, exposition
from benchmarks.fleet.gateway import Gateway
from benchmarks.fleet.workload import Matrix, Questions, read_questions
from benchmarks.server import Server, ServerFault, sidecar_command
from sidecar.bundle.embedded import DEFAULT_BUNDLE
from sidecar.bundle.load import load
from sidecar.config import Config
from sidecar.wire import router_pb2 as pb

# The built-in policy `thrifty`: one candidate is the favourite of most prompts, which is what saturates a fleet. A second
# of waiting costs a twenty-fifth of what an acceptable answer is worth: as much as 4 points of quality.
ANSWER_VALUE_USD = 0.005
SECOND_VALUE_USD = 2e-4
IN_FLIGHT = 32
LAST_WORDS = 8


@dataclass(frozen=True)
class Scene:
    """Everything that does not change between runs.

    Attributes:
        fleet: the candidates.
        questions: with a column for each of them.
        prior_quality: of each on the training data.
        bundle: directory; None is the embedded default.
        cores: who runs where.
        telemetry: whether self-hosted candidates have /metrics.
        headers: whether hosted ones send rate-limit headers.
        second_value_usd: what a virtual second of waiting costs.
    """

    fleet: Sequence[Candidate]
    questions: Questions
    prior_quality: Sequence[float]
    bundle: Path | None
    cores: Cores
    telemetry: bool = True
    headers: bool = True
    second_value_usd: float = SECOND_VALUE_USD

    @property
    def names(self) -> list[str]:
        """Of the candidates."""
        return [candidate.name for candidate in self.fleet]


class Expected(NamedTuple):
    """What the bundle expects of the answers, each [N, C]; NaN where the candidate cannot be chosen.

    Attributes:
        quality: probability that they are acceptable.
        tokens: their lengths.
    """

    quality: Matrix
    tokens: Matrix


NOTHING_EXPECTED = Expected(np.empty((0, 0)), np.empty((0, 0)))


@dataclass(frozen=True)
class Blind:
    """What the router decides that cannot see the load.

    Attributes:
        rankings: by question.
        favourite: the candidate that saturates first.
        saturation_per_s: requests per virtual second at which it does.
        expected: what its decisions rest on.
    """

    rankings: Sequence[Sequence[int]]
    favourite: int
    saturation_per_s: float
    expected: Expected = NOTHING_EXPECTED


class Backstage:
    """Shows the metrics of whatever gateway is on.

    Attributes:
        gateway: that is on; None while there is none.
        speed: virtual seconds per real one.
    """

    def __init__(self) -> None:
        self.gateway: Gateway | None = None
        self.speed = 1.0

    def text(self, name: str) -> str | None:
        """A candidate's page; None without a gateway, and of those that have no metrics."""
        if self.gateway is None:
            return None
        server = next(server for server in self.gateway.servers if server.candidate.name == name)
        return None if server.candidate.hosted else exposition(server, self.speed)


def scene(
    data: Path,
    fleet: Sequence[Candidate],
    bundle: Path | None,
    cores: Cores,
    *,
    telemetry: bool = True,
    headers: bool = True,
    second_value_usd: float = SECOND_VALUE_USD,
) -> Scene:
    """Reads the questions; candidates must be known to the bundle. The arguments are the attributes of Scene.

    Raises:
        ServerFault: the bundle does not score one of them.
    """
    names = [candidate.name for candidate in fleet]
    manifest = load(bundle or DEFAULT_BUNDLE).manifest
    prior = {candidate.name: candidate.prior_quality for candidate in manifest.candidates}
    if unknown := [name for name in names if name not in prior]:
        raise ServerFault(f"the bundle does not score {', '.join(unknown)}; use one that does, as the embedded one.")
    quality = [prior[name] for name in names]
    return Scene(fleet, read_questions(data, names), quality, bundle, cores, telemetry, headers, second_value_usd)


def policy(second_value_usd: float, speed: float) -> pb.Policy:
    """The policy of all requests; a second of the sidecar is worth `speed` virtual ones."""
    return pb.Policy(answer_value_usd=ANSWER_VALUE_USD, second_value_usd=second_value_usd * speed)


@contextmanager
def started(scene: Scene, table: settings.Table) -> Iterator[Server]:
    """A sidecar with this configuration.

    Raises:
        ServerFault: it did not start, or refused a call; the message holds the end of its output.
    """
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        config = settings.write(Path(folder) / "sidecar.toml", table)
        core = scene.cores.server if table["workers"] == 1 else None
        with Server(sidecar_command(scene.bundle, config=config), core, kept_lines=LAST_WORDS) as server:
            try:
                yield server
            except grpc.aio.AioRpcError as failure:
                said = " | ".join(server.output()) or "nothing"
                raise ServerFault(
                    f"the sidecar refused a call: {failure.code().name}: {failure.details()}; the end of its output: {said}"
                ) from None


@contextmanager
def seeing(
    scene: Scene, fleet: Sequence[Candidate], speed: float, backstage: Backstage, *, workers: int = 1
) -> Iterator[Server]:
    """A sidecar that sees load as far as it can: live state, ledger, and telemetry of the self-hosted candidates."""
    with tempfile.TemporaryDirectory(prefix="ledger-") as ledger, MetricsServer(scene.names, backstage.text) as pages:
        backstage.speed = speed
        urls = {candidate.name: pages.url(candidate.name) for candidate in fleet if not candidate.hosted}
        table = settings.sighted(
            fleet, speed, workers=workers, metrics=urls if scene.telemetry else {}, ledger=Path(ledger)
        )
        with started(scene, table) as server:
            yield server


def sees_load() -> bool:
    """Whether this version of the sidecar can be told to look at the load."""
    return settings.offers(Config, "fleet")


def blind_decisions(scene: Scene, speed: float = 1.0) -> Blind:
    """Asks a load-blind sidecar every question once, over gRPC."""
    with started(scene, settings.blind(scene.fleet, speed)) as server:
        replies = asyncio.run(_ask_all(server.address, scene))
    index = {name: number for number, name in enumerate(scene.names)}
    rankings = [[index[entry.candidate] for entry in reply.ranking] for reply in replies]
    return replace(saturation(scene, rankings), expected=_expected(scene, rankings, replies, speed))


def saturation(scene: Scene, rankings: Sequence[Sequence[int]]) -> Blind:
    """The load at which the first candidate has as much to do as it can, if each question comes equally often."""
    chosen = np.array([ranking[0] for ranking in rankings])
    load = np.zeros(len(scene.fleet))
    for index, candidate in enumerate(scene.fleet):
        own = np.flatnonzero(chosen == index)
        busy = [
            1.0
            / candidate.capacity_per_s(scene.questions.prompt_tokens[question], scene.questions.tokens[question, index])
            for question in own
        ]
        load[index] = sum(busy) / len(chosen)  # seconds of the whole server that a request takes on average
    favourite = int(load.argmax())
    return Blind(rankings, favourite, float(1.0 / load[favourite]))


def _expected(
    scene: Scene, rankings: Sequence[Sequence[int]], replies: Sequence[pb.RouteResponse], speed: float
) -> Expected:
    """Replies state seconds, which follow from tokens as configured."""
    quality, tokens = np.full((2, len(scene.questions), len(scene.fleet)), np.nan)
    for row, (ranking, reply) in enumerate(zip(rankings, replies, strict=True)):
        for index, entry in zip(ranking, reply.ranking, strict=True):
            candidate = scene.fleet[index]
            quality[row, index] = entry.quality
            seconds = entry.expected_seconds * speed - candidate.first_token_s
            tokens[row, index] = max(1.0, seconds / settings.usual_token_s(candidate))
    return Expected(quality, tokens)


async def _ask_all(address: str, scene: Scene) -> list[pb.RouteResponse]:
    made = payloads(scene.questions, scene.names, policy(0.0, 1.0))
    ask = _few_at_a_time(IN_FLIGHT)
    async with Sidecar(address) as sidecar:
        return await asyncio.gather(*(ask(sidecar, payload) for payload in made))


def _few_at_a_time(most: int) -> Callable[[Sidecar, bytes], "asyncio.Future[pb.RouteResponse]"]:
    gate = asyncio.Semaphore(most)

    async def ask(sidecar: Sidecar, payload: bytes) -> pb.RouteResponse:
        async with gate:
            return await sidecar.route(payload)

    return lambda sidecar, payload: asyncio.ensure_future(ask(sidecar, payload))
