"""A partition is one row a galaxy in every tensor, whatever the format."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from factories import make_rows, write_partition
from skyfan.blob import BufferBlob, MappedBlob
from skyfan.errors import PartitionError
from skyfan.partitions import Partition, open_partition


def opened(**changes: Any) -> Partition:
    """Open a good partition with some tensors replaced, or left out where None."""
    arrays = {name: values for name, values in (make_rows(6) | changes).items() if values is not None}
    return open_partition(BufferBlob("sky/1.safetensors", safetensors.numpy.save(arrays)))


def refusal(**changes: Any) -> str:
    with pytest.raises(PartitionError) as caught:
        opened(**changes)
    return str(caught.value)


def test_rows_are_read_as_they_were_written() -> None:
    content = make_rows(6)
    rows = opened().read(["image", "magnitude"], 2, 5)
    np.testing.assert_array_equal(rows["image"], content["image"][2:5])
    np.testing.assert_array_equal(rows["magnitude"], content["magnitude"][2:5])


def test_columns_have_one_type_whatever_the_file_has() -> None:
    columns = opened(
        object_id=np.arange(6, dtype=np.uint16),
        ra=np.arange(6, dtype=np.float32),
        redshift=np.linspace(0, 1, 6).reshape(6, 1),
    ).columns()
    assert {name: str(values.dtype) for name, values in columns.items()} == {
        "object_id": "int64",
        "ra": "float64",
        "dec": "float64",
        "redshift": "float32",
    }
    np.testing.assert_array_equal(columns["object_id"], np.arange(6))


def test_a_partition_needs_nothing_but_rows() -> None:
    assert opened(object_id=None, ra=None, dec=None, redshift=None).columns() == {}


def test_an_id_that_no_column_can_hold_is_refused_rather_than_changed() -> None:
    ids = np.array([1, 2, 3, 4, 5, 2**63 + 5], np.uint64)
    with pytest.raises(PartitionError, match=r"object_id is uint64 and holds 9223372036854775813; expected at most"):
        opened(object_id=ids).columns()
    largest = np.full(6, 2**63 - 1, np.uint64)
    np.testing.assert_array_equal(opened(object_id=largest).columns()["object_id"], largest.astype(np.int64))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_images_and_magnitudes_may_be_any_float(dtype: type[Any]) -> None:
    content = make_rows(6)
    partition = opened(image=content["image"].astype(dtype), magnitude=content["magnitude"].astype(dtype))
    assert partition.tensors["image"].dtype == partition.tensors["magnitude"].dtype == dtype


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"redshift": np.zeros(5, np.float32)}, r"tensors differ in rows"),
        (
            {"image": np.zeros((6, 5, 8), np.float32)},
            "image has the shape (6, 5, 8); expected (rows, bands, height, width)",
        ),
        (
            {"image": np.zeros((6, 5, 0, 8), np.float32)},
            "image has the shape (6, 5, 0, 8); expected no axis of length 0",
        ),
        ({"image": np.zeros((6, 5, 8, 8), np.uint8)}, "image is uint8; expected float16, float32 or float64"),
        ({"magnitude": np.zeros(6, np.float32)}, "magnitude has the shape (6,); expected (rows, bands)"),
        ({"magnitude": np.zeros((6, 5), np.int32)}, "magnitude is int32; expected float16, float32 or float64"),
        ({"object_id": np.zeros(6)}, "object_id is float64; expected int64"),
        ({"object_id": np.zeros((6, 2), np.int64)}, "object_id has the shape (6, 2); expected (6,)"),
        ({"ra": np.zeros(6, bool)}, "ra is bool; expected float64"),
        ({"dec": np.zeros((6, 1, 1))}, "dec has the shape (6, 1, 1); expected (6,)"),
    ],
)
def test_a_wrong_shape_or_type_says_file_tensor_got_and_expected(changes: dict[str, Any], said: str) -> None:
    message = refusal(**changes)
    assert message.startswith("sky/1.safetensors: ")
    assert said in message


def test_tensors_of_different_length_are_all_listed() -> None:
    message = refusal(redshift=np.zeros(5, np.float32))
    assert "redshift 5" in message
    assert "image 6" in message


def test_no_rows_is_an_error() -> None:
    assert "holds no rows" in refusal(**{name: values[:0] for name, values in make_rows(6).items()})


def test_no_tensor_is_an_error() -> None:
    assert "holds no tensor; expected image and magnitude" in refusal(**dict.fromkeys(make_rows(6)))


def test_the_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "1.safetensors"
    write_partition(path, rows=9000)
    assert path.stat().st_size > 8 * 2**20, "more than one piece"
    assert open_partition(MappedBlob(path)).sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
