"""Where a model runs: on the CPU, or on a GPU as it is configured and can be had."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from sidecar.errors import ConfigError

CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))
Wanted = Literal["auto", "cpu", "cuda", "tensorrt"]
# What `auto` tries is CUDA: TensorRT builds an engine for minutes, which nobody should meet by surprise.
DEVICES = {"auto": CUDA, "cuda": CUDA, "tensorrt": TENSORRT}
REMEDIES = {
    CUDA: "install the extra `gpu` in place of `cpu` (both at once overwrite each other's files)",
    TENSORRT: "install the extra `gpu` in place of `cpu`, and TensorRT's libraries beside it",
}


class Choice(NamedTuple):
    """Where to run.

    Attributes:
        provider: ONNX Runtime's name.
        demanded: whether nothing else will do.
        reason: why it is this one.
    """

    provider: str
    demanded: bool
    reason: str


def demand(wanted: Wanted, available: Sequence[str]) -> None:
    """Makes sure that what is demanded is installed, whatever the bundle.

    Raises:
        ConfigError: it is not; the message says what to install.
    """
    provider = DEVICES.get(wanted, CPU)
    if wanted not in ("auto", "cpu") and provider not in available:
        raise ConfigError(
            f"provider: {wanted} is demanded, but the installed ONNX Runtime offers only {', '.join(available)}; "
            f"{REMEDIES[provider]}, or set provider to auto."
        )


def unusable(wanted: Wanted, reason: str) -> ConfigError:
    """The error of a provider that is demanded and installed, but does not work here."""
    provider = DEVICES[wanted]
    return ConfigError(
        f"provider: {wanted} is demanded, but {reason}; look whether nvidia-smi sees a GPU here, and whether CUDA's "
        f"libraries are those that this ONNX Runtime was built for ({REMEDIES[provider]}), or set provider to auto."
    )


def choose(wanted: Wanted, family: str, available: Sequence[str]) -> Choice:
    """What to try for a bundle.

    A static model is a few microseconds of arithmetic: moving it to a GPU costs more than it saves, so there it is not
    even asked for one.

    Raises:
        ConfigError: see demand.
    """
    if family != "encoder":
        return Choice(CPU, demanded=False, reason="a static model costs less than the way to a GPU")
    demand(wanted, available)
    if wanted == "cpu":
        return Choice(CPU, demanded=False, reason="configured")
    provider = DEVICES[wanted]
    if provider not in available:
        return Choice(CPU, demanded=False, reason="the installed ONNX Runtime has no CUDA")
    return Choice(provider, demanded=wanted != "auto", reason="configured" if wanted != "auto" else "it is at hand")
