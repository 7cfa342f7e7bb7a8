"""The bundle that is part of the program."""

from pathlib import Path

from sidecar.config import Config

DEFAULT_BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "default"


def configured_bundle(config: Config) -> Path:
    """Where the bundle lies that the configuration names; the embedded one if it names none."""
    return Path(config.bundle) if config.bundle else DEFAULT_BUNDLE
