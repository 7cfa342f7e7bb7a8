"""A process of our own that is given one order, says something, and is not trusted to end. Linux."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 256 << 10
# -I: no variable and no folder puts other code in its way; it finds its packages where we found ours. -B: it may write
# no file. It steps back before it imports anything: those who answer requests need the core more.
NICER = 10
# Where the kernel groups processes by session, it is the group's priority that counts beyond the session.
_START = f"""
import os, sys
os.nice({NICER})
try:
    with open("/proc/self/autogroup", "w") as group:
        group.write("{NICER}")
except OSError:
    pass
mouth = int(sys.argv[1])
sys.path[:] = sys.argv[2:]
"""
# One thread each: what these libraries start would only be counted against the limits.
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_HANDED_ON = ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "TZ")


class Child:
    """A running Python program at the head of a process group of its own. Call `end`, whatever happens.

    Nobody else may reap it: the process must neither ignore SIGCHLD nor wait for any child whatever.

    Args:
        program: Python statements; `mouth` is the descriptor on which it may speak.
        order: what it can read from its standard input.
        clock: monotonic seconds.

    Attributes:
        late: it had not ended by the deadline.
        talkative: it said more than 256 KiB.

    Raises:
        OSError: no process can be had.
    """

    def __init__(self, program: str, order: bytes, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.late = self.talkative = False
        self._ears, mouth = os.pipe()
        path = [str(Path(entry).absolute()) for entry in sys.path]
        environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        try:
            # A file in memory, not a pipe: a child that never reads cannot block us, and no prompt touches a disk.
            with os.fdopen(os.memfd_create("order"), "w+b") as paper:
                paper.write(order)
                paper.seek(0)
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-I", "-B", "-c", _START + program, str(mouth), *path],
                    stdin=paper,
                    stdout=subprocess.DEVNULL,  # libraries print what they like
                    stderr=subprocess.DEVNULL,
                    env=_ENVIRONMENT | environment,
                    cwd="/",
                    pass_fds=(mouth,),  # and no other
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._ears)
            raise
        finally:
            os.close(mouth)

    def listen(self, deadline: float) -> bytes:
        """What the child says until it has ended, the deadline has passed or it has said too much."""
        said = bytearray()
        over = os.pidfd_open(self._process.pid)
        poll = select.poll()
        poll.register(self._ears, select.POLLIN)
        poll.register(over, select.POLLIN)
        try:
            while (left := deadline - self._clock()) > 0.0:
                ready = {descriptor for descriptor, _ in poll.poll(left * 1000.0)}
                if self._ears in ready:
                    chunk = os.read(self._ears, 1 << 16)
                    said += chunk
                    if len(said) > MAX_BYTES:
                        self.talkative = True
                        return b""
                    if not chunk:
                        poll.unregister(self._ears)  # closed; it may live on
                elif over in ready:
                    return bytes(said)  # it has ended, and the pipe is empty
            self.late = True
            return bytes(said)
        finally:
            os.close(over)

    def end(self) -> int:
        """Kills what is left of the group and reaps the child.

        Returns:
            Its exit status, a negative one for a signal.
        """
        os.close(self._ears)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
        return self._process.wait()
