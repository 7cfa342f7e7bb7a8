"""Inputs that once broke something, kept beside the code."""

from pathlib import Path

REGRESSIONS = Path(__file__).resolve().parent / "regressions"


def recorded() -> dict[str, bytes]:
    """Each by the name that says what it broke."""
    return {path.stem: path.read_bytes() for path in sorted(REGRESSIONS.glob("*.bin"))}
