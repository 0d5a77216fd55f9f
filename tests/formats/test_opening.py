"""The format is chosen by the name."""

import io

import numpy as np
import pytest

from skyfan.blob import BufferBlob
from skyfan.errors import PartitionError
from skyfan.formats import opening, safetensors


def test_known_names_are_opened() -> None:
    image = np.ones((2, 3), np.float32)
    zipped = io.BytesIO()
    np.savez(zipped, image=image)
    for name, data in (
        ("s3://bucket/25MB/1.safetensors", b"".join(safetensors.encode({"image": image}, {}))),
        ("survey.v2.npz", zipped.getvalue()),
    ):
        np.testing.assert_array_equal(opening.read(BufferBlob(name, data)).arrays["image"].rows(0, 2), image)


def test_a_torch_file_is_opened_as_one() -> None:
    with pytest.raises(PartitionError, match=r"1\.pt is not a \.pt file"):
        opening.read(BufferBlob("25MB/1.pt", b"no zip"))


@pytest.mark.parametrize("suffix", opening.SURVEY_SUFFIXES)
def test_an_empty_file_is_said_to_be_empty(suffix: str) -> None:
    with pytest.raises(PartitionError, match=rf"^25MB/1\{suffix} is empty \(0 bytes\); write or copy it again$"):
        opening.read(BufferBlob(f"25MB/1{suffix}", b""))


@pytest.mark.parametrize("name", ["1.fits", "pt", "1.PT", "folder.pt/1", ".pt", ""])
def test_other_names_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(PartitionError, match=r"expected one of \.safetensors, \.pt, \.npz"):
        opening.read(BufferBlob(name, b""))


def test_partitions_have_names_that_allow_any_row_at_any_time() -> None:
    assert opening.PARTITION_SUFFIXES == (".safetensors", ".pt")
    assert set(opening.SURVEY_SUFFIXES) == {".safetensors", ".pt", ".npz"}
