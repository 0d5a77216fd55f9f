"""Images to the model's size: cut about their centre, or padded where that is asked for."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skyfan.errors import SurveyError
from skyfan.formats.tensor import Tensor
from skyfan.ingest.options import IngestOptions


@dataclass(frozen=True)
class Cut:
    """Where a square of `size` pixels lies in an image of `height` and `width`."""

    height: int
    width: int
    size: int

    @property
    def start(self) -> tuple[int, int]:
        """First row and column of the square in the image; negative where the image is smaller."""
        return (self.height - self.size) // 2, (self.width - self.size) // 2

    @property
    def centre(self) -> tuple[float, float]:
        """Pixel coordinates (x, y) of the square's centre in the image, from 0 at the first pixel's centre."""
        y, x = self.start
        return x + (self.size - 1) / 2, y + (self.size - 1) / 2

    @property
    def padded_pixels(self) -> int:
        """Pixels of a band that lie outside the image."""
        return self.size**2 - min(self.height, self.size) * min(self.width, self.size)

    def apply(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return the square of images of shape (..., height, width), in float32; zero outside them."""
        y, x = self.start
        inside = image[..., max(y, 0) : y + self.size, max(x, 0) : x + self.size]
        if not self.padded_pixels:
            return np.ascontiguousarray(inside, np.float32)
        out = np.zeros((*image.shape[:-2], self.size, self.size), np.float32)
        top, left = max(-y, 0), max(-x, 0)
        out[..., top : top + inside.shape[-2], left : left + inside.shape[-1]] = inside
        return out


def plan_cut(where: str, height: int, width: int, options: IngestOptions) -> Cut:
    """Return where the model's square lies in an image.

    Raises
    ------
    SurveyError
        If the image is smaller, and padding was not asked for.
    """
    cut = Cut(height, width, options.size_pixels)
    if cut.padded_pixels and not options.pad:
        raise SurveyError(
            f"{where}: an image has {height} x {width} pixels (height x width); expected at least {cut.size} x "
            f"{cut.size}: give a smaller --size-pixels, or --pad to put zeros where nothing was observed"
        )
    return cut


@dataclass(frozen=True)
class CutImages:
    """Images of a file of columns, shape (rows, bands, size, size): bands in order, in nanomaggies, cut to size."""

    raw: Tensor
    """Shape (rows, bands, height, width)."""
    places: "RowPlaces"
    factor: float
    cut: Cut
    bands: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.raw.shape[0], self.bands, self.cut.size, self.cut.size)

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        images = pick(self.cut.apply(self.raw.rows(start, stop)), self.places.rows(start, stop))
        return images if self.factor == 1 else images * np.float32(self.factor)


@dataclass(frozen=True)
class PickedMagnitudes:
    """Magnitudes of shape (rows, bands), in the order of the images' bands."""

    raw: Tensor
    places: "RowPlaces"
    bands: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.raw.shape[0], self.bands)

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        return pick(self.raw.rows(start, stop).astype(np.float32), self.places.rows(start, stop))


class RowPlaces(Protocol):
    """Where the wanted bands lie in each row."""

    def rows(self, start: int, stop: int) -> NDArray[np.intp]:
        """Return the places, shape (stop - start, bands)."""
        ...


@dataclass(frozen=True)
class Places:
    """Where the wanted bands lie: the same in every row."""

    same: NDArray[np.intp]
    """Shape (bands,)."""

    def rows(self, start: int, stop: int) -> NDArray[np.intp]:
        return np.broadcast_to(self.same, (stop - start, len(self.same)))


def pick(values: NDArray[Any], places: NDArray[np.intp]) -> NDArray[Any]:
    """Return the bands of each row in the order of `places`, shape (rows, bands)."""
    if values.shape[1] == places.shape[1] and (places == np.arange(places.shape[1])).all():
        return values
    index = places.reshape(*places.shape, *[1] * (values.ndim - 2))
    return np.take_along_axis(values, index, axis=1)
