import hashlib
import tomllib

import pytest

from sidecar.door.tokens import PREFIX, Role, mint, parse_tokens
from sidecar.errors import ConfigError

ENTRY = mint("gateway", [Role.ROUTE, Role.REPORT])
OTHER = mint("operator", [Role.OPERATE])
DIGEST = "ab" * 32


def test_a_new_token_is_random_and_its_lines_let_it_in() -> None:
    assert ENTRY.token.startswith(PREFIX)
    assert len({mint("a", [Role.ROUTE]).token for _ in range(100)}) == 100
    assert len(ENTRY.token) >= len(PREFIX) + 43
    (entry,) = parse_tokens("t", ENTRY.lines.encode())
    assert entry.name == "gateway"
    assert entry.sha256 == hashlib.sha256(ENTRY.token.encode()).hexdigest()
    assert entry.roles == (Role.ROUTE, Role.REPORT)


def test_the_lines_do_not_hold_the_token_and_can_be_appended() -> None:
    assert ENTRY.token not in ENTRY.lines
    both = ENTRY.lines + "\n" + OTHER.lines
    assert [entry.name for entry in parse_tokens("t", both.encode())] == ["gateway", "operator"]


def test_a_role_that_is_given_twice_is_listed_once() -> None:
    (entry,) = tomllib.loads(mint("a", [Role.ROUTE, Role.ROUTE]).lines)["tokens"]
    assert entry["roles"] == ["route"]


@pytest.mark.parametrize("name", ["", "a b", 'a"', "a\n", "x" * 65])
def test_a_name_that_would_spoil_the_file_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name: "):
        mint(name, [Role.ROUTE])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"\$ is missing or wrong|tokens"),
        ("tokens = []", r"\$\.tokens"),
        ("[[tokens]]\nname = ", "is not TOML"),
        (f"[[tokens]]\nname = 'a'\nsha256 = '{DIGEST}'\nroles = []", r"\$\.tokens\[0\]\.roles"),
        (f"[[tokens]]\nname = 'a'\nsha256 = '{DIGEST}'\nroles = ['admin']", r"\$\.tokens\[0\]\.roles\[0\]"),
        ("[[tokens]]\nname = 'a'\nsha256 = 'rs_secret'\nroles = ['route']", r"\$\.tokens\[0\]\.sha256"),
        (f"[[tokens]]\nname = 'a'\ntoken = 'rs_secret'\nsha256 = '{DIGEST}'\nroles = ['route']", "tokens"),
        (f"[[tokens]]\nname = 'a b'\nsha256 = '{DIGEST}'\nroles = ['route']", r"\$\.tokens\[0\]\.name"),
        (ENTRY.lines + ENTRY.lines, "same name"),
        (ENTRY.lines + ENTRY.lines.replace("gateway", "other"), "same sha256"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_remedy_and_not_quoted(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse_tokens("tokens.toml", text.encode())
    assert str(caught.value).startswith("tokens: tokens.toml")
    assert "rs_secret" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ConfigError, match="is not TOML"):
        parse_tokens("tokens.toml", b"\xff\xfe")
