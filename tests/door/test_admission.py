from hmac import compare_digest
from pathlib import Path

import pytest

from sidecar.door import admission as subject
from sidecar.door.admission import LOOK_SECONDS, Admission
from sidecar.door.tokens import Role, mint
from sidecar.errors import ConfigError, NotPermitted, Unauthenticated

GATEWAY, OPERATOR = mint("gateway", [Role.ROUTE, Role.REPORT]), mint("operator", [Role.OPERATE])


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(GATEWAY.lines + OPERATOR.lines)
    return path


def shown(token: str) -> list[tuple[str, str]]:
    return [("user-agent", "test"), ("authorization", f"Bearer {token}")]


def test_a_token_is_good_for_its_roles_only(file: Path) -> None:
    admission = Admission(str(file))
    for minted, role, error in (
        (GATEWAY, Role.ROUTE, None),
        (GATEWAY, Role.REPORT, None),
        (GATEWAY, Role.OPERATE, NotPermitted),
        (OPERATOR, Role.OPERATE, None),
        (OPERATOR, Role.ROUTE, NotPermitted),
        (GATEWAY, None, None),
        (OPERATOR, None, None),
    ):
        answer = admission.keeper(role)(shown(minted.token))
        assert answer is None if error is None else isinstance(answer, error)


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer ")],
        [("authorization", GATEWAY.token)],
        [("authorization", f"Basic {GATEWAY.token}")],
        [("authorization", f"Bearer  {GATEWAY.token}")],
        [("authorization", f"Bearer {GATEWAY.token[:-1]}")],
        [("authorization", f"Bearer {GATEWAY.token}x")],
        [("authorization", "Bearer Grüße")],
        [("authorization", f"Bearer {GATEWAY.token}".encode())],
        [("authorization", "Bearer x"), ("authorization", f"Bearer {GATEWAY.token}")],
        [("authorization", "Bearer " + parse) for parse in GATEWAY.lines.split('"') if len(parse) == 64],
    ],
)
def test_everything_else_is_unauthenticated_with_a_remedy(file: Path, metadata: list[tuple[str, str | bytes]]) -> None:
    error = Admission(str(file)).keeper(Role.ROUTE)(metadata)
    assert isinstance(error, Unauthenticated)
    assert "oken" in str(error) or "Bearer" in str(error)
    assert GATEWAY.token[3:] not in str(error)


def test_every_entry_is_compared_wherever_the_right_one_stands(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def counting(stored: bytes, given: bytes) -> bool:
        compared.append(stored)
        return compare_digest(stored, given)

    monkeypatch.setattr(subject, "compare_digest", counting)
    admit = Admission(str(file)).keeper(None)
    for token in (GATEWAY.token, OPERATOR.token, "rs_nobody"):
        compared.clear()
        admit(shown(token))
        assert len(compared) == 2


def test_the_file_is_looked_at_once_a_second_and_not_in_between(file: Path) -> None:
    clock = Clock()
    admit = Admission(str(file), clock).keeper(Role.ROUTE)
    file.write_text(OPERATOR.lines)
    assert admit(shown(GATEWAY.token)) is None
    clock.seconds += LOOK_SECONDS
    assert isinstance(admit(shown(GATEWAY.token)), Unauthenticated)
    file.write_text(GATEWAY.lines)
    assert isinstance(admit(shown(GATEWAY.token)), Unauthenticated)
    clock.seconds += LOOK_SECONDS
    assert admit(shown(GATEWAY.token)) is None


@pytest.mark.parametrize("content", ["[[tokens]]", "", None])
def test_a_broken_file_keeps_the_tokens_in_use_and_is_logged_once(
    file: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    admit = Admission(str(file), clock).keeper(Role.ROUTE)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    for _ in range(3):
        clock.seconds += LOOK_SECONDS
        assert admit(shown(GATEWAY.token)) is None
    assert len(caplog.records) == 1
    assert "The tokens in use stay" in caplog.text


def test_a_missing_file_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokens: .* cannot be read"):
        Admission(str(tmp_path / "missing.toml"))
