"""An encoder on a GPU: its model in half precision, in few shapes, each with a session of its own."""

import logging
from typing import Any

import onnxruntime as ort

from sidecar.bundle import files
from sidecar.bundle.manifest import MODEL_FP16, MODEL_FP32
from sidecar.bundle.verify import Verified
from sidecar.errors import BundleError
from sidecar.scoring.bucketed import Bucketed
from sidecar.scoring.buckets import Buckets
from sidecar.scoring.memory import CudaMemory
from sidecar.scoring.pace import Limits
from sidecar.scoring.providers import CUDA, TENSORRT, Choice
from sidecar.scoring.session import Session, opened

log = logging.getLogger(__name__)

_DEVICE = 0


def model_for_device(verified: Verified) -> str:
    """Which of a bundle's models a GPU runs.

    The int8 one is for CPUs: CUDA has no kernels for its operators, so its parts would go to and fro.

    Raises:
        BundleError: there is none.
    """
    for name in (MODEL_FP16, MODEL_FP32):
        if name in verified.shapes:
            return name
    raise BundleError(f"{MODEL_FP16}: is not part of this bundle, so a GPU cannot run it; export the bundle with it")


def open_device(
    verified: Verified, choice: Choice, limits: Limits, like: Session, *, width: int, last_id: int
) -> Bucketed:
    """Opens the sessions of an encoder on a GPU; they are still to be warmed by the thread that will run them.

    Args:
        verified: the bundle.
        choice: which provider.
        limits: rows of one run.
        like: the same router's model on the CPU.
        width: of its embedding.
        last_id: its tokenizer's largest id.

    Raises:
        BundleError: the provider cannot be started, or refuses the model.
    """
    name = model_for_device(verified)
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA's libraries from the wheels beside us; without it only the system's are found

    def session(batch: int, tokens: int, graphs: bool) -> Any:  # noqa: FBT001 - as Open
        dimensions = dict(zip(like.dimensions, (batch, tokens), strict=True))
        dimensions.pop("", None)
        options = _providers(choice.provider, graphs=graphs)
        with files.pinned(verified.directory / name, verified.model_stamps[name]) as path:
            try:
                made = opened(path, options, dimensions=dimensions, strict=choice.demanded, name=name)
            except BundleError:
                if not choice.demanded:
                    raise
                made = opened(path, options, dimensions=dimensions, name=name)
                log.warning("%s: a part of it runs on the CPU, though %s is demanded", name, choice.provider)
        if made.get_providers()[0] != choice.provider:  # it falls back without an error
            raise BundleError(f"{name}: {choice.provider} could not be started")
        return made

    candidates = len(verified.manifest.candidates)
    return Bucketed(
        session,
        _buckets(choice.provider, limits.rows, verified.manifest.tokenizer.max_tokens),
        (candidates, width, candidates),
        CudaMemory(_DEVICE),
        pad_id=verified.manifest.tokenizer.pad_id,
        last_id=last_id,
        graphs=True,
    )


def _buckets(provider: str, rows: int, tokens: int) -> Buckets:
    if provider == TENSORRT:  # every shape is an engine, which takes up to a minute to build
        return Buckets([1, rows], [max(1, tokens // 4), tokens])
    return Buckets.up_to(rows, tokens)


def _providers(provider: str, *, graphs: bool) -> list[Any]:
    """In ONNX Runtime's terms; TensorRT leaves to CUDA what it cannot do. The CPU comes last by itself."""
    cuda = {
        "device_id": str(_DEVICE),
        "arena_extend_strategy": "kSameAsRequested",  # a session for each shape: none may take twice what it needs
        "enable_cuda_graph": str(int(graphs and provider == CUDA)),
    }
    if provider == CUDA:
        return [(CUDA, cuda)]
    tensorrt = {"device_id": str(_DEVICE), "trt_fp16_enable": "1", "trt_cuda_graph_enable": str(int(graphs))}
    return [(TENSORRT, tensorrt), (CUDA, cuda)]
