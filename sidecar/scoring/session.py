"""The model in ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from sidecar.errors import BundleError
from sidecar.scoring.providers import CPU
from sidecar.types import Floats

_FILE = "model.onnx"
_FATAL = 4
INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("quality", "embedding", "output_tokens")
# In the metadata of a model in which padding costs next to nothing; see export/encoder/unpadded.py.
UNPADDED = "unpadded"


def available() -> list[str]:
    """The providers that are installed; whether they work here only trying tells."""
    return list(ort.get_available_providers())


def opened(
    path: Path,
    providers: Sequence[Any] = (CPU,),
    *,
    threads: int = 1,
    dimensions: Mapping[str, int] | None = None,
    strict: bool = False,
    name: str = _FILE,
) -> ort.InferenceSession:
    """A session of ONNX Runtime, as we want it.

    Args:
        path: of the model. Never bytes: relative paths inside would then resolve against the working directory.
        providers: in ONNX Runtime's terms, best first.
        threads: that one run may use; the calling thread is one of them.
        dimensions: values of symbolic dimensions, by name; what depends on them is computed now, and not in every run.
        strict: refuse a model of which a part would run on the CPU.
        name: of the model, for errors.

    Raises:
        BundleError: ONNX Runtime refuses the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = False  # pays for fixed shapes only, and must not allocate while a graph is captured
    options.log_severity_level = _FATAL  # what matters arrives as an exception
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    for dimension, value in (dimensions or {}).items():
        options.add_free_dimension_override_by_name(dimension, value)
    try:
        # With its fallback it would print, and answer from another provider than we report.
        return ort.InferenceSession(str(path), options, providers=list(providers), enable_fallback=0)
    except Exception as error:  # ONNX Runtime has an exception type per status code, without a common base
        raise BundleError(f"{name}: ONNX Runtime cannot load it: {_first_line(error)}") from error


class Session:
    """One model loaded on the CPU; safe to call from several threads.

    Attributes:
        execution_provider: the first that ONNX Runtime uses.
        dimensions: names of the symbolic dimensions of a batch and of a row; empty where they are none.
        unpadded: whether the model takes padding out by itself, as it says.

    Args:
        path: of the model; see opened.
        candidates: columns that quality and output_tokens must have.
        threads: that one run may use; more than one would fight with the transport for the core of a static model.
        name: of the model, for errors.

    Raises:
        BundleError: ONNX Runtime refuses the model.
    """

    def __init__(self, path: Path, *, candidates: int, threads: int = 1, name: str = _FILE) -> None:
        session = opened(path, threads=threads, name=name)
        self.execution_provider: str = session.get_providers()[0]
        self.dimensions = [axis if isinstance(axis, str) else "" for axis in session.get_inputs()[0].shape]
        self.unpadded: bool = session.get_modelmeta().custom_metadata_map.get(UNPADDED) == "1"
        self._name = name
        self._candidates = candidates
        # The public method checks names and types on every call: 5 us, as much as three nodes of a static model.
        self._run = getattr(session, "_sess", session).run
        # ONNX Runtime would make these anew for every run, which takes 3 us.
        self._run_options = ort.RunOptions()

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
            OUTPUTS, {"input_ids": input_ids, "attention_mask": attention_mask}, self._run_options
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
            raise BundleError(f"{self._name}: fails on ids of its own tokenizer: {_first_line(error)}") from error
        columns = (self._candidates, outputs[1].shape[-1] if outputs[1].ndim else 0, self._candidates)
        for name, output, wanted in zip(OUTPUTS, outputs, columns, strict=True):
            if output.dtype != np.float32 or output.shape != (3, wanted):
                raise BundleError(
                    f"{self._name}: output {name} is {output.dtype} {output.shape} for a batch of 3; "
                    f"the contract says float32 (3, {wanted})"
                )
            if not np.isfinite(output).all():
                raise BundleError(
                    f"{self._name}: output {name} is not finite for an empty, a padded or an ordinary row"
                )
        return int(outputs[1].shape[1])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
