import errno
import json
import signal
import time
from pathlib import Path

from sidecar.bundle.child import Child

FACTS = """
import json, os, resource as r
from sidecar.bundle.confine import confine
confine(cpu_seconds=7, memory_bytes=512 << 20, reserves_addresses=False)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
names = ("CORE", "FSIZE", "NOFILE", "CPU", "AS")
facts = {name: r.getrlimit(getattr(r, "RLIMIT_" + name)) for name in names}
facts["privileges"] = status["NoNewPrivs"].strip()
os.write(mouth, json.dumps(facts).encode())
"""


def spoken(program: str) -> tuple[bytes, int]:
    child = Child(program, b"", time.monotonic)
    try:
        said = child.listen(time.monotonic() + 60.0)
    finally:
        status = child.end()
    return said, status


def confined(then: str, memory: str = "512 << 20", *, addresses: bool = False) -> tuple[bytes, int]:
    return spoken(
        "import os; from sidecar.bundle.confine import confine; "
        f"confine(cpu_seconds=1, memory_bytes={memory}, reserves_addresses={addresses})\n{then}"
    )


def test_limits_are_set_for_good() -> None:
    facts = json.loads(spoken(FACTS)[0])
    assert facts["CORE"] == facts["FSIZE"] == [0, 0]
    assert facts["CPU"] == [7, 8]
    assert facts["AS"] == [512 << 20, 512 << 20]
    assert facts["NOFILE"] == [256, 256]
    assert facts["privileges"] == "1"


def test_a_lower_limit_that_is_there_already_stays() -> None:
    program = FACTS.replace("confine(cpu", "r.setrlimit(r.RLIMIT_NOFILE, (64, 64)); confine(cpu")
    assert json.loads(spoken(program)[0])["NOFILE"] == [64, 64]


def test_processor_time_ends() -> None:
    assert confined("while True: pass")[1] == -signal.SIGXCPU


def test_one_that_does_not_listen_to_the_limit_is_killed_a_second_later() -> None:
    deaf = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert confined(deaf)[1] == -signal.SIGKILL


def test_memory_ends() -> None:
    grab = "try: bytearray(1 << 30)\nexcept MemoryError: os.write(mouth, b'none left')"
    assert confined(grab)[0] == b"none left"
    assert confined(grab, addresses=True)[0] == b"none left"
    assert confined(grab, "2 << 30")[0] == b""


def test_addresses_that_are_only_reserved_cost_nothing_where_cuda_needs_them() -> None:
    reserve = "import mmap; mmap.mmap(-1, 1 << 30, prot=0, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); os.write(mouth, b'ok')"
    assert confined(reserve, addresses=True)[0] == b"ok"
    assert confined(reserve)[0] == b""


def test_it_writes_no_file(tmp_path: Path) -> None:
    program = (
        f"try: open({str(tmp_path / 'f')!r}, 'wb', buffering=0).write(b'x')\n"
        "except OSError as error: os.write(mouth, str(error.errno).encode())"
    )
    assert confined(program) == (str(errno.EFBIG).encode(), 0)
    assert (tmp_path / "f").read_bytes() == b""
