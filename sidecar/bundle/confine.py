"""What a process gives up before it touches a bundle that nobody has tried yet. Linux; irrevocable."""

import ctypes
import resource
import signal
from contextlib import suppress

OPEN_FILES = 256
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def confine(*, cpu_seconds: int, memory_bytes: int, reserves_addresses: bool) -> None:
    """Limits this process for good.

    It writes no file, dumps no core, gains no privileges by starting programs, and dies with the thread that started it.

    Args:
        cpu_seconds: of processor time, counted from its start; SIGXCPU ends it then, a second later SIGKILL.
        memory_bytes: of address space, what is there already included.
        reserves_addresses: CUDA reserves far more addresses than it uses; limits private writable memory instead.
    """
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    _lower(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1)
    _lower(resource.RLIMIT_DATA if reserves_addresses else resource.RLIMIT_AS, memory_bytes)
    with suppress(AttributeError, OSError):  # a C library without it; the limits above hold all the same
        prctl = ctypes.CDLL(None).prctl
        for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_PDEATHSIG, int(signal.SIGKILL))):
            prctl(option, *(ctypes.c_ulong(argument) for argument in (value, 0, 0, 0)))


def _lower(which: int, soft: int, hard: int | None = None) -> None:
    _, most = resource.getrlimit(which)
    wanted = soft if hard is None else hard
    hard = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(which, (min(soft, hard), hard))
