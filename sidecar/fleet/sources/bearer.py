"""The token that a source shows, from a file that may change."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sidecar.door.watched import Watched
from sidecar.fleet.sources.samples import SourceError


class Bearer:
    """Gives the headers of a call, the token among them.

    Args:
        path: of a file that holds a token and nothing else.
        others: further headers.
    """

    def __init__(self, path: Path, others: Mapping[str, str]) -> None:
        self._path = path
        self._file = Watched([path])
        self._others = others
        self._token = ""

    def __call__(self) -> Mapping[str, str]:
        """The headers.

        Raises:
            SourceError: the file holds no token.
        """
        try:
            news = self._file.news()
        except OSError as error:
            self._token = ""
            raise SourceError(f"token_file {self._path} cannot be read: {error.strerror}") from None
        if news:
            token = news[0].decode("ascii", "replace").strip()
            self._token = token if token.isascii() and token.isprintable() and len(token.split()) == 1 else ""
        if not self._token:
            raise SourceError(f"token_file {self._path} holds no token; put the token in it and nothing else")
        return {**self._others, "Authorization": f"Bearer {self._token}"}


def headers_of(headers: Mapping[str, str], token_file: str) -> Callable[[], Mapping[str, str]]:
    """What gives the headers of a call: the configured ones, and the token if there is one."""
    return Bearer(Path(token_file), headers) if token_file else lambda: headers
