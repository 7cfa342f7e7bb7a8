import base64
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.bundle import files, signature
from sidecar.bundle.load import load
from sidecar.bundle.manifest import GOLDEN, MANIFEST, SIGNATURES
from sidecar.bundle.seal import seal
from sidecar.bundle.signature import ANYONE, Trust
from sidecar.bundle.verify import decode, examine, verify
from sidecar.errors import BundleError, ConfigError
from tests.bundle.keys import Key, key_of, sign

OLD, NEW, STRANGER = key_of(1), key_of(2), key_of(3)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy to sign and to tamper with."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def signed(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle signed by OLD; tests that change a file put it back."""
    return sign(Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("signed") / "bundle")), OLD)


def trusting(*keys: Key) -> Trust:
    return Trust({key.id: key.private.public_key().public_bytes_raw() for key in keys})


def test_a_bundle_signed_by_a_trusted_key_passes_and_says_who_vouches(bundle: Path) -> None:
    sign(bundle, OLD)
    verified = examine(bundle, trust=trusting(OLD))
    assert verified.vouched == (OLD.id,)
    assert verified.sealed == (bundle / MANIFEST).read_bytes()
    assert load(bundle, trust=trusting(OLD)).vouched == (OLD.id,)


def test_one_signature_by_a_trusted_key_is_enough_so_that_keys_can_be_changed(bundle: Path) -> None:
    sign(bundle, OLD, NEW)
    assert verify(bundle, trust=trusting(OLD)) == verify(bundle, trust=trusting(NEW))
    assert examine(bundle, trust=trusting(NEW, OLD)).vouched == (OLD.id, NEW.id)
    sign(bundle, NEW)
    verify(bundle, trust=trusting(OLD, NEW))
    with pytest.raises(BundleError, match=f"^{SIGNATURES}: the bundle is signed by {NEW.id}; trusted are {OLD.id}"):
        verify(bundle, trust=trusting(OLD))


def test_an_unsigned_bundle_is_refused_where_somebody_is_trusted(bundle: Path) -> None:
    with pytest.raises(BundleError, match=f"^{SIGNATURES}: the bundle is not signed; trusted are {OLD.id}: sign it"):
        load(bundle, trust=trusting(OLD))


def test_a_signature_by_a_stranger_under_a_trusted_name_does_not_hold(bundle: Path) -> None:
    entry = STRANGER.entry((bundle / MANIFEST).read_bytes()) | {"key_id": OLD.id}
    (bundle / SIGNATURES).write_text(json.dumps([entry]))
    with pytest.raises(BundleError, match=f"the trusted key {OLD.id} does not hold"):
        verify(bundle, trust=trusting(OLD))


def test_a_signature_without_the_prefix_means_nothing_here(bundle: Path) -> None:
    bare = base64.b64encode(OLD.private.sign((bundle / MANIFEST).read_bytes())).decode()
    (bundle / SIGNATURES).write_text(json.dumps([{"key_id": OLD.id, "signature": bare}]))
    with pytest.raises(BundleError, match="does not hold"):
        verify(bundle, trust=trusting(OLD))


def test_a_signature_of_another_bundle_does_not_hold_here(bundle: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    (other / GOLDEN).write_text(json.dumps(json.loads((other / GOLDEN).read_bytes())[:1]))
    seal(other, decode((other / MANIFEST).read_bytes()))
    shutil.copy(sign(bundle, OLD) / SIGNATURES, other)
    verify(other)
    with pytest.raises(BundleError, match="does not hold"):
        verify(other, trust=trusting(OLD))


def test_a_signed_bundle_is_still_checked_file_by_file(bundle: Path) -> None:
    sign(bundle, OLD)
    (bundle / GOLDEN).write_bytes(b"[1]")
    with pytest.raises(BundleError, match=f"^{GOLDEN}: has 3 bytes"):
        verify(bundle, trust=trusting(OLD))


def test_what_strangers_wrote_is_not_even_parsed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.bundle.verify.decode", lambda _: pytest.fail("parsed"))
    with pytest.raises(BundleError, match="is signed by"):
        verify(sign(bundle, STRANGER), trust=trusting(OLD))


@settings(max_examples=200)
@given(data=st.data())
def test_any_changed_byte_of_the_manifest_is_refused_under_trust(signed: Path, data: st.DataObject) -> None:
    sound = (signed / MANIFEST).read_bytes()
    changed = bytearray(sound)
    changed[data.draw(st.integers(0, len(sound) - 1))] ^= data.draw(st.integers(1, 255))
    (signed / MANIFEST).write_bytes(changed)
    try:
        with pytest.raises(BundleError, match=f"^{SIGNATURES}: .*does not hold"):
            verify(signed, trust=trusting(OLD))
    finally:
        (signed / MANIFEST).write_bytes(sound)


@settings(max_examples=200)
@given(data=st.data())
def test_any_changed_byte_of_a_signature_or_its_key_is_refused_under_trust(signed: Path, data: st.DataObject) -> None:
    sound = (signed / SIGNATURES).read_bytes()
    (entry,) = json.loads(sound)
    field = data.draw(st.sampled_from(["signature", "key_id"]))
    first = sound.index(entry[field].encode())
    changed = bytearray(sound)
    changed[first + data.draw(st.integers(0, len(entry[field]) - 1))] ^= data.draw(st.integers(1, 255))
    (signed / SIGNATURES).write_bytes(changed)
    try:
        with pytest.raises(BundleError, match=f"^{SIGNATURES}: "):
            verify(signed, trust=trusting(OLD))
    finally:
        (signed / SIGNATURES).write_bytes(sound)


def test_one_signature_has_one_spelling(signed: Path) -> None:
    (entry,) = json.loads((signed / SIGNATURES).read_bytes())
    text = entry["signature"]
    alike = [text[:85] + last + "==" for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"]
    same = [each for each in alike if base64.b64decode(each) == base64.b64decode(text)]
    assert len(same) == 16
    accepted: list[signature.Signature] = []
    for spelling in same:
        try:
            accepted += signature.read(json.dumps([entry | {"signature": spelling}]).encode())
        except BundleError:
            continue
    assert [each.signature for each in accepted] == [text]


ENTRY = OLD.entry(b"")


@pytest.mark.parametrize("trust", [ANYONE, trusting(OLD)])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"not JSON", "JSON is malformed"),
        (b"\xff", "utf-8|invalid|malformed"),
        (b"[]", "length >= 1"),
        (b"{}", "Expected `array`"),
        (json.dumps([ENTRY, ENTRY]).encode(), f"key {OLD.id} stands there twice"),
        (json.dumps([key_of(seed).entry(b"") for seed in range(17)]).encode(), "length <= 16"),
        (json.dumps([ENTRY | {"surprise": 1}]).encode(), r"unknown field `surprise` - at `\$\[0\]`"),
        (json.dumps([{"key_id": OLD.id}]).encode(), "missing required field `signature`"),
        (json.dumps([ENTRY | {"key_id": OLD.id.upper() + "A"}]).encode(), r"at `\$\[0\].key_id`"),
        (json.dumps([ENTRY | {"signature": "AAAA"}]).encode(), r"at `\$\[0\].signature`"),
        (json.dumps([ENTRY | {"signature": ENTRY["signature"] + "\n"}]).encode(), r"at `\$\[0\].signature`"),
        (bytes(files.MAX_BYTES[SIGNATURES] + 1), "over the limit"),
    ],
)
def test_a_malformed_file_is_refused_whoever_is_trusted(
    bundle: Path, content: bytes, reason: str, trust: Trust
) -> None:
    (bundle / SIGNATURES).write_bytes(content)
    with pytest.raises(BundleError, match=f"^{SIGNATURES}: .*({reason})"):
        verify(bundle, trust=trust)


def test_a_link_in_place_of_the_signatures_is_refused(bundle: Path, tmp_path: Path) -> None:
    (sign(bundle, OLD) / SIGNATURES).rename(tmp_path / "elsewhere")
    (bundle / SIGNATURES).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=f"^{SIGNATURES}: is a symbolic link"):
        verify(bundle, trust=trusting(OLD))


def test_the_manifest_cannot_list_the_signatures(bundle: Path) -> None:
    facts = json.loads((bundle / MANIFEST).read_bytes())
    facts["files"][SIGNATURES] = {"sha256": "0" * 64, "size": 1}
    (bundle / MANIFEST).write_text(json.dumps(facts))
    with pytest.raises(BundleError, match=f"files lists {SIGNATURES}"):
        verify(bundle)


def test_signatures_count_for_nothing_where_nobody_is_trusted(bundle: Path) -> None:
    verified = examine(sign(bundle, STRANGER))
    assert [entry.key_id for entry in verified.signatures] == [STRANGER.id]
    assert verified.vouched == ()


def test_sealing_anew_drops_signatures_since_they_no_longer_hold(bundle: Path) -> None:
    seal(sign(bundle, OLD), decode((bundle / MANIFEST).read_bytes()))
    assert not (bundle / SIGNATURES).exists()
    verify(bundle)


def test_a_failed_sealing_keeps_the_signatures_of_the_manifest_that_stays(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    sign(bundle, OLD)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        seal(bundle, decode((bundle / MANIFEST).read_bytes()))
    verify(bundle, trust=trusting(OLD))


def test_keys_are_read_from_files_and_directories(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    OLD.write_public(tmp_path / "keys" / "old.pem")
    NEW.write_public(tmp_path / "keys" / "new.pem")
    (tmp_path / "keys" / "README").write_text("no key")
    single = STRANGER.write_public(tmp_path / "single")
    assert Trust.read([tmp_path / "keys", single]) == trusting(NEW, OLD, STRANGER)
    assert Trust.read([]) == ANYONE
    assert not ANYONE


def _elliptic() -> bytes:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


@pytest.mark.parametrize("content", [b"", b"no PEM", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_refused_with_the_files_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "k.pem").write_bytes(content)
    with pytest.raises(ConfigError, match=r"^trust: .*k\.pem: holds no Ed25519 public key"):
        Trust.read([tmp_path])


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_bytes(_elliptic())
    with pytest.raises(ConfigError, match=r"k\.pem: holds no Ed25519 public key"):
        Trust.read([tmp_path / "k.pem"])


def test_a_private_key_does_not_belong_on_a_server(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"k\.pem: is a private key"):
        Trust.read([OLD.write_private(tmp_path / "k.pem")])


def test_missing_files_and_empty_directories_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^trust: .*nowhere: cannot be read: No such file"):
        Trust.read([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match=r"is a directory without \*\.pem"):
        Trust.read([tmp_path])


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = OLD.write_public(tmp_path / "k.pem")
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"^trust: needs the package cryptography; .*router-sidecar\[signing\]"):
        Trust.read([key])
    assert Trust.read([]) == ANYONE


@settings(max_examples=100)
@given(
    st.lists(
        st.builds(
            lambda seed, content: (key_of(seed), content), st.integers(0, 255), st.binary(min_size=1, max_size=20)
        ),
        min_size=1,
        max_size=16,
        unique_by=lambda pair: pair[0].id,
    )
)
def test_what_was_written_is_read(pairs: list[tuple[Key, bytes]]) -> None:
    entries: list[Any] = [signature.Signature(**key.entry(content)) for key, content in pairs]
    data = signature.write(entries)
    assert signature.read(data) == tuple(entries)
    assert len(data) <= files.MAX_BYTES[SIGNATURES]
