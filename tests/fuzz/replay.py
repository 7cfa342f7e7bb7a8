"""Inputs that once broke something, kept beside the code."""

from pathlib import Path

REGRESSIONS = Path(__file__).resolve().parent / "regressions"


def recorded(target: str = ".") -> dict[str, bytes]:
    """Each by the name that says what it broke.

    Args:
        target: Folder of the target's inputs; those of whole requests lie above the others.
    """
    return {path.stem: path.read_bytes() for path in sorted((REGRESSIONS / target).glob("*.bin"))}
