"""Our safetensors files against the format's own library, and against damage."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open

from skyfan.blob import BufferBlob, MappedBlob
from skyfan.errors import PartitionError
from skyfan.formats import safetensors as ours
from skyfan.formats.layout import DTYPES

DTYPE = st.sampled_from(list(DTYPES.values()))
SHAPE = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__")
ARRAYS = st.dictionaries(NAME, DTYPE.flatmap(lambda dtype: hnp.arrays(dtype, SHAPE)), max_size=5)
METADATA = st.dictionaries(NAME, st.text(st.characters(exclude_categories=["Cs"])), max_size=4)
PARTITION = {
    "image": np.arange(3 * 5 * 4 * 4, dtype=np.float32).reshape(3, 5, 4, 4),
    "object_id": np.array([5, 6, 7]),
    "flag": np.array([True, False, True]),
}


def joined(arrays: dict[str, Any], metadata: dict[str, str]) -> bytes:
    return b"".join(ours.encode(arrays, metadata))


def file(header: object, data: bytes = b"") -> BufferBlob:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return BufferBlob("x.safetensors", len(text).to_bytes(8, "little") + text + data)


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@given(ARRAYS, METADATA)
def test_the_formats_library_reads_what_we_write(arrays: dict[str, Any], metadata: dict[str, str]) -> None:
    theirs = safetensors.numpy.load(joined(arrays, metadata))
    assert theirs.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(theirs[name], array)
        assert theirs[name].dtype == array.dtype


@given(ARRAYS, METADATA)
def test_we_read_what_the_formats_library_writes(arrays: dict[str, Any], metadata: dict[str, str]) -> None:
    read = ours.read(BufferBlob("x", safetensors.numpy.save(arrays, metadata or None)))
    assert read.metadata == metadata
    assert read.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(read.arrays[name].rows(0, len(array)), array)


@given(ARRAYS, METADATA)
def test_the_same_content_has_the_same_bytes_in_any_order(arrays: dict[str, Any], metadata: dict[str, str]) -> None:
    backwards = dict(reversed(arrays.items())), dict(reversed(metadata.items()))
    assert joined(arrays, metadata) == joined(*backwards)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ARRAYS, METADATA)
def test_create_makes_the_file_that_encode_does(
    tmp_path: Path, arrays: dict[str, Any], metadata: dict[str, str]
) -> None:
    path = tmp_path / "x.safetensors"
    maps = ours.create(path, {name: (array.dtype, array.shape) for name, array in arrays.items()}, metadata)
    for name, array in arrays.items():
        maps[name][:] = array
        maps[name].flush()
    assert path.read_bytes() == joined(arrays, metadata)


def test_metadata_reaches_the_formats_library(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(joined(PARTITION, {"survey": "SDSS", "bands": "ugriz"}))
    with safe_open(path, "numpy") as opened:
        assert opened.metadata() == {"bands": "ugriz", "survey": "SDSS"}


def test_data_are_aligned_and_nothing_is_copied(tmp_path: Path) -> None:
    pieces = ours.encode(PARTITION, {"a": "b"})
    assert len(pieces[0]) % 8 == 0
    assert np.shares_memory(np.frombuffer(pieces[2], np.uint8), PARTITION["image"])
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"".join(pieces))
    blob = MappedBlob(path)
    rows = ours.read(blob).arrays["image"].rows(1, 3)
    assert np.shares_memory(rows, np.frombuffer(blob.view(0, blob.size), np.uint8))
    assert not rows.flags.writeable
    np.testing.assert_array_equal(rows, PARTITION["image"][1:3])


def test_foreign_byte_order_and_scattered_arrays_are_written_plainly() -> None:
    array = np.arange(12, dtype=">f4").reshape(4, 3)[::2, ::-1]
    tensor = ours.read(BufferBlob("x", joined({"a": array}, {}))).arrays["a"]
    assert tensor.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(tensor.rows(0, 2), array)


def test_create_makes_an_empty_array_and_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"x" * 10_000)
    maps = ours.create(path, {"image": (np.dtype("f4"), (0, 5, 4, 4))}, {})
    assert maps["image"].shape == (0, 5, 4, 4)
    assert ours.read(MappedBlob(path)).arrays["image"].rows(0, 0).shape == (0, 5, 4, 4)


def test_a_full_disk_is_met_before_any_row_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fallocate(_file: int, offset: int, size: int) -> None:
        assert (offset, size) == (0, 8 + 72 + 4_000_000)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fallocate, raising=False)
    with pytest.raises(OSError, match="No space left on device"):
        ours.create(tmp_path / "x.safetensors", {"image": (np.dtype("f4"), (10**6,))}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("array", [np.array([1j]), np.array(["text"]), np.array([None]), np.zeros(1, "f4,f4")])
def test_what_the_format_does_not_hold_is_refused(array: Any) -> None:
    with pytest.raises(PartitionError, match=r"array 'a' is of type .*; a partition holds float64, .*Convert it"):
        ours.encode({"a": array}, {})


def test_the_name_of_the_metadata_is_taken() -> None:
    with pytest.raises(PartitionError, match="cannot be called __metadata__"):
        ours.encode({"__metadata__": np.zeros(1)}, {})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([1], "not a JSON object"),
        (b' {"a": 1}', "not a JSON object"),
        (b"{", "header is not JSON"),
        (b"\xff\xfe", "header is not JSON"),
        (b"[" * 100_000, "header is not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "header is not JSON"),
        (b'{"a": 1, "a": 2}', "'a' appears twice"),
        ({"a": 1}, "exactly dtype, shape and data_offsets"),
        ({"a": {**entry(), "more": 1}}, "exactly dtype, shape and data_offsets"),
        ({"a": entry(dtype="BF16")}, "array 'a' is of type 'BF16'; skyfan reads F64, "),
        ({"a": entry(dtype="F8_E4M3")}, "of type 'F8_E4M3'"),
        ({"a": entry(dtype=["F32"])}, "of type unknown"),
        ({"a": entry(shape=[-1])}, "not lists of whole numbers"),
        ({"a": entry(shape=[2.0])}, "not lists of whole numbers"),
        ({"a": entry(shape=[True])}, "not lists of whole numbers"),
        ({"a": entry(shape=2)}, "not lists of whole numbers"),
        ({"a": entry(offsets=[0, 4, 8])}, "not lists of whole numbers"),
        ({"a": entry(shape=[3])}, r"needs 12 bytes, but its offsets \(0, 8\) span 8"),
        ({"a": entry(offsets=[8, 0])}, r"needs 8 bytes, but its offsets \(8, 0\) span -8"),
        ({"a": entry(offsets=[8, 16])}, "ends at byte 16 of the data, which has 8"),
        ({"a": entry(shape=[2**40, 2**40], offsets=[0, 2**82])}, "no array can have"),
        ({"a": entry(shape=[0, 2**62], offsets=[0, 0])}, "no array can have"),
        ({"a": entry(shape=[1] * 33, offsets=[0, 4])}, "no array can have"),
        ({"a": entry(shape=[], offsets=[0, 4])}, "is a single number"),
        ({"a": entry(offsets=[int("9" * 4299) - 8, int("9" * 4299)])}, "ends at byte"),
        ({"a": entry(shape=[1], offsets=[0, 4])}, "describes 73 bytes, but it has 77"),
        ({"a": entry(shape=[1], offsets=[4, 8])}, "'a' starts at byte 4 of the data, not 0"),
        ({"a": entry(), "b": entry(shape=[1], offsets=[4, 8])}, "'b' starts at byte 4 of the data, not 8"),
        ({"__metadata__": {"a": 1}}, "not an object of texts"),
        ({"__metadata__": []}, "not an object of texts"),
        ({}, "describes 10 bytes, but it has 18"),
    ],
)
def test_a_header_that_is_not_the_formats_is_refused(header: object, message: str) -> None:
    with pytest.raises(PartitionError, match=rf"^x\.safetensors.*{message}.*\.") as caught:
        ours.read(file(header, b"01234567"))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("size", [0, 7, 8, 50])
def test_a_cut_file_is_refused(size: int) -> None:
    with pytest.raises(PartitionError, match=r"^x is not a safetensors file: .*write or copy it again"):
        ours.read(BufferBlob("x", joined(PARTITION, {})[:size]))


def test_a_header_longer_than_the_format_allows_is_not_read() -> None:
    with pytest.raises(PartitionError, match="says it is 9223372036854775808 bytes long"):
        ours.read(BufferBlob("x", (2**63).to_bytes(8, "little") + b"{}"))


@settings(max_examples=150)
@given(st.data())
def test_damage_is_read_or_refused(damage: Any, read_or_refuse: Any, data: st.DataObject) -> None:
    read_or_refuse(ours.read, damage(data, joined(PARTITION, {"survey": "SDSS"})))


@given(st.dictionaries(NAME, st.fixed_dictionaries({}, optional={
    "dtype": st.sampled_from([*DTYPES, "BF16"]),
    "shape": st.lists(st.integers(-1, 2**70)),
    "data_offsets": st.lists(st.integers(-1, 2**70), min_size=2, max_size=2),
}), max_size=3), st.binary(max_size=40))  # fmt: skip
def test_any_header_is_read_or_refused(read_or_refuse: Any, header: dict[str, object], content: bytes) -> None:
    text = json.dumps(header).encode()
    read_or_refuse(ours.read, len(text).to_bytes(8, "little") + text + content)
