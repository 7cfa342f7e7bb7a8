"""reference.npz: named arrays, read without executing or allocating what the file merely claims."""

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sidecar.bundle.manifest import REFERENCE
from sidecar.errors import BundleError

MAX_ARRAYS = 256
MAX_UNPACKED = 256 << 20
_SUFFIX = ".npy"
_NUMBERS = frozenset("biuf")


def read(data: bytes) -> Mapping[str, NDArray[Any]]:
    """Reads the arrays of a npz file. They are read-only.

    Raises:
        BundleError: no npz file, too many or too large arrays, or anything but plain numbers in them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _bound(entries)
            return {entry.filename.removesuffix(_SUFFIX): _array(_unpacked(archive, entry)) for entry in entries}
    except BundleError:
        raise
    except Exception as error:  # the zip, zlib and npy readers raise a dozen types on hostile bytes
        raise BundleError(f"{REFERENCE}: is not a valid npz file: {str(error) or type(error).__name__}") from error


def _bound(entries: Sequence[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_ARRAYS:
        raise BundleError(f"{REFERENCE}: holds {len(entries)} arrays; the limit is {MAX_ARRAYS}")
    # Of these two Python unpacks no more than it is asked for; the others unpack whole blocks, however large.
    methods = {entry.compress_type for entry in entries} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    if methods:
        raise BundleError(f"{REFERENCE}: is compressed by method {min(methods)}; write it with numpy's savez")
    names = {entry.filename.removesuffix(_SUFFIX) for entry in entries}
    if len(names) != len(entries):
        raise BundleError(f"{REFERENCE}: holds two arrays of one name; write it with numpy's savez")
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
        raise BundleError(f"{REFERENCE}: unpacks to more than {MAX_UNPACKED} bytes")


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        # With a number, since without one all is unpacked before the size that the entry claims is looked at.
        return file.read(entry.file_size)


def _array(data: bytes) -> NDArray[Any]:
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(stream)
    else:
        raise BundleError(f"{REFERENCE}: has an array of npy format {version}; write it with numpy's savez")
    if dtype.kind not in _NUMBERS:
        raise BundleError(f"{REFERENCE}: has an array of type {dtype}; only numbers are allowed")
    body = memoryview(data)[stream.tell() :]
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(body):
        raise BundleError(f"{REFERENCE}: has an array whose size does not match its shape {shape}")
    flat = np.frombuffer(body, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
