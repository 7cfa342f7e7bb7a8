"""grpc-go, in the version that the system has (Debian: golang-google-grpc-dev with protobuf's second API)."""

import os
from pathlib import Path

import pytest

from tests.clients.building import built, needs, sh, version_of
from tests.clients.cases import ClientCases
from tests.clients.programs import PROTO, Program

# The first test builds the program.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SOURCE = Path(__file__).with_name("go") / "client.go"
CONTRACT = PROTO / "router" / "v1" / "router.proto"
# Where Debian puts the sources of Go's libraries.
LIBRARIES = Path("/usr/share/gocode")
NEEDED = ("google.golang.org/grpc", "google.golang.org/protobuf")


def build(folder: Path) -> None:
    (folder / "src").mkdir()
    named = "Mrouter/v1/router.proto=router.test/v1"
    outputs = ("--go_out=src", "--go-grpc_out=src", f"--go_opt={named}", f"--go-grpc_opt={named}")
    sh(["protoc", f"-I{PROTO}", *outputs, CONTRACT], folder)
    path = os.pathsep.join((str(folder), str(LIBRARIES)))
    sh(
        ["go", "build", "-o", "client", SOURCE],
        folder,
        GOPATH=path, GO111MODULE="off", GOFLAGS="", CGO_ENABLED="0", GOCACHE=str(folder / "cache"),
    )  # fmt: skip
    sh(["go", "clean", "-cache"], folder, GOCACHE=str(folder / "cache"))


@pytest.fixture(scope="session")
def program() -> Program:
    needs("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc")
    missing = [name for name in NEEDED if not (LIBRARIES / "src" / name).is_dir()]
    if missing:
        pytest.skip(f"Go's libraries are not installed: {', '.join(missing)} (Debian: golang-google-grpc-dev)")
    return Program((str(built("go", [SOURCE, CONTRACT], version_of("go", "version"), build) / "client"),))


class TestGo(ClientCases):
    """The scenarios."""
