from pathlib import Path

import pytest

from sidecar.config import Config, load_config
from sidecar.errors import ConfigError
from sidecar.ledger.settings import LedgerConfig, location, shown


def test_there_is_no_ledger_until_a_directory_is_named() -> None:
    assert Config().checked().ledger.directory == ""


def test_the_store_is_a_file_in_the_directory_unless_something_else_is_said() -> None:
    assert location(LedgerConfig(directory="/var/lib/router")) == ("sqlite", "/var/lib/router/ledger.sqlite")
    assert location(LedgerConfig(directory="d", url="sqlite:///srv/a%20b.db")) == ("sqlite", "/srv/a b.db")
    url = "postgresql://router@db/ledger?sslmode=require"
    assert location(LedgerConfig(directory="d", url=url)) == ("postgresql", url)


@pytest.mark.parametrize(
    "url", ["sqlite://relative.db", "sqlite:", "sqlite:///", "sqlite:///a?b", "mysql://h/d", "ledger.db", "http://[x"]
)
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"ledger\.url"):
        LedgerConfig(directory="d", url=url).checked()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"url": "sqlite:///x"}, r"ledger\.directory: is missing"),
        ({"directory": "d", "redact": "nothing", "store_prompts": True}, "MODULE:FUNCTION"),
        ({"directory": "d", "redact": "m:f"}, r"set ledger\.store_prompts"),
        ({"directory": "d", "segment_bytes": 1 << 20, "journal_bytes": 1 << 20}, r"ledger\.segment_bytes"),
    ],
)
def test_parts_that_do_not_fit_are_named(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LedgerConfig(**keys).checked()  # type: ignore[arg-type]


def test_the_configuration_file_is_checked_whole(tmp_path: Path) -> None:
    file = tmp_path / "sidecar.toml"
    file.write_text('[ledger]\ndirectory = "d"\nurl = "mysql://x"\n')
    with pytest.raises(ConfigError, match=r"sidecar\.toml: ledger\.url"):
        load_config(file)
    file.write_text('[ledger]\ndirectory = "d"\nkeep_days = -1\n')
    with pytest.raises(ConfigError, match=r"ledger\.keep_days: is -1"):
        load_config(file)


@pytest.mark.parametrize(
    "url", ["postgresql://me:pass:word@h/d", "postgresql://h/d?user=me&password=pass%20word&sslmode=require"]
)
def test_a_password_is_never_shown(url: str) -> None:
    assert "pass" not in shown(url).replace("password", "")
    assert "***" in shown(url)
    assert shown(url).endswith(url[-3:])
    with pytest.raises(ConfigError) as refused:
        LedgerConfig(directory="d", url=url.replace("postgresql", "pgsql")).checked()
    assert "pass" not in str(refused.value).replace("password", "")


def test_a_url_without_a_password_is_shown_as_it_is() -> None:
    assert shown("postgresql://me@h:5432/d") == "postgresql://me@h:5432/d"
