"""Buffers that stay where they are: a bound input or output must not move between runs, or a captured graph is void."""

import ctypes
import logging
import mmap
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from sidecar.types import Floats

log = logging.getLogger(__name__)


class Input(NamedTuple):
    """An input of a model.

    Attributes:
        array: [B, T], to be filled.
        value: what is bound.
        upload: brings what was filled to where the model reads it.
    """

    array: NDArray[np.int64]
    value: Any
    upload: Callable[[], None]


class Output(NamedTuple):
    """An output of a model.

    Attributes:
        value: what is bound.
        download: gives what the model wrote; the array may be written over by the next run.
    """

    value: Any
    download: Callable[[], Floats]


class Memory(Protocol):
    """Makes buffers."""

    def input(self, shape: tuple[int, int]) -> Input:
        """Makes an input of int64."""
        ...

    def output(self, shape: tuple[int, int]) -> Output:
        """Makes an output of float32."""
        ...


class HostMemory:
    """Plain arrays: the model reads and writes them itself."""

    def input(self, shape: tuple[int, int]) -> Input:
        """See Memory."""
        array = np.zeros(shape, np.int64)
        return Input(array, ort.OrtValue.ortvalue_from_numpy(array), _nothing)

    def output(self, shape: tuple[int, int]) -> Output:
        """See Memory."""
        array = np.zeros(shape, np.float32)
        return Output(ort.OrtValue.ortvalue_from_numpy(array), lambda: array)


class CudaMemory:
    """Buffers on a GPU, filled from page-locked ones on the host.

    From page-locked memory the copy needs no staging and is complete when the call returns, which matters here: ONNX
    Runtime's own stream does not wait for the default one, in which this copy runs.

    Args:
        device: number of the GPU.
    """

    def __init__(self, device: int = 0) -> None:
        self._device = device
        self._lock_pages = _page_locker()

    def input(self, shape: tuple[int, int]) -> Input:
        """See Memory."""
        # Pages of their own, since whole pages are locked.
        array = np.frombuffer(mmap.mmap(-1, shape[0] * shape[1] * 8), np.int64).reshape(shape)
        self._lock_pages(array)
        value = ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.int64, "cuda", self._device)
        return Input(array, value, lambda: value.update_inplace(array))

    def output(self, shape: tuple[int, int]) -> Output:
        """See Memory."""
        value = ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, "cuda", self._device)
        return Output(value, value.numpy)


def _nothing() -> None:
    """What lies where the model reads it needs no copy."""


def _page_locker() -> Callable[[NDArray[Any]], None]:
    """Locks the pages of arrays while these live, by the CUDA runtime that ONNX Runtime has loaded; else leaves them be."""
    try:
        runtime = ctypes.CDLL(_loaded("libcudart.so"))
        register, release = runtime.cudaHostRegister, runtime.cudaHostUnregister
    except (OSError, AttributeError, StopIteration):
        log.warning("CUDA's runtime library is not loaded: inputs are copied from ordinary memory, which is slower")
        return lambda _array: None
    register.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint]
    release.argtypes = [ctypes.c_void_p]

    def lock(array: NDArray[Any]) -> None:
        if error := register(array.ctypes.data, array.nbytes, 0):
            log.warning(
                "cudaHostRegister gave error %d: inputs are copied from ordinary memory, which is slower", error
            )
        else:  # pages that are given back while they are locked could not be locked again
            weakref.finalize(array, release, array.ctypes.data).atexit = False

    return lock


def _loaded(name: str) -> str:
    """The path of a library that this process has loaded."""
    with Path("/proc/self/maps").open(encoding="utf-8") as maps:
        return next(line.split()[-1] for line in maps if name in line.rpartition("/")[2])
