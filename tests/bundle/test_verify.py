import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.bundle import files
from sidecar.bundle.manifest import GOLDEN, GOLDEN_FP16, MANIFEST, MODEL, MODEL_FP16
from sidecar.bundle.seal import seal
from sidecar.bundle.verify import SEALED, decode, verify
from sidecar.errors import BundleError

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def rewrite(bundle: Path, edit: Edit) -> None:
    facts = json.loads((bundle / MANIFEST).read_bytes())
    edit(facts)
    (bundle / MANIFEST).write_text(json.dumps(facts))


def test_a_sound_bundle_passes_and_is_identified_by_its_manifest(bundle: Path) -> None:
    manifest, sha256 = verify(bundle)
    assert [candidate.name for candidate in manifest.candidates] == ["small", "medium", "large"]
    assert sha256 == hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()


def test_the_directory_itself_may_be_reached_through_a_link(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(bundle)
    assert verify(tmp_path / "current") == verify(bundle)


def test_hard_links_pass_because_installers_make_them(bundle: Path, tmp_path: Path) -> None:
    for name in SEALED:
        os.link(bundle / name, tmp_path / name)
    verify(bundle)


@pytest.mark.parametrize("where", ["nowhere", "bundle/manifest.json", "nul\0byte"])
def test_what_is_no_directory_is_refused(bundle: Path, where: str) -> None:
    with pytest.raises(BundleError, match=where.replace("\0", ".")):
        verify(bundle.parent / where)


@pytest.mark.parametrize("name", [MANIFEST, *SEALED])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"^{name}: is missing"):
        verify(bundle)


@pytest.mark.parametrize("name", [MANIFEST, *SEALED])
def test_an_empty_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"")
    with pytest.raises(BundleError, match=f"^{name}: is empty"):
        verify(bundle)


@pytest.mark.parametrize("name", SEALED)
def test_a_changed_byte_is_found_by_the_digest(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"^{name}: its sha256 is .* manifest.json says"):
        verify(bundle)


@pytest.mark.parametrize("name", SEALED)
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_file_is_found_by_its_size(bundle: Path, name: str, share: float) -> None:
    data = (bundle / name).read_bytes()
    (bundle / name).write_bytes(data[: max(1, int(len(data) * share))])
    with pytest.raises(BundleError, match=f"^{name}: has .* bytes; manifest.json says {len(data)}"):
        verify(bundle)


@pytest.mark.parametrize("name", [MANIFEST, *SEALED])
def test_a_file_over_its_cap_is_refused_before_it_is_read(bundle: Path, name: str) -> None:
    with (bundle / name).open("r+b") as file:
        file.truncate(files.MAX_BYTES[name] + 1)  # sparse: takes no room
    with pytest.raises(BundleError, match=f"^{name}: has .* over the limit"):
        verify(bundle)


@pytest.mark.parametrize("name", ["extra.txt", ".hidden", "model.onnx.data", "pickle.pkl"])
def test_an_unlisted_file_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).write_text("x")
    with pytest.raises(BundleError, match=f"^{name}: is not listed"):
        verify(bundle)


@pytest.mark.parametrize("name", [MANIFEST, *SEALED])
def test_a_symbolic_link_is_refused_even_to_the_right_content(bundle: Path, tmp_path: Path, name: str) -> None:
    (bundle / name).rename(tmp_path / name)
    (bundle / name).symlink_to(tmp_path / name)
    with pytest.raises(BundleError, match=f"^{name}: is a symbolic link"):
        verify(bundle)


def test_a_sub_directory_is_refused(bundle: Path) -> None:
    (bundle / "weights").mkdir()
    with pytest.raises(BundleError, match=r"^weights: is a directory"):
        verify(bundle)


def test_a_pipe_is_refused_without_waiting_for_its_writer(bundle: Path) -> None:
    (bundle / MODEL).unlink()
    os.mkfifo(bundle / MODEL)
    with pytest.raises(BundleError, match=f"^{MODEL}: is a device, a pipe or a socket"):
        verify(bundle)


def test_a_socket_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(BundleError, match=r"^s: is a device, a pipe or a socket"):
            verify(bundle)


def test_a_name_that_would_steer_the_terminal_is_quoted(bundle: Path) -> None:
    (bundle / "\x1b[2J").write_text("x")
    with pytest.raises(BundleError, match=r"^'\\x1b\[2J': is not listed"):
        verify(bundle)


def _set(*path: str | int, value: Any) -> Edit:
    def edit(facts: dict[str, Any]) -> None:
        at: Any = facts
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return edit


ENTRY = {"sha256": "0" * 64, "size": 1}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (_set("surprise", value=1), r"unknown field `surprise`"),
        (_set("candidates", 1, "surprise", value=1), r"unknown field `surprise` - at `\$.candidates\[1\]`"),
        (_set("candidates", 0, "prior_quality", value=1.5), r"at `\$.candidates\[0\].prior_quality`"),
        (_set("candidates", 0, "prior_quality", value="x"), r"at `\$.candidates\[0\].prior_quality`"),
        (_set("candidates", 0, "input_usd_per_mtok", value=-1), r"at `\$.candidates\[0\].input_usd_per_mtok`"),
        (_set("candidates", 0, "output_usd_per_mtok", value=1e300), r"at `\$.candidates\[0\].output_usd_per_mtok`"),
        (_set("candidates", 0, "name", value="a b"), r"at `\$.candidates\[0\].name`"),
        (_set("candidates", 0, "name", value="small\n"), r"at `\$.candidates\[0\].name`"),
        (_set("files", MODEL, "sha256", value="0" * 64 + "\n"), r"at `\$.files\[...\].sha256`"),
        (_set("candidates", 0, "name", value="large"), r"candidates lists 'large' twice"),
        (_set("candidates", value=[]), r"at `\$.candidates`"),
        (_set("format_version", value=2), r"format_version is 2; this build reads up to 1"),
        (_set("format_version", value=0), r"at `\$.format_version`"),
        (_set("format_version", value="1"), r"at `\$.format_version`"),
        (_set("family", value="quantum"), r"at `\$.family`"),
        (_set("text_recipe", "version", value=999), r"text_recipe.version is 999; this build knows up to"),
        (_set("text_recipe", "surprise", value=1), r"unknown field `surprise` - at `\$.text_recipe`"),
        (_set("tokenizer", "max_tokens", value=0), r"at `\$.tokenizer.max_tokens`"),
        (_set("golden_tolerance", value=0), r"at `\$.golden_tolerance`"),
        (_set("metrics", "ece", value=None), r"at `\$.metrics\[...\]`"),
        (_set("files", MODEL, "sha256", value="ABC"), r"at `\$.files\[...\].sha256`"),
        (_set("files", MODEL, "size", value=-1), r"at `\$.files\[...\].size`"),
        (_set("files", "../model.onnx", value=ENTRY), r"files lists ../model.onnx, which leaves the directory"),
        (_set("files", "/dev/zero", value=ENTRY), r"files lists /dev/zero, which leaves the directory"),
        (_set("files", "..\\x", value=ENTRY), r"files lists ..\\x, which leaves the directory"),
        (_set("files", "extra.bin", value=ENTRY), r"files lists extra.bin; a bundle holds only"),
        (_set("files", value={}), r"files does not list model.onnx"),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_path_of_the_key(bundle: Path, edit: Edit, reason: str) -> None:
    rewrite(bundle, edit)
    with pytest.raises(BundleError, match=f"^{MANIFEST}: .*{reason}"):
        verify(bundle)


@pytest.mark.parametrize("key", ["candidates", "model_card", "novelty", "training_data", "golden_tolerance"])
def test_a_missing_key_is_named(bundle: Path, key: str) -> None:
    rewrite(bundle, lambda facts: facts.pop(key))
    with pytest.raises(BundleError, match=f"^{MANIFEST}: .*missing required field `{key}`"):
        verify(bundle)


def test_the_number_of_candidates_must_be_that_of_the_model(bundle: Path) -> None:
    rewrite(bundle, lambda facts: facts["candidates"].pop())
    with pytest.raises(BundleError, match=f"^{MODEL}: output quality has 3 columns, but the manifest lists 2"):
        verify(bundle)


def test_a_family_limits_the_operators(bundle: Path) -> None:
    rewrite(bundle, _set("family", value="encoder"))
    verify(bundle)


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_no_bytes_make_reading_a_manifest_fail_otherwise(data: bytes) -> None:
    with pytest.raises(BundleError, match=f"^{MANIFEST}: "):
        decode(data)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.data(),
    junk=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_any_value_under_any_key_is_read_or_refused(tiny_bundle: Path, data: st.DataObject, junk: object) -> None:
    facts = json.loads((tiny_bundle / MANIFEST).read_bytes())
    at: Any = facts
    while True:
        keys = sorted(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or data.draw(st.booleans()):
            at[key] = junk
            break
        at = at[key]
    try:
        decode(json.dumps(facts).encode())
    except BundleError as error:
        assert str(error).startswith(f"{MANIFEST}: ")  # noqa: PT017 (both ends are right)


def test_a_manifest_cut_anywhere_is_refused(bundle: Path) -> None:
    data = (bundle / MANIFEST).read_bytes()
    for end in range(1, len(data) - 1, 17):
        (bundle / MANIFEST).write_bytes(data[:end])
        with pytest.raises(BundleError, match=f"^{MANIFEST}: "):
            verify(bundle)


def test_sealing_is_what_makes_a_changed_file_acceptable(bundle: Path) -> None:
    vectors = json.loads((bundle / GOLDEN).read_bytes())
    (bundle / GOLDEN).write_text(json.dumps(vectors[:1]))
    with pytest.raises(BundleError, match=GOLDEN):
        verify(bundle)
    manifest = seal(bundle, decode((bundle / MANIFEST).read_bytes()))
    assert verify(bundle)[0] == manifest
    assert msgspec.json.decode((bundle / MANIFEST).read_bytes(), type=type(manifest)) == manifest


def _with_half(bundle: Path) -> Path:
    """The bundle with a second model, which is the first one again."""
    shutil.copy(bundle / MODEL, bundle / MODEL_FP16)
    shutil.copy(bundle / GOLDEN, bundle / GOLDEN_FP16)
    seal(bundle, decode((bundle / MANIFEST).read_bytes()))
    return bundle


def test_a_bundle_may_hold_its_model_in_other_precisions(bundle: Path) -> None:
    manifest, _ = verify(_with_half(bundle))
    assert set(manifest.files) == {*SEALED, MODEL_FP16, GOLDEN_FP16}


@pytest.mark.parametrize("name", [MODEL_FP16, GOLDEN_FP16])
def test_a_further_model_and_its_golden_vectors_belong_together(bundle: Path, name: str) -> None:
    rewrite(_with_half(bundle), lambda facts: facts["files"].pop(name))
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"lists only one of {MODEL_FP16} and {GOLDEN_FP16}"):
        verify(bundle)


def test_a_further_model_is_inspected_and_named(bundle: Path) -> None:
    _with_half(bundle)
    (bundle / MODEL_FP16).write_bytes(b"\x0a")
    seal(bundle, decode((bundle / MANIFEST).read_bytes()))
    with pytest.raises(BundleError, match=f"^{MODEL_FP16}: is not a valid ONNX model"):
        verify(bundle)


def test_a_further_model_that_nobody_listed_is_refused(bundle: Path) -> None:
    shutil.copy(bundle / MODEL, bundle / MODEL_FP16)
    with pytest.raises(BundleError, match=f"^{MODEL_FP16}: is not listed"):
        verify(bundle)
