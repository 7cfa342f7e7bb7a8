"""grpcio's two clients, in whatever version this environment has: `make test` and `make test-newest` have different ones."""

import sys

import pytest

from tests.clients.cases import ClientCases
from tests.clients.programs import ROOT, Program


@pytest.fixture(params=["sync", "aio"])
def program(request: pytest.FixtureRequest) -> Program:
    return Program((sys.executable, "-m", f"tests.clients.python.{request.param}"), {"PYTHONPATH": str(ROOT)})


class TestPython(ClientCases):
    """The scenarios."""
