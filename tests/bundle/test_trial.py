import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from sidecar.bundle import files, golden
from sidecar.bundle.load import load
from sidecar.bundle.manifest import GOLDEN, MANIFEST, MODEL, TOKENIZER
from sidecar.bundle.seal import seal
from sidecar.bundle.trial import Line, TrialReport, TrialRequest, memory_limit, try_out
from sidecar.bundle.verify import decode, verify
from sidecar.config import CandidateConfig, Config
from sidecar.errors import BundleError
from sidecar.routing.recorded import Recorded
from sidecar.settings import GateConfig
from tests.bundle.keys import key_of, sign
from tests.conftest import CANDIDATES, MakeBundle
from tests.descendants import descendants

PRIVATE = "prove the secret theorem"
SAMPLE = tuple(
    Recorded(text=text, segment="s", policy="balanced", answer_value_usd=0.01, prompt_tokens=20)
    for text in ["what is the capital"] * 15 + [PRIVATE] * 10
)
LIMITS = GateConfig(seconds=100.0, cpu_seconds=20)


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """No trial leaves a process behind, not even a dead one."""
    before = descendants()
    yield
    assert descendants() == before


def tried(directory: Path, limits: GateConfig = LIMITS, config: Config | None = None, **more: Any) -> TrialReport:
    return try_out(TrialRequest(config=config or Config(), directory=str(directory), **more), limits)


def refused(directory: Path, limits: GateConfig = LIMITS, config: Config | None = None, **more: Any) -> str:
    with pytest.raises(BundleError) as caught:
        tried(directory, limits, config, **more)
    return str(caught.value)


def changed(old: str, *nodes: Any, weights: dict[str, Any] | None = None) -> Callable[[Any], None]:
    """Puts nodes behind the one that makes `old`; they read `before` and make `old` anew."""

    def edit(model: Any) -> None:
        graph = model.graph
        at = next(row for row, node in enumerate(graph.node) if old in node.output)
        graph.node[at].output[0] = "before"
        for offset, node in enumerate(nodes):
            graph.node.insert(at + 1 + offset, node)
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()
        )

    return edit


def endless() -> Callable[[Any], None]:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Sin", ["x"], ["y"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, None)],
        [value("go_on", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, None)],
    )
    loop = helper.make_node("Loop", ["trips", "yes", "before"], ["flags"], body=body)
    return changed("flags", loop, weights={"trips": np.array(1 << 62), "yes": np.array(True)})  # noqa: FBT003


def greedy(side: int) -> Callable[[Any], None]:
    return changed(
        "flags",
        helper.make_node("ConstantOfShape", ["much"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["before", "nothing"], ["flags"]),
        weights={"much": np.array([side, side])},
    )


def slightly_off() -> Callable[[Any], None]:
    return changed("logits", helper.make_node("Add", ["before", "some"], ["logits"]), weights={"some": np.float32(0.1)})


def opposite() -> Callable[[Any], None]:
    """Turns the router round: what was best is worst."""
    return changed("logits", helper.make_node("Neg", ["before"], ["logits"]))


@pytest.fixture
def turned(make_bundle: MakeBundle, tmp_path: Path) -> Path:
    """A sound bundle that decides otherwise than the tiny one."""
    directory = make_bundle(tmp_path / "turned", model=opposite())
    manifest = decode((directory / MANIFEST).read_bytes())
    scorer = load(directory, golden=False).scorer
    (directory / GOLDEN).write_bytes(golden.write(golden.record(scorer, ["what is the capital"])))
    seal(directory, manifest)
    return directory


def test_a_sound_bundle_is_reported_on(tiny_bundle: Path) -> None:
    report = tried(tiny_bundle)
    assert (report.name, report.version, report.manifest_sha256) == ("tiny", "1", verify(tiny_bundle)[1])
    assert 0.0 < report.load_seconds < 100.0
    assert 0.0 < report.microseconds_per_text < 1e6
    assert 20 << 20 < report.resident_bytes < 1 << 30
    assert (report.comparison, report.not_compared, report.vouched) == (None, "", ())


def test_relative_paths_mean_the_callers_folder(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(Path(shutil.copytree(tiny_bundle, tmp_path / "here")), key_of(1))
    key_of(1).write_public(tmp_path / "k.pem")
    monkeypatch.chdir(tmp_path)
    report = tried(Path("here"), trust=("k.pem",), running="here", sample=SAMPLE)
    assert report.vouched == (key_of(1).id,)
    assert report.comparison is not None


def test_an_endless_model_ends_with_its_processor_time(make_bundle: MakeBundle, tmp_path: Path) -> None:
    directory = make_bundle(tmp_path / "b", model=endless())
    reason = refused(directory, GateConfig(cpu_seconds=3))  # starting takes half a second of it
    assert reason.startswith(f"{MODEL}: the trial used more than 3 s of processor time; ")
    assert "gate.cpu_seconds" in reason


def test_an_endless_model_ends_at_the_deadline(make_bundle: MakeBundle, tmp_path: Path) -> None:
    directory = make_bundle(tmp_path / "b", model=endless())
    reason = refused(directory, GateConfig(seconds=2.0))
    # Not in which stage: on a busy machine it may not have got far.
    assert ": the trial took longer than 2 s; " in reason


def test_a_greedy_model_is_told_from_a_broken_one(make_bundle: MakeBundle, tmp_path: Path) -> None:
    directory = make_bundle(tmp_path / "b", model=greedy(1 << 15))  # 4 GiB
    reason = refused(directory)
    assert reason.startswith(f"{MODEL}: the trial ran out of memory, 2048 MiB beside the files; ")
    small = make_bundle(tmp_path / "c", model=greedy(1 << 10))
    assert tried(small).name == "tiny"


def test_a_greedy_tokenizer_ends_too(tiny_bundle: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    content = json.loads((directory / TOKENIZER).read_bytes())
    # Each step multiplies the text by a thousand.
    grow = {"type": "Replace", "pattern": {"Regex": "."}, "content": "a" * 1000}
    content["normalizer"] = {"type": "Sequence", "normalizers": [grow] * 4}
    (directory / TOKENIZER).write_text(json.dumps(content))
    seal(directory, decode((directory / MANIFEST).read_bytes()))
    reason = refused(directory, GateConfig(cpu_seconds=5, memory_mib=512))
    assert reason.startswith(f"{TOKENIZER}: the trial ")


def test_wrong_golden_vectors_are_the_reason_as_it_is(make_bundle: MakeBundle, tmp_path: Path) -> None:
    reason = refused(make_bundle(tmp_path / "b", model=slightly_off()))
    assert reason.startswith(f"{GOLDEN}: a score differs by 0.0")


def test_a_changed_file_is_the_reason_as_it_is(tiny_bundle: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    (directory / GOLDEN).write_bytes(b"[]")
    assert refused(directory).startswith(f"{GOLDEN}: has 2 bytes; ")


def test_candidates_that_do_not_fit_the_configuration_are_the_reason(tiny_bundle: Path) -> None:
    reason = refused(tiny_bundle, config=Config(candidates=(CandidateConfig(name="huge"),)))
    assert reason.startswith("candidates.huge: the bundle does not score it; it scores small, medium, large.")


def test_trust_is_demanded_by_the_child(tiny_bundle: Path, tmp_path: Path) -> None:
    key = str(key_of(1).write_public(tmp_path / "k.pem"))
    assert "the bundle is not signed; trusted are" in refused(tiny_bundle, trust=(key,))
    assert "trust: " in refused(tiny_bundle, trust=(str(tmp_path / "nowhere"),))


def test_a_bundle_is_compared_with_the_running_one(tiny_bundle: Path, turned: Path) -> None:
    report = tried(turned, running=str(tiny_bundle), sample=SAMPLE)
    assert report.comparison is not None
    assert (report.comparison.requests, report.not_compared) == (25, "")
    assert report.comparison.agreement < 1.0
    assert report.comparison.before.share != report.comparison.after.share
    assert b"secret" not in msgspec.json.encode(report)


def test_a_bundle_agrees_with_itself(tiny_bundle: Path) -> None:
    limits = msgspec.structs.replace(LIMITS, require_agreement=1.0)
    report = tried(tiny_bundle, limits, running=str(tiny_bundle), sample=SAMPLE)
    assert report.comparison is not None
    assert report.comparison.agreement == 1.0


def test_too_little_agreement_refuses_with_the_figures(tiny_bundle: Path, turned: Path) -> None:
    limits = msgspec.structs.replace(LIMITS, require_agreement=0.99)
    reason = refused(turned, limits, running=str(tiny_bundle), sample=SAMPLE)
    assert reason.startswith("comparison: it agrees with the running bundle on ")
    assert "of 25 recent requests" in reason
    assert "secret" not in reason


def test_too_few_requests_refuse_only_where_agreement_is_demanded(tiny_bundle: Path) -> None:
    few = SAMPLE[:3]
    report = tried(tiny_bundle, running=str(tiny_bundle), sample=few)
    assert report.comparison is not None
    limits = msgspec.structs.replace(LIMITS, require_agreement=0.1)
    assert "too few requests to tell (3 of at least 20)" in refused(
        tiny_bundle, limits, running=str(tiny_bundle), sample=few
    )


def test_the_first_bundle_has_nothing_to_agree_with(tiny_bundle: Path) -> None:
    assert tried(tiny_bundle, msgspec.structs.replace(LIMITS, require_agreement=0.9)).comparison is None


def test_only_the_newest_requests_are_compared_and_none_if_switched_off(tiny_bundle: Path) -> None:
    limits = msgspec.structs.replace(LIMITS, sample=7)
    report = tried(tiny_bundle, limits, running=str(tiny_bundle), sample=SAMPLE)
    assert report.comparison is not None
    assert report.comparison.requests == 7
    limits = msgspec.structs.replace(LIMITS, sample=0)
    assert tried(tiny_bundle, limits, running=str(tiny_bundle), sample=SAMPLE).comparison is None


def test_a_running_bundle_that_is_gone_is_no_reason_to_refuse_unless_agreement_is_demanded(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    gone = str(tmp_path / "gone")
    report = tried(tiny_bundle, running=gone, sample=SAMPLE)
    assert report.comparison is None
    assert report.not_compared.startswith("the running bundle: ")
    limits = msgspec.structs.replace(LIMITS, require_agreement=0.5)
    assert refused(tiny_bundle, limits, running=gone, sample=SAMPLE).startswith("comparison: gate.require_agreement")


def test_a_running_bundle_that_was_replaced_is_not_compared(tiny_bundle: Path) -> None:
    sha256 = verify(tiny_bundle)[1]
    assert tried(tiny_bundle, running=str(tiny_bundle), running_sha256=sha256, sample=SAMPLE).comparison is not None
    report = tried(tiny_bundle, running=str(tiny_bundle), running_sha256="0" * 64, sample=SAMPLE)
    assert report.comparison is None
    assert "holds another bundle by now" in report.not_compared


def test_limits_as_large_as_can_be_configured_are_taken(tiny_bundle: Path) -> None:
    assert tried(tiny_bundle, GateConfig(seconds=3600.0, cpu_seconds=3600, memory_mib=1 << 20)).name == "tiny"


def test_what_does_not_belong_into_a_bundle_buys_no_memory(tiny_bundle: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    request, limits = TrialRequest(config=Config(), directory=str(directory)), GateConfig(memory_mib=512)
    before = memory_limit(request, limits)
    assert before == (512 << 20) + 4 * sum(path.stat().st_size for path in directory.iterdir())
    with (directory / "junk").open("wb") as file:
        file.truncate(1 << 40)
    assert memory_limit(request, limits) == before
    with (directory / MODEL).open("r+b") as file:
        file.truncate(1 << 40)
    assert memory_limit(request, limits) < (512 << 20) + 4 * (files.MAX_BYTES[MODEL] + (1 << 20))


def stand_in(tiny_bundle: Path, program: str, **limits: Any) -> str:
    with pytest.raises(BundleError) as caught:
        try_out(TrialRequest(config=Config(), directory=str(tiny_bundle)), GateConfig(**limits), program=program)
    return str(caught.value)


def saying(*lines: Line) -> str:
    said = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    return f"import os; os.write(mouth, {said!r}); "


LOADING = Line(stage=MODEL)
REPORT = TrialReport(
    name="n", version="1", manifest_sha256="", vouched=(), load_seconds=1.0, resident_bytes=1, microseconds_per_text=1.0
)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (saying(LOADING) + "os.kill(os.getpid(), 9)", f"{MODEL}: the trial was killed by SIGKILL; "),
        (saying(LOADING) + "os.kill(os.getpid(), 4)", f"{MODEL}: the trial was killed by SIGILL; "),
        (saying(LOADING), f"{MODEL}: the trial ended with status 0 before it was done"),
        ("raise SystemExit(3)", "start: the trial ended with status 3 before it was done"),
        (saying(Line(report=REPORT)) + "os._exit(1)", "start: the trial ended with status 1"),
        (saying(Line(report=REPORT), LOADING), f"{MODEL}: the trial ended with status 0"),
        (saying(LOADING) + "os.write(mouth, b'\\xff\\x00')", f"{MODEL}: what the trial wrote cannot be read"),
        (saying(LOADING) + "os.write(mouth, b'{\"report\": 1}')", f"{MODEL}: what the trial wrote cannot be read"),
        (saying(LOADING) + "os.write(mouth, b'[' * 5000)", f"{MODEL}: what the trial wrote cannot be read"),
        ("import os\nwhile True: os.write(mouth, bytes(9999))", "trial: the child wrote more than 262144 bytes"),
        (saying(Line(refused="x\x1b[2J\ny" * 999)), "x[2Jyx[2Jy"),
        (saying(Line(stage="\x07"), Line(out_of_memory=True)), ": the trial ran out of memory, 2048 MiB"),
    ],
)
def test_whatever_becomes_of_the_child_is_one_error(tiny_bundle: Path, program: str, reason: str) -> None:
    said = stand_in(tiny_bundle, program)
    assert said.startswith(reason)
    assert said.isprintable()
    assert len(said) <= 1000


def test_a_report_of_a_child_that_does_not_end_counts_for_nothing(tiny_bundle: Path) -> None:
    ticks = itertools.chain([0.0, 0.0], itertools.repeat(100.0))
    program = saying(Line(report=REPORT)) + "import time; time.sleep(1000)"
    request = TrialRequest(config=Config(), directory=str(tiny_bundle))
    with pytest.raises(BundleError, match="the trial took longer than 60 s"):
        try_out(request, GateConfig(), lambda: next(ticks), program=program)


def test_where_no_process_can_be_had_the_bundle_is_refused(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert refused(tiny_bundle) == "trial: its process cannot be started: No such file or directory"


def test_more_candidates_than_before_can_be_compared(
    make_bundle: MakeBundle, tiny_bundle: Path, tmp_path: Path
) -> None:
    more = (*CANDIDATES, msgspec.structs.replace(CANDIDATES[0], name="new"))
    report = tried(make_bundle(tmp_path / "b", candidates=more), running=str(tiny_bundle), sample=SAMPLE)
    assert report.comparison is not None
    assert report.comparison.after.undecided == 0
