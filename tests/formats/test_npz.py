"""Our reading of `.npz` files against numpy's own, raw and compressed, and against damage."""

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skyfan.blob import BufferBlob, MappedBlob, RangedBlob
from skyfan.errors import PartitionError, StoreError
from skyfan.formats import npz
from skyfan.formats.layout import DTYPES
from skyfan.formats.tensor import Tensors

Save = Callable[..., None]
SAVES = [np.savez, np.savez_compressed]
DTYPE = st.sampled_from([*DTYPES.values(), np.dtype(">f4"), np.dtype(">i8")])
SHAPE = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
ARRAYS = st.dictionaries(st.sampled_from("abcd"), DTYPE.flatmap(lambda dtype: hnp.arrays(dtype, SHAPE)), min_size=1)
SURVEY: dict[str, Any] = {
    "images": np.arange(240, dtype=np.float32).reshape(12, 5, 2, 2),
    "redshifts": np.linspace(0, 1, 12),
}


def saved(save: Save, arrays: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    save(file, **arrays, **options)
    return file.getvalue()


def read(data: bytes) -> Tensors:
    return npz.read(BufferBlob("x.npz", data))


def member(content: bytes, name: str = "a.npy", compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as new:
        new.writestr(name, content)
    return file.getvalue()


def described(shape: str, descr: str = "<f4", order: str = "False") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"


def array_file(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text + data


def refuse(data: bytes, message: str) -> None:
    def read_all() -> None:
        for tensor in read(data).arrays.values():
            tensor.rows(0, tensor.shape[0])

    with pytest.raises(PartitionError, match=rf"(?s)^x\.npz.*{message}.*\.") as caught:
        read_all()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("save", SAVES)
@given(arrays=ARRAYS)
def test_arrays_are_what_numpy_loads(save: Save, arrays: dict[str, Any]) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    tensors = read(saved(save, arrays))
    assert tensors.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        tensor = tensors.arrays[name]
        assert (tensor.dtype, tensor.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(tensor.rows(0, len(array)), array)


@pytest.mark.parametrize("save", SAVES)
def test_arrays_get_the_names_of_a_partition_and_are_read_by_block(save: Save) -> None:
    tensors = read(saved(save, SURVEY))
    assert list(tensors.arrays) == ["image", "redshift"]
    for start in range(0, 12, 5):  # in turn: each has its own place in the file
        stop = min(start + 5, 12)
        np.testing.assert_array_equal(tensors.arrays["image"].rows(start, stop), SURVEY["images"][start:stop])
        np.testing.assert_array_equal(tensors.arrays["redshift"].rows(start, stop), SURVEY["redshifts"][start:stop])


def test_raw_arrays_are_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **SURVEY)
    blob = MappedBlob(path)
    rows = npz.read(blob).arrays["image"].rows(3, 7)
    assert np.shares_memory(rows, np.frombuffer(blob.view(0, blob.size), np.uint8))


def test_compressed_rows_may_be_skipped_or_begun_again_but_not_asked_for_backwards() -> None:
    tensor = read(saved(np.savez_compressed, SURVEY)).arrays["image"]
    np.testing.assert_array_equal(tensor.rows(7, 9), SURVEY["images"][7:9])
    with pytest.raises(PartitionError, match=r"x\.npz: array 'images' is compressed, and row 8 .* after row 8"):
        tensor.rows(8, 9)
    np.testing.assert_array_equal(tensor.rows(0, 2), SURVEY["images"][:2])
    assert tensor.rows(2, 2).shape == (0, 5, 2, 2)
    np.testing.assert_array_equal(tensor.rows(2, 3), SURVEY["images"][2:3])


def test_rows_are_right_after_a_store_has_failed_once() -> None:
    noise = np.random.default_rng(1).random((3000, 50))
    data = saved(np.savez_compressed, {"a": noise})
    failures = iter([StoreError("no answer")])
    broken = False

    def fetch(start: int, stop: int) -> memoryview:
        if broken and (failure := next(failures, None)):
            raise failure
        return memoryview(data)[start:stop]

    tensor = npz.read(RangedBlob("x.npz", len(data), fetch)).arrays["a"]
    np.testing.assert_array_equal(tensor.rows(0, 100), noise[:100])
    broken = True
    with pytest.raises(StoreError, match="no answer"):
        tensor.rows(100, 2000)
    np.testing.assert_array_equal(tensor.rows(100, 2000), noise[100:2000])


def test_a_compressed_array_is_never_whole_in_memory() -> None:
    image = np.zeros((4000, 5, 32, 32), np.float32)
    data = saved(np.savez_compressed, {"image": image})
    fetched: list[int] = []

    def fetch(start: int, stop: int) -> memoryview:
        fetched.append(stop - start)
        return memoryview(data)[start:stop]

    tracemalloc.start()
    tensor = npz.read(RangedBlob("x.npz", len(data), fetch)).arrays["image"]
    for start in range(0, 4000, 50):
        assert not tensor.rows(start, start + 50).any()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < image.nbytes / 10
    assert sum(fetched) < 2 * len(data) + 200_000


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([{}]), "array 'a' is of type 'object'; skyfan reads float64, "),
        (np.array(["text"]), "is of type '<U4'"),
        (np.zeros(2, complex), "is of type 'complex128'"),
        (np.zeros(2, "f4,f4"), r"is of type .*\[\('f0'"),
        (np.zeros(2, np.longdouble), "is of type 'float128'"),
        (np.zeros(2, "M8[s]"), "is of type 'datetime64"),
        (np.zeros((3, 4), order="F"), r"Fortran order.*numpy\.ascontiguousarray"),
        (np.float64(3), "is a single number"),
    ],
)
def test_other_arrays_are_refused_by_name(save: Save, array: Any, message: str) -> None:
    refuse(saved(save, {"a": array}), message)


def test_headers_of_version_2_and_from_python_2_are_read() -> None:
    for content in (
        array_file(described("(2,)"), bytes(8), b"\x02\x00"),
        array_file(described("(2L,)"), bytes(8)),
        array_file(described("(2,)", order="True"), bytes(8)),
    ):
        assert read(member(content)).arrays["a"].rows(0, 2).tolist() == [0, 0]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header that numpy understands"),
        (b"\x93NUMPY\x01", "no header that numpy understands"),
        (b"\x93NUMPY\x09\x09", "no header that numpy understands"),
        (array_file("{'descr': '<f4'}"), "no header that numpy understands"),
        (array_file("(" * 5000), "no header that numpy understands"),
        (array_file(described("(3,)"), bytes(8)), "needs 12 bytes, but there are 8"),
        (array_file(described("(1,)"), bytes(8)), "needs 4 bytes, but there are 8"),
        (array_file(described("(-2,)"), bytes(8)), "no array can have"),
        (array_file(described(f"({2**62}, {2**62})")), "no array can have"),
        (array_file(described("(1,)", "|S2147483647")), "is of type '.S2147483647'"),
        (array_file(described("(1,)", "|O"), b"cos\nsystem\n."), "is of type 'object'"),
    ],
)  # fmt: skip
def test_a_header_that_is_not_numpys_is_refused(compression: int, content: bytes, message: str) -> None:
    refuse(member(content, compression=compression), message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a .npz file: its zip directory cannot be read"),
        (saved(np.savez, SURVEY)[:-30], "is not a .npz file"),
        (member(b"", "readme.txt"), r"entry 'readme\.txt' is no array"),
        (member(b"", "a.npy", zipfile.ZIP_BZIP2), "compressed by method 12; expected none or deflate"),
        (member(b"", "../a.npy"), "could lead outside"),
        (b"PK\x05\x06" + bytes(18), "holds no arrays"),
        (saved(np.savez, {"image": np.zeros(1), "images": np.zeros(1)}), "has array 'image' twice"),
    ],
)
def test_a_zip_that_is_not_numpys_is_refused(data: bytes, message: str) -> None:
    refuse(data, message)


def test_damage_within_compressed_data_is_found() -> None:
    data = bytearray(saved(np.savez_compressed, {"a": np.random.default_rng(1).random(500)}))
    data[2000] ^= 0xFF
    refuse(bytes(data), "array 'a' cannot be decompressed")


@pytest.mark.parametrize("save", SAVES)
@settings(max_examples=150)
@given(data=st.data())
def test_damage_is_read_or_refused(save: Save, damage: Any, read_or_refuse: Any, data: st.DataObject) -> None:
    read_or_refuse(npz.read, damage(data, saved(save, SURVEY)))


@settings(max_examples=150)
@given(st.data(), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_a_damaged_array_is_read_or_refused(
    damage: Any, read_or_refuse: Any, data: st.DataObject, compression: int
) -> None:
    file = io.BytesIO()
    np.save(file, SURVEY["redshifts"])
    read_or_refuse(npz.read, member(damage(data, file.getvalue()), compression=compression))
