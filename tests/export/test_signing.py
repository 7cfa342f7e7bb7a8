import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from export.cli import main
from export.signing import PRIVATE, PUBLIC, generate, sign
from sidecar.bundle.manifest import GOLDEN, SIGNATURES
from sidecar.bundle.signature import Trust, key_id
from sidecar.bundle.verify import examine, verify
from sidecar.errors import BundleError, RouterError
from tests.bundle.keys import key_of


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy to sign."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_made_key_signs_what_its_public_half_verifies(bundle: Path, tmp_path: Path) -> None:
    name = generate(tmp_path / "keys")
    assert sign(bundle, tmp_path / "keys" / PRIVATE) == (name, (name,))
    trust = Trust.read([tmp_path / "keys" / PUBLIC])
    assert list(trust.keys) == [name]
    assert examine(bundle, trust=trust).vouched == (name,)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_private_key_is_its_owners_alone_and_the_public_one_everybodys(tmp_path: Path, umask: int) -> None:
    program = (
        f"import os; os.umask({umask}); from pathlib import Path; import export.signing as s; s.generate(Path('k'))"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {program}"], check=True, cwd=tmp_path
    )
    assert stat.S_IMODE((tmp_path / "k" / PRIVATE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "k" / PUBLIC).stat().st_mode) == 0o644


@pytest.mark.parametrize("present", [PRIVATE, PUBLIC])
def test_keys_are_never_overwritten(tmp_path: Path, present: str) -> None:
    (tmp_path / present).write_text("mine")
    with pytest.raises(RouterError, match=f"^--out: .*{present} exists"):
        generate(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(present, "mine")]


@pytest.mark.parametrize("present", [PRIVATE, PUBLIC])
def test_a_key_that_appears_at_the_last_moment_is_not_overwritten_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: str
) -> None:
    (tmp_path / present).write_text("mine")
    monkeypatch.setattr("os.path.lexists", lambda _: False)
    with pytest.raises(RouterError, match=r"^--out: .*cannot be written: File exists"):
        generate(tmp_path)
    assert (tmp_path / present).read_text() == "mine"


def test_signing_again_replaces_the_own_signature_and_keeps_the_others(bundle: Path, tmp_path: Path) -> None:
    old, new = key_of(1), key_of(2)
    old_file, new_file = old.write_private(tmp_path / "old.pem"), new.write_private(tmp_path / "new.pem")
    sign(bundle, old_file)
    assert sign(bundle, new_file)[1] == (old.id, new.id)
    assert sign(bundle, old_file)[1] == (new.id, old.id)
    assert len(examine(bundle).signatures) == 2


def test_a_bundle_that_does_not_verify_is_not_signed(bundle: Path, tmp_path: Path) -> None:
    (bundle / GOLDEN).write_bytes(b"[]")
    with pytest.raises(BundleError, match=f"^{GOLDEN}"):
        sign(bundle, key_of(1).write_private(tmp_path / "k.pem"))
    assert not (bundle / SIGNATURES).exists()


def test_there_is_room_for_so_many_keys_and_no_more(bundle: Path, tmp_path: Path) -> None:
    for seed in range(16):
        sign(bundle, key_of(seed).write_private(tmp_path / "k.pem"))
    sign(bundle, key_of(0).write_private(tmp_path / "k.pem"))
    with pytest.raises(RouterError, match="has 16 signatures; remove"):
        sign(bundle, key_of(16).write_private(tmp_path / "k.pem"))
    verify(bundle)


def test_an_encrypted_key_is_refused_with_the_remedy(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(RouterError, match=r"^--key: .*k\.pem: is encrypted; give it decrypted"):
        sign(bundle, key_of(1).write_private(tmp_path / "k.pem", password=b"secret"))


def test_a_public_key_or_junk_is_no_private_key(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_bytes(b"\x00junk")
    for key in (key_of(1).write_public(tmp_path / "k.pem"), tmp_path / "junk.pem"):
        with pytest.raises(RouterError, match=f"^--key: {key}: holds no Ed25519 private key"):
            sign(bundle, key)


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(RouterError, match=r"router-sidecar\[signing\]"):
        generate(tmp_path)


def test_the_command_line_makes_keys_and_signs(bundle: Path, tmp_path: Path) -> None:
    made = run("keygen", "--out", tmp_path / "keys")
    assert made.exit_code == 0
    signed = run("sign", bundle, "--key", tmp_path / "keys" / PRIVATE)
    assert signed.exit_code == 0
    (name,) = Trust.read([tmp_path / "keys" / PUBLIC]).keys
    assert name in made.output
    assert f"signed by key {name}" in signed.output
    again = run("keygen", "--out", tmp_path / "keys")
    assert again.exit_code == 1
    assert again.stderr.startswith("error: --out: ")
    (bundle / GOLDEN).write_bytes(b"[]")
    assert run("sign", bundle, "--key", tmp_path / "keys" / PRIVATE).stderr.startswith(f"error: {GOLDEN}: ")


def test_a_key_is_named_by_the_digest_of_its_raw_bytes() -> None:
    assert key_id(bytes(32)) == "66687aadf862bd77"  # sha256 of 32 zero bytes
