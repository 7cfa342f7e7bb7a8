"""An encoder on a GPU: does it score as the CPU does, how fast is it, and how far from what the device could do?

    python -m benchmarks.gpu [--bundle DIR] [--json FILE]

One table. Without --bundle a model in MiniLM's shape is made. Needs onnxruntime-gpu, numpy, onnx, tokenizers and msgspec,
and nothing else. Where there is no GPU the same executor runs over the CPU provider, which says so in every line.
"""

import argparse
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks import minilm, report
from benchmarks.report import Section
from benchmarks.samples import Row
from sidecar.bundle.load import Bundle, load
from sidecar.bundle.manifest import MODEL, MODEL_FP16, MODEL_FP32
from sidecar.errors import ConfigError
from sidecar.scoring.bucketed import Bucketed, warm
from sidecar.scoring.buckets import Buckets
from sidecar.scoring.memory import HostMemory
from sidecar.scoring.overlap import OverlappingScorer
from sidecar.scoring.pace import Limits, Pace
from sidecar.scoring.providers import CUDA
from sidecar.scoring.ragged import Rows
from sidecar.scoring.runner import Runner
from sidecar.scoring.session import OUTPUTS, Session, opened

COLUMNS = (
    "where", "tokens", "batch", "p50_us", "p99_us", "rows_per_second", "plain_p50_us", "times_plain", "floor_us",
    "over_floor", "cpu_p50_us", "times_cpu",
)  # fmt: skip
NO_GPU = "no GPU: CPU provider"
PARITY_ROWS = 128
ENOUGH_S, MOST_RUNS, FEWEST_RUNS = 0.5, 2000, 5


class Peak(NamedTuple):
    """What a device could do at best: dense float16 operations per second, and bytes per second of its memory."""

    flops: float
    bytes: float


# From the makers' data sheets, without sparsity. The first name that the device's own name holds counts.
PEAKS = {
    "B200": Peak(2250e12, 8000e9),
    "H200": Peak(989e12, 4800e9),
    "H100 PCIe": Peak(756e12, 2000e9),
    "H100 NVL": Peak(835e12, 3900e9),
    "H100": Peak(989e12, 3350e9),
    "A100-SXM4-40GB": Peak(312e12, 1555e9),
    "A100-PCIE-40GB": Peak(312e12, 1555e9),
    "A100": Peak(312e12, 2039e9),
    "L40S": Peak(362e12, 864e9),
    "L4": Peak(121e12, 300e9),
    "A10": Peak(125e12, 600e9),
    "V100": Peak(125e12, 900e9),
    "T4": Peak(65e12, 320e9),
}


class Executor(NamedTuple):
    """What is measured.

    Attributes:
        where: the device's name.
        run: runs rows as the sidecar does, hand-over to its thread included.
        plain: the same model in a plain session: no binding, no graph, any shape.
        peak: of the device, if it is known.
    """

    where: str
    run: Callable[[Rows], Sequence[NDArray[np.float32]]]
    plain: ort.InferenceSession
    peak: Peak | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path, help="an encoder's, with model.fp16.onnx and model.fp32.onnx")
    parser.add_argument("--batches", default="1,8,32,64", help="rows of a run")
    parser.add_argument("--tokens", default="16,32,64,128", help="of a row")
    parser.add_argument("--provider", choices=["cuda", "tensorrt"], default="cuda", help="where there is a GPU")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--layers", type=int, default=minilm.MINILM.layers, help="of the model that is made")
    parser.add_argument("--width", type=int, default=minilm.MINILM.width, help="of the model that is made")
    given = parser.parse_args(arguments)
    batches, lengths = ([int(part) for part in text.split(",")] for text in (given.batches, given.tokens))
    with TemporaryDirectory() as scratch:
        dimensions = minilm.MINILM._replace(layers=given.layers, width=given.width, inner=4 * given.width)
        directory = given.bundle or minilm.write_bundle(
            Path(scratch) / "bundle", dimensions, tokens=max(lengths), int8=_can_quantise()
        )
        section = measured(directory, given.provider, batches, lengths)
    print(report.table(section))
    if given.json:
        report.write_json(given.json, {"onnxruntime": ort.__version__, "device": section.rows[0]["where"]}, [section])


def measured(directory: Path, provider: str, batches: Sequence[int], lengths: Sequence[int]) -> Section:
    """The table of one bundle."""
    cpu = load(directory, limits=Limits(rows=max(batches)))
    executor, notes = _executor(cpu, provider, max(batches))
    section = Section("gpu", f"{cpu.manifest.name} {cpu.manifest.version} on {executor.where}", COLUMNS, notes=notes)
    weights = _weights(directory / (MODEL_FP16 if executor.peak else MODEL))
    on_cpu = opened(directory / MODEL)
    for tokens in lengths:
        for batch in batches:
            rows = _rows(cpu, [tokens] * batch)
            times = _times(lambda rows=rows: executor.run(rows))  # type: ignore[misc]  # called at once
            plain_s = float(np.median(_times(_plain(executor.plain, rows))))
            cpu_s = float(np.median(_times(_plain(on_cpu, rows), 0.2)))
            floor_s = _floor_s(executor.peak, weights, batch * tokens)
            middle = float(np.median(times))
            row: Row = {
                "where": executor.where,
                "tokens": tokens,
                "batch": batch,
                "p50_us": middle * 1e6,
                "p99_us": float(np.percentile(times, 99)) * 1e6,
                "rows_per_second": batch / middle,
                "plain_p50_us": plain_s * 1e6,
                "times_plain": plain_s / middle,
                "floor_us": floor_s * 1e6 if floor_s else None,
                "over_floor": middle / floor_s if floor_s else None,
                "cpu_p50_us": cpu_s * 1e6,
                "times_cpu": cpu_s / middle,
            }
            section.rows.append(row)
    section.notes += _parity(directory, cpu, executor)
    section.notes.append(f"cpu: {MODEL} in a plain session with one thread; plain: the same model without our executor")
    if executor.peak:
        section.notes.append(
            f"floor: {weights:,} weights read once and multiplied with every token, at {executor.peak.flops / 1e12:.0f} "
            f"TFLOP/s and {executor.peak.bytes / 1e9:.0f} GB/s; attention and activations are left out"
        )
    return section


def _executor(cpu: Bundle, provider: str, rows: int) -> tuple[Executor, list[str]]:
    """On the GPU, or over the CPU provider with a note that says why."""
    try:
        bundle = load(
            cpu.directory, provider="tensorrt" if provider == "tensorrt" else "cuda", limits=Limits(rows, 60.0)
        )
    except ConfigError as error:
        return _on_cpu(cpu, rows), [f"{NO_GPU} ({error})"]
    scorer = bundle.scorer
    assert isinstance(scorer, OverlappingScorer)  # noqa: S101 - of an encoder
    name = _device_name()
    peak = next((peak for word, peak in PEAKS.items() if word in name), None)
    notes = [] if peak else [f"{name} is not in the table of peaks, so there is no floor"]
    plain = opened(cpu.directory / MODEL_FP16, [CUDA])
    return Executor(name, lambda given: scorer.runner.submit(given).outputs(), plain, peak), notes


def _on_cpu(cpu: Bundle, rows: int) -> Executor:
    manifest, model = cpu.manifest, cpu.directory / MODEL_FP32
    if not model.exists():
        model = cpu.directory / MODEL
    candidates = len(manifest.candidates)
    session = Session(model, candidates=candidates)
    width = session.probe([0, manifest.tokenizer.pad_id])

    def open_session(batch: int, tokens: int, _graphs: bool) -> Any:  # noqa: FBT001 - as Open
        return opened(model, dimensions=dict(zip(session.dimensions, (batch, tokens), strict=True)))

    device = Bucketed(
        open_session,
        Buckets.up_to(rows, manifest.tokenizer.max_tokens),
        (candidates, width, candidates),
        HostMemory(),
        pad_id=manifest.tokenizer.pad_id,
        last_id=cpu.tokenizer.last_id,
        graphs=False,
    )
    runner = Runner(device, Pace(Limits(rows, 60.0)))
    warm(device, runner.call)
    return Executor(NO_GPU, lambda given: runner.submit(given).outputs(), opened(model), None)


def _rows(bundle: Bundle, lengths: Sequence[int]) -> Rows:
    """Rows of exactly so many tokens, of ids that the tokenizer may give."""
    random = np.random.default_rng(3)
    return [random.integers(1, bundle.tokenizer.last_id, length).tolist() for length in lengths]


def _plain(session: ort.InferenceSession, rows: Rows) -> Callable[[], Any]:
    ids = np.array(rows, np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    return lambda: session.run(OUTPUTS, feed)


def _times(work: Callable[[], Any], enough_s: float = ENOUGH_S) -> NDArray[np.float64]:
    """Seconds of many runs, after some that do not count."""
    work()
    work()
    return np.array(list(_measure(work, enough_s)))


def _measure(work: Callable[[], Any], enough_s: float) -> Iterator[float]:
    until = time.perf_counter() + enough_s
    for number in range(MOST_RUNS):
        before = time.perf_counter()
        work()
        after = time.perf_counter()
        yield after - before
        if after > until and number + 1 >= FEWEST_RUNS:
            return


def _parity(directory: Path, cpu: Bundle, executor: Executor) -> list[str]:
    """How far its scores are from those of the float32 model on the CPU."""
    if not (directory / MODEL_FP32).exists():
        return [f"parity: not measured, since the bundle has no {MODEL_FP32}"]
    random = np.random.default_rng(4)
    rows = _rows(cpu, random.integers(2, cpu.manifest.tokenizer.max_tokens + 1, PARITY_ROWS).tolist())
    session = opened(directory / MODEL_FP32)
    wanted = np.concatenate([_plain(session, [row])()[0] for row in rows])
    got = executor.run(rows)[0]
    difference = np.abs(got - wanted)
    agreed = float((got.argmax(axis=1) == wanted.argmax(axis=1)).mean())
    return [
        f"parity with float32 on the CPU over {PARITY_ROWS} rows of mixed length: quality differs by at most "
        f"{difference.max():.2g}, {difference.mean():.2g} on average; the best candidate is the same in {agreed:.1%}"
    ]


def _floor_s(peak: Peak | None, weights: int, tokens: int) -> float:
    return max(2.0 * weights * tokens / peak.flops, 2.0 * weights / peak.bytes) if peak else 0.0


def _weights(model: Path) -> int:
    """Elements of all matrices that tokens are multiplied with: those of which rows are looked up do not count."""
    graph = onnx.load(str(model)).graph
    looked_up = {node.input[0] for node in graph.node if node.op_type in ("Gather", "Slice")}
    looked_up |= {name for node in graph.node if node.op_type == "EmbedLayerNormalization" for name in node.input}
    matrices = [tensor for tensor in graph.initializer if len(tensor.dims) == 2 and tensor.name not in looked_up]  # noqa: PLR2004
    return int(sum(tensor.dims[0] * tensor.dims[1] for tensor in matrices))


def _device_name() -> str:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "an unknown GPU"


def _can_quantise() -> bool:
    """Whether ONNX Runtime's quantiser has what it needs; a bare machine may not."""
    try:
        import onnxruntime.quantization  # noqa: F401, PLC0415 - only to see
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    main()
