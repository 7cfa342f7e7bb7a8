"""The model in ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from sidecar.errors import BundleError
from sidecar.types import Floats

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_FILE = "model.onnx"
_FATAL = 4
_OUTPUTS = ["quality", "embedding", "output_tokens"]


def providers(family: str, available: Sequence[str]) -> list[str]:
    """Where a model should run, best first.

    A static model is a few microseconds of arithmetic: moving it to a GPU costs more than it saves.
    """
    return [_CUDA, _CPU] if family == "encoder" and _CUDA in available else [_CPU]


class Session:
    """One loaded model; safe to call from several threads.

    Attributes:
        execution_provider: the first that ONNX Runtime uses.

    Args:
        path: of model.onnx. Never bytes: relative paths inside would then resolve against the working directory.
        family: of the router.
        candidates: columns that quality and output_tokens must have.

    Raises:
        BundleError: ONNX Runtime refuses the model.
    """

    def __init__(self, path: Path, *, family: str, candidates: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # the calling thread itself; more would fight with the lane for the core
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.enable_mem_pattern = False  # pays for fixed shapes only; every batch has its own length
        options.log_severity_level = _FATAL  # what matters arrives as an exception
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        wanted = providers(family, ort.get_available_providers())
        try:
            # With its fallback it would print, and answer from another provider than we report.
            session = ort.InferenceSession(str(path), options, providers=wanted, enable_fallback=0)
        except Exception as error:  # ONNX Runtime has an exception type per status code, without a common base
            raise BundleError(f"{_FILE}: ONNX Runtime cannot load it: {_first_line(error)}") from error
        self.execution_provider: str = session.get_providers()[0]
        self._candidates = candidates
        self._run = session.run

    def __call__(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> tuple[Floats, Floats, Floats]:
        """Runs the model.

        Args:
            input_ids: [B, T].
            attention_mask: [B, T], 1 for a token and 0 for padding.

        Returns:
            quality [B, C] before shrinkage, embedding [B, D], output_tokens [B, C].

        Raises:
            Exception: whatever ONNX Runtime raises.
        """
        quality, embedding, output_tokens = self._run(
            _OUTPUTS, {"input_ids": input_ids, "attention_mask": attention_mask}
        )
        return quality, embedding, output_tokens

    def probe(self, ids: Sequence[int]) -> int:
        """Runs the corner cases once: these token ids, several rows, padding, a row without any token.

        Returns:
            Width of the embedding.

        Raises:
            BundleError: the model fails on them, or its outputs have other shapes or types than the contract says.
        """
        width = len(ids)
        input_ids = np.array([ids, ids, ids], np.int64)
        mask = np.ones((3, width), np.int64)
        mask[1, 1:] = 0
        mask[2] = 0
        try:
            outputs = self(input_ids, mask)
        except Exception as error:  # see __init__
            raise BundleError(f"{_FILE}: fails on ids of its own tokenizer: {_first_line(error)}") from error
        columns = (self._candidates, outputs[1].shape[-1] if outputs[1].ndim else 0, self._candidates)
        for name, output, wanted in zip(_OUTPUTS, outputs, columns, strict=True):
            if output.dtype != np.float32 or output.shape != (3, wanted):
                raise BundleError(
                    f"{_FILE}: output {name} is {output.dtype} {output.shape} for a batch of 3; "
                    f"the contract says float32 (3, {wanted})"
                )
            if not np.isfinite(output).all():
                raise BundleError(f"{_FILE}: output {name} is not finite for an empty, a padded or an ordinary row")
        return int(outputs[1].shape[1])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
