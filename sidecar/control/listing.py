"""What lies in the registry: every bundle, or why it is refused."""

from collections.abc import Sequence
from pathlib import Path

from sidecar.bundle.registry import Registry
from sidecar.bundle.signature import Trust
from sidecar.bundle.verify import verify
from sidecar.control.messages import Listed
from sidecar.errors import BundleError


def listed(registry: Registry, trust: Sequence[str]) -> tuple[Listed, ...]:
    """All bundles of a registry, by name; those that are not sound with the reason.

    Args:
        registry: where they lie.
        trust: paths of public keys, as Config.trust.
    """
    trusted = Trust.read(map(Path, trust))
    found = []
    for name in registry.names():
        try:
            manifest, digest = verify(registry.directory / name, trust=trusted)
        except BundleError as error:
            found.append(Listed(name, refusal=str(error)))
        else:
            found.append(Listed(name, manifest.name, manifest.version, manifest.family, digest))
    return tuple(found)
