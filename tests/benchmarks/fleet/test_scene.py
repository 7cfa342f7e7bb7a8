import numpy as np
import pytest

from benchmarks.cores import Cores
from benchmarks.fleet import settings
from benchmarks.fleet.candidates import Candidate
from benchmarks.fleet.scene import Scene, _expected
from benchmarks.fleet.workload import Questions
from sidecar.wire import router_pb2 as pb
from tests.benchmarks.fleet.conftest import Make

# What a blind sidecar that runs four times as fast expects of answers that are 20, 30 and 40 tokens long.
TOKENS, SPEED = (20.0, 30.0, 40.0), 4.0


@pytest.fixture
def fleet(make: Make) -> list[Candidate]:
    return [make(name, slots=5, first_token_s=0.5, token_s=0.1, slowdown=1.0) for name in ("small", "medium", "large")]


def reply(fleet: list[Candidate], ranking: list[int]) -> pb.RouteResponse:
    configured = settings.blind(fleet, SPEED)["candidates"]
    entries = [
        pb.RankedCandidate(
            candidate=fleet[index].name,
            quality=0.5 + index / 10,
            expected_seconds=configured[index]["first_token_seconds"]
            + TOKENS[index] * configured[index]["seconds_per_output_token"],
        )
        for index in ranking
    ]
    return pb.RouteResponse(ranking=entries)


def test_replies_tell_which_lengths_and_qualities_were_expected(fleet: list[Candidate], questions: Questions) -> None:
    rankings = [[2, 0, 1], [0, 1, 2], [1, 2, 0], [1, 0]]
    scene = Scene(fleet, questions, [0.5, 0.7, 0.75], None, Cores(None, None))
    expected = _expected(scene, rankings, [reply(fleet, ranking) for ranking in rankings], SPEED)
    np.testing.assert_allclose(expected.tokens[:3], [TOKENS] * 3, rtol=1e-5)
    np.testing.assert_allclose(expected.quality[:3], [[0.5, 0.6, 0.7]] * 3, rtol=1e-6)
    assert np.isnan(expected.tokens[3]).tolist() == [False, False, True]
    assert np.isnan(expected.quality[3]).tolist() == [False, False, True]
