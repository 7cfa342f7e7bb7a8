"""The trial: a new bundle is loaded and run in a process of its own first, which may fail in every way.

The checks before it refuse what is known to be dangerous; this is for the rest: a model that loops, that swallows memory
or that crashes the runtime takes a child down, not the sidecar. Linux.
"""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from sidecar.bundle import files
from sidecar.bundle.child import MAX_BYTES, Child
from sidecar.config import Config
from sidecar.errors import BundleError
from sidecar.routing.recorded import Comparison, Recorded
from sidecar.settings import GateConfig

MAX_REASON_CHARS = 1000
PROGRAM = "from sidecar.bundle.trial_program import main; main(mouth)"


class TrialRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be tried.

    Attributes:
        config: what the new bundle's candidates are joined with.
        directory: of the new bundle.
        trust: paths of public keys by one of which it must be signed (see sidecar.bundle.signature.Trust).
        running: directory of the running bundle; empty if there is none or nothing is to be compared.
        running_sha256: its manifest_sha256; if given, a directory that holds another bundle by now is not compared.
        sample: recent requests to compare both on, the newest last.
    """

    config: Config
    directory: str
    trust: tuple[str, ...] = ()
    running: str = ""
    running_sha256: str = ""
    sample: tuple[Recorded, ...] = ()


class TrialReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the trial of a sound bundle showed.

    Attributes:
        name: of the bundle.
        version: of the bundle.
        manifest_sha256: what was tried; only a bundle with this very digest may be promoted on its strength.
        vouched: ids of the trusted keys that signed it.
        load_seconds: from the first check to the last golden vector, at low priority.
        resident_bytes: of the process with this bundle alone loaded and run.
        microseconds_per_text: of scoring the golden texts in batches of up to 32; the median of several rounds.
        comparison: with the running bundle; None if none was asked for or possible.
        not_compared: why it was not possible; empty if it was, or was not asked for.
    """

    name: str
    version: str
    manifest_sha256: str
    vouched: tuple[str, ...]
    load_seconds: float
    resident_bytes: int
    microseconds_per_text: float
    comparison: Comparison | None = None
    not_compared: str = ""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One line that the child writes: a stage that begins, or as the last one a refusal or the report.

    Attributes:
        stage: what is about to be done.
        refused: why the bundle is refused.
        out_of_memory: it is refused since memory ran out.
        report: it is sound.
    """

    stage: str = ""
    refused: str = ""
    out_of_memory: bool = False
    report: TrialReport | None = None


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the child reads from its standard input."""

    request: TrialRequest
    limits: GateConfig


def try_out(
    request: TrialRequest, limits: GateConfig, clock: Callable[[], float] = time.monotonic, *, program: str = PROGRAM
) -> TrialReport:
    """Tries a bundle in a child with limited time and memory. Blocks as long as that takes; no child outlives the call.

    The child loads it with every check that loading has, joins its candidates with the configuration, times it, and
    compares it with the running bundle. It reads the directory itself: whoever promotes the bundle afterwards must load
    it with every check again, and demand the digest that the report names.

    Args:
        request: what to try.
        limits: what the child may use, and the agreement with the running bundle that is demanded.
        clock: monotonic seconds.
        program: what the child runs.

    Raises:
        BundleError: the bundle is refused; the message says what the child was about to do and why it failed.
    """
    request = _from_anywhere(request, limits)
    try:
        child = Child(program, msgspec.msgpack.encode(Order(request=request, limits=limits)), clock)
    except OSError as error:
        raise BundleError(f"trial: its process cannot be started: {error.strerror}") from error
    try:
        said = child.listen(clock() + limits.seconds)
    finally:
        status = child.end()
    report = _verdict(said, child, status, limits)
    if request.running and limits.require_agreement:
        if report.comparison is None:
            raise BundleError(f"comparison: gate.require_agreement demands one, but {report.not_compared}")
        report.comparison.demand(limits.require_agreement)
    return report


def memory_limit(request: TrialRequest, limits: GateConfig) -> int:
    """Bytes that the child may use: loading takes about 2.2 times the size of a model, and 240 MiB whatever its size."""
    return (limits.memory_mib << 20) + 4 * (_size(request.directory) + _size(request.running))


def _size(directory: str) -> int:
    """Bytes of a bundle's files; what is over its cap, or does not belong there, buys no memory."""
    if not directory:
        return 0
    return sum(min(_file_size(Path(directory) / name), cap) for name, cap in files.MAX_BYTES.items())


def _file_size(path: Path) -> int:
    try:
        return path.stat(follow_symlinks=False).st_size
    except (OSError, ValueError):
        return 0  # whoever loads it says what is wrong with it


def _from_anywhere(request: TrialRequest, limits: GateConfig) -> TrialRequest:
    """The request as the child needs it, which has another working directory; without what is not compared."""
    compared = bool(request.running and limits.sample)
    return msgspec.structs.replace(
        request,
        directory=str(Path(request.directory).absolute()),
        trust=tuple(str(Path(path).absolute()) for path in request.trust),
        running=str(Path(request.running).absolute()) if compared else "",
        sample=request.sample[-limits.sample :] if compared else (),
    )


def _verdict(said: bytes, child: Child, status: int, limits: GateConfig) -> TrialReport:
    stage, last = "start", Line()
    if child.talkative:
        raise BundleError(f"trial: the child wrote more than {MAX_BYTES} bytes; the bundle is not to be trusted")
    try:
        for line in said.splitlines():
            last = msgspec.json.decode(line, type=Line)
            stage = last.stage or stage
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BundleError(
            f"{_printable(stage)}: what the trial wrote cannot be read; the bundle is not to be trusted"
        ) from None
    if last.report is not None and not child.late and status == 0:
        return last.report
    if last.refused:
        raise BundleError(_printable(last.refused))
    raise BundleError(f"{_printable(stage)}: {_death(last, child, status, limits)}")


def _death(last: Line, child: Child, status: int, limits: GateConfig) -> str:
    if last.out_of_memory:
        return (
            f"the trial ran out of memory, {limits.memory_mib} MiB beside the files; if the bundle is sound and large, "
            "raise gate.memory_mib"
        )
    if child.late:
        return f"the trial took longer than {limits.seconds:g} s; if the bundle is sound and slow, raise gate.seconds"
    if status == -signal.SIGXCPU:
        return (
            f"the trial used more than {limits.cpu_seconds} s of processor time; if the bundle is sound and slow, raise "
            "gate.cpu_seconds"
        )
    if status < 0:
        return f"the trial was killed by {signal.Signals(-status).name}; the bundle crashes what runs it, or memory ran out"
    return f"the trial ended with status {status} before it was done"


def _printable(text: str) -> str:
    """What a child says of a hostile bundle may be hostile too: bounded, and without control characters."""
    return text[:MAX_REASON_CHARS] if text.isprintable() else "".join(filter(str.isprintable, text))[:MAX_REASON_CHARS]
