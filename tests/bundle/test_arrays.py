import io
import struct
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sidecar.bundle import arrays
from sidecar.bundle.manifest import REFERENCE
from sidecar.errors import BundleError


def npz(**given: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **given)
    return buffer.getvalue()


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@given(
    hnp.arrays(
        hnp.floating_dtypes() | hnp.integer_dtypes() | hnp.boolean_dtypes(), hnp.array_shapes(min_dims=0, min_side=0)
    ),
    st.booleans(),
)
def test_what_was_saved_is_read(array: Any, columns_first: bool) -> None:  # noqa: FBT001 (drawn)
    saved = np.asfortranarray(array) if columns_first else array
    read = arrays.read(npz(a=saved, b=np.arange(3)))
    assert set(read) == {"a", "b"}
    np.testing.assert_array_equal(read["a"], array)
    assert read["a"].dtype == array.dtype


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not a zip", "not a valid npz file"),
        (npz(a=np.array([Bomb()], object)), "array of type object; only numbers"),
        (npz(a=np.array(["text"])), "array of type <U4; only numbers"),
        (npz(a=np.zeros(2, [("x", "f4")])), "only numbers"),
        (archive(a=npy(np.zeros(4))[:-1]), "does not match its shape"),
        (archive(a=npy(np.zeros(4)) + b"\0"), "does not match its shape"),
        (archive(a=npy(np.zeros(4)).replace(b"(4,), ", b"(9**9)"[:6])), "not a valid npz file"),
        (archive(a=npy(np.zeros(4)).replace(b"(4,)", b"(-4)")), "not a valid npz file|does not match"),
        (archive(a=b""), "not a valid npz file"),
        (archive(a=b"\x93NUMPY\x09\x00"), "not a valid npz file|npy format"),
        (archive(**{f"a{row}": npy(np.zeros(1)) for row in range(257)}), "holds 257 arrays"),
    ],
)
def test_anything_but_plain_arrays_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=f"^{REFERENCE}: .*({reason})"):
        arrays.read(data)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_UNPACKED", 1 << 20)
    with pytest.raises(BundleError, match="unpacks to more than"):
        arrays.read(archive(a=bytes(1 << 21)))


def test_packers_whose_bombs_python_does_not_bound_are_refused() -> None:
    zeros = npy(np.zeros(8 << 20, np.uint8))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as target:
            target.writestr("a.npy", zeros)
        # It says that it is small, in both places where a zip file says so.
        bomb = buffer.getvalue().replace(struct.pack("<L", len(zeros)), struct.pack("<L", 100))
        tracemalloc.start()
        try:
            with pytest.raises(BundleError, match=f"is compressed by method {method}"):
                arrays.read(bomb)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


def test_a_deflated_bomb_that_lies_about_its_size_is_cut_off() -> None:
    zeros = npy(np.zeros(8 << 20, np.uint8))
    bomb = archive(a=zeros).replace(struct.pack("<L", len(zeros)), struct.pack("<L", 100))
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=REFERENCE):
            arrays.read(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_changed_number_is_found_by_its_checksum() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(100.0))
    data = bytearray(buffer.getvalue())
    data[data.index(np.float64(50.0).tobytes())] ^= 1
    with pytest.raises(BundleError, match="Bad CRC-32"):
        arrays.read(bytes(data))


def test_one_name_twice_is_refused_since_readers_differ_on_which_counts() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("a.npy", npy(np.zeros(1)))
        target.writestr("a", npy(np.ones(1)))
    with pytest.raises(BundleError, match="two arrays of one name"):
        arrays.read(buffer.getvalue())


def test_a_shape_that_claims_the_world_allocates_nothing() -> None:
    claimed = npy(np.zeros(4)).replace(b"(4,), }" + b" " * 14, b"(4000000000000,), }  "[:21])
    with pytest.raises(BundleError, match="does not match its shape"):
        arrays.read(archive(a=claimed))


def test_a_cut_file_is_refused() -> None:
    data = npz(mean=np.zeros(8, np.float32), null=np.arange(50.0))
    for end in range(0, len(data), 5):
        with pytest.raises(BundleError, match=f"^{REFERENCE}: "):
            arrays.read(data[:end])


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_no_bytes_make_reading_fail_otherwise(data: bytes) -> None:
    with pytest.raises(BundleError, match=f"^{REFERENCE}: "):
        arrays.read(data)


@settings(max_examples=200)
@given(data=st.data())
def test_flipped_bytes_are_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(npz(mean=np.zeros(8, np.float32), null=np.arange(50.0)))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        arrays.read(bytes(raw))
    except BundleError as error:
        assert str(error).startswith(f"{REFERENCE}: ")  # noqa: PT017 (both ends are right)
