"""The child of a trial: confined, it does to a new bundle all that serving would do, and reports."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NoReturn

import msgspec
import onnxruntime as ort

from sidecar.bundle.confine import confine
from sidecar.bundle.load import Bundle, load
from sidecar.bundle.signature import Trust
from sidecar.bundle.trial import Line, Order, TrialReport, TrialRequest, memory_limit
from sidecar.errors import BundleError, RouterError
from sidecar.routing.candidates import CandidateTable, join
from sidecar.routing.compare import BATCH, Side, compare
from sidecar.routing.recorded import Comparison
from sidecar.types import Score

# Long enough for a median, short beside everything else; at least one round, however slow.
TIMED_SECONDS, TIMED_ROUNDS = 0.25, 200
_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory")

Say = Callable[[Line], None]


def main(mouth: int) -> NoReturn:
    """Reads the order from standard input and writes lines to the descriptor `mouth`; ends the process."""

    def say(line: Line) -> None:
        os.write(mouth, msgspec.json.encode(line) + b"\n")

    with open(0, "rb", closefd=False) as paper:
        order = msgspec.msgpack.decode(paper.read(), type=Order)
    confine(
        cpu_seconds=order.limits.cpu_seconds,
        memory_bytes=memory_limit(order.request, order.limits),
        reserves_addresses="CUDAExecutionProvider" in ort.get_available_providers(),
    )
    say(conclude(order.request, say))
    # Past every destructor: what foreign libraries do at exit is not of interest, and could hang.
    os._exit(0)


def conclude(request: TrialRequest, say: Say) -> Line:
    """Tries the bundle, and turns whatever comes of it into the last line."""
    try:
        return Line(report=report(request, say))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a reason to refuse the bundle
        if any(_is_memory(each) for each in _chain(error)):
            return Line(out_of_memory=True)
        if isinstance(error, RouterError):
            return Line(refused=str(error))
        # Foreign words may quote what they choked on.
        return Line(refused=f"trial: failed with {type(error).__name__}")


def report(request: TrialRequest, say: Say, clock: Callable[[], float] = time.perf_counter) -> TrialReport:
    """Loads the bundle, joins it with the configuration, times it and compares it.

    Raises:
        BundleError: the bundle is refused.
        ConfigError: its candidates do not fit the configuration.
    """
    began = clock()
    config = request.config
    bundle = load(
        Path(request.directory),
        provider=config.provider,
        limits=config.encoder.limits(config.max_score_batch),
        trust=Trust.read(map(Path, request.trust)),
        on_stage=_stage(say),
    )
    ended = clock()
    say(Line(stage="candidates"))
    table = join(config, bundle.manifest.candidates)
    say(Line(stage="timing"))
    speed = microseconds_per_text(bundle.scorer, [vector.text for vector in bundle.vectors], clock)
    resident = _resident_bytes()
    comparison, fault = None, ""
    if request.running:
        say(Line(stage="comparison"))
        comparison, fault = _compared(request, Side(table, bundle.scorer))
    return TrialReport(
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        manifest_sha256=bundle.manifest_sha256,
        vouched=bundle.vouched,
        load_seconds=ended - began,
        resident_bytes=resident,
        microseconds_per_text=speed,
        comparison=comparison,
        not_compared=fault,
    )


def microseconds_per_text(score: Score, texts: list[str], clock: Callable[[], float]) -> float:
    """Median over rounds of scoring all texts in batches of up to 32, per text."""
    rounds: list[float] = []
    first = clock()
    while not rounds or (len(rounds) < TIMED_ROUNDS and clock() - first < TIMED_SECONDS):
        began = clock()
        for at in range(0, len(texts), BATCH):
            score(texts[at : at + BATCH])
        rounds.append(clock() - began)
    return median(rounds) / len(texts) * 1e6


def _compared(request: TrialRequest, new: Side) -> tuple[Comparison | None, str]:
    try:
        running, table = _running(request)
    except RouterError as error:
        return None, f"the running bundle: {error}"
    return compare(Side(table, running.scorer), new, request.sample), ""


def _running(request: TrialRequest) -> tuple[Bundle, CandidateTable]:
    # It passed its own checks when it was promoted, and its keys may have been dropped since.
    bundle = load(Path(request.running), golden=False)
    if request.running_sha256 not in ("", bundle.manifest_sha256):
        raise BundleError("its directory holds another bundle by now")
    return bundle, join(request.config, bundle.manifest.candidates)


def _stage(say: Say) -> Callable[[str], None]:
    return lambda stage: say(Line(stage=stage))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
