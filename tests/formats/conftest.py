"""What the tests of file formats share: damaged bytes, and reading a file to its end."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from skyfan.blob import Blob, BufferBlob
from skyfan.errors import PartitionError
from skyfan.formats.tensor import Tensors

Draw = Callable[[st.DataObject, bytes], bytes]
Try = Callable[[Callable[[Blob], Tensors], bytes], None]


@pytest.fixture(scope="session")
def damage() -> Draw:
    """Return a function that changes some bytes of a file, cuts it or adds to it."""

    def draw(data: st.DataObject, original: bytes) -> bytes:
        damaged = bytearray(original)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(original) - 1))
            damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
        return bytes(damaged[: data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))])

    return draw


@pytest.fixture(scope="session")
def read_or_refuse() -> Try:
    """Return a function that reads every row of a file, or sees it refused with a `PartitionError` that names it."""

    def read(reader: Callable[[Blob], Tensors], content: bytes) -> None:
        try:
            for tensor in reader(BufferBlob("damaged.file", content)).arrays.values():
                rows = tensor.rows(0, tensor.shape[0])
                assert rows.shape == tensor.shape
                rows.sum()
        except PartitionError as e:
            refusal = str(e)
        else:
            return
        assert "damaged.file" in refusal
        assert len(refusal) < 600

    return read
