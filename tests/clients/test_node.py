"""grpc-js, the client for Node, in the version that `node/package-lock.json` pins."""

import shutil
from pathlib import Path

import pytest

from tests.clients.building import built, needs, sh
from tests.clients.cases import ClientCases
from tests.clients.programs import Program

# The first test installs the packages.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HERE = Path(__file__).with_name("node")
PACKAGES = [HERE / "package.json", HERE / "package-lock.json"]


def install(folder: Path) -> None:
    for file in PACKAGES:
        shutil.copy(file, folder)
    try:
        sh(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    except AssertionError as fault:
        pytest.skip(f"the packages cannot be had: {fault}")


@pytest.fixture(scope="session")
def program() -> Program:
    needs("node", "npm")
    modules = built("node", PACKAGES, "", install) / "node_modules"
    return Program(("node", str(HERE / "client.js")), {"NODE_PATH": str(modules)})


class TestNode(ClientCases):
    """The scenarios."""
