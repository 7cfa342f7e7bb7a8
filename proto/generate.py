"""Writes the Python code of proto/ into sidecar/wire/, or into the folder given: `python proto/generate.py [DIR]`."""

import re
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "sidecar" / "wire"
OURS = r"^from (?:router\.v1|xds\.\w+\.orca\.v3) import"


def generate(target: Path) -> None:
    """Compiles every .proto below this folder; files land flat in `target`, named after their proto file."""
    sources = sorted(HERE.rglob("*.proto"))
    include = Path(protoc.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [f"--{kind}_out={scratch}" for kind in ("python", "pyi", "grpc_python")]
        arguments = ["protoc", f"-I{HERE}", f"-I{include}", *outputs, *(str(source) for source in sources)]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed; its message stands above")
        for made in sorted(p for p in Path(scratch).rglob("*.py*") if p.is_file()):
            # The compiler derives import paths from the proto's folder; ours lie in sidecar.wire. The proto keeps its
            # canonical file name, so a client that compiles it for itself can live in the same process.
            text = re.sub(OURS, "from sidecar.wire import", made.read_text(), flags=re.MULTILINE)
            (target / made.name).write_text(text)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
