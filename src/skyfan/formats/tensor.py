"""A named array in a file, read by rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skyfan.blob import Blob


class Tensor(Protocol):
    """An array of which only the rows asked for are read."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows `start` to `stop`, shape (stop - start, *shape[1:]); `stop` may not pass the end."""
        ...


@dataclass(frozen=True)
class BlobTensor:
    """An array that lies raw and uncompressed in a blob; rows of a local one are views, not copies."""

    blob: Blob
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    """Of the first element, in bytes from the start of the blob."""
    strides: tuple[int, ...]
    """In bytes, none negative; whoever makes a tensor has checked that it ends within the blob."""

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows `start` to `stop` as a read-only array."""
        shape = (stop - start, *self.shape[1:])
        if 0 in shape:
            return np.empty(shape, self.dtype)
        first = self.offset + start * self.strides[0]
        extent = sum((n - 1) * stride for n, stride in zip(shape, self.strides, strict=True)) + self.dtype.itemsize
        data = self.blob.view(first, first + extent)
        return np.ndarray(shape, self.dtype, buffer=data, strides=self.strides)


@dataclass(frozen=True)
class Tensors:
    """What one file holds: arrays by name, and its header's free text."""

    arrays: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
