import os
from pathlib import Path

import pytest

from sidecar.fleet.sources.bearer import Bearer, headers_of
from sidecar.fleet.sources.samples import SourceError


def test_the_token_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    bearer = Bearer(path, {"X": "y"})
    assert bearer() == {"X": "y", "Authorization": "Bearer one"}
    assert bearer() == {"X": "y", "Authorization": "Bearer one"}
    path.write_text("two")
    os.utime(path, (1.0, 1.0))
    assert bearer()["Authorization"] == "Bearer two"


@pytest.mark.parametrize("content", ["", "two words", "a\nb", "tökên"])
def test_a_file_without_a_token_is_an_error_each_time_that_does_not_repeat_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    bearer = Bearer(path, {})
    for _ in range(2):
        with pytest.raises(SourceError, match="holds no token") as caught:
            bearer()
        assert not content or content not in str(caught.value)


def test_a_file_that_is_gone_is_an_error_each_time_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    bearer = Bearer(path, {})
    bearer()
    path.unlink()
    for _ in range(2):
        with pytest.raises(SourceError):
            bearer()
    path.write_text("one")
    assert bearer()["Authorization"] == "Bearer one"


def test_without_a_file_there_is_no_token() -> None:
    assert headers_of({"X": "y"}, "")() == {"X": "y"}
