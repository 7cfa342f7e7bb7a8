"""gRPC's client for C++, in the version that the system has (Debian: libgrpc++-dev, protobuf-compiler-grpc)."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients.building import built, needs, sh, version_of
from tests.clients.cases import ClientCases
from tests.clients.programs import PROTO, Program

# The first test builds the program.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SOURCE = Path(__file__).with_name("cpp") / "client.cc"
CONTRACT = PROTO / "router" / "v1" / "router.proto"


def build(folder: Path) -> None:
    flags = sh(["pkg-config", "--cflags", "--libs", "grpc++", "protobuf"], folder).split()
    plugin = f"--plugin=protoc-gen-grpc={shutil.which('grpc_cpp_plugin')}"
    sh(["protoc", f"-I{PROTO}", plugin, "--cpp_out=.", "--grpc_out=.", CONTRACT], folder)
    units = [SOURCE, *(folder / "router" / "v1").glob("*.cc")]
    objects = [folder / f"{unit.name}.o" for unit in units]

    def compile_one(unit: Path, target: Path) -> None:
        sh(["g++", "-std=c++17", "-O0", "-c", unit, "-I", folder, "-o", target, *flags], folder)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_one, units, objects))
    sh(["g++", *objects, "-o", "client", *flags], folder)


@pytest.fixture(scope="session")
def program() -> Program:
    needs("g++", "protoc", "grpc_cpp_plugin")
    version = version_of("pkg-config", "--modversion", "grpc++")
    if not version:
        pytest.skip("gRPC's headers for C++ are not installed (Debian: libgrpc++-dev)")
    return Program((str(built("cpp", [SOURCE, CONTRACT], version, build) / "client"),))


class TestCpp(ClientCases):
    """The scenarios."""
