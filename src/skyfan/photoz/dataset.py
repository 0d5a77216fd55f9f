"""A survey as training sees it: arrays mapped from a file, split by object, with the constants of its inputs."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyfan.blob import MappedBlob
from skyfan.errors import SurveyError
from skyfan.formats import safetensors
from skyfan.formats.tensor import Tensors
from skyfan.photoz.network import NetworkConfig, Normalise

Rows = NDArray[np.int64]

NEEDED = ("object_id", "redshift", "image", "magnitude")
VALIDATION_SHARE = 0.05
TEST_SHARE = 0.05
_BLOCK_ROWS = 2048
_MEASURED_ROWS = 20_000


@dataclass(frozen=True)
class Survey:
    """The arrays of a survey with true redshifts, read as they are used."""

    path: Path
    object_id: NDArray[Any]
    redshift: NDArray[Any]
    image: NDArray[Any]
    """Nanomaggies a pixel, (n, bands, y, x)."""
    magnitude: NDArray[Any]
    """AB, (n, bands)."""
    metadata: dict[str, str]

    def __len__(self) -> int:
        return len(self.redshift)

    @property
    def name(self) -> str:
        """From its metadata, else from its file."""
        return self.metadata.get("survey", self.path.stem)

    def batch(self, rows: Rows, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
        """Return images, magnitudes and redshifts of `rows` as float32."""
        image, magnitude, z = (
            torch.from_numpy(np.asarray(array[rows], np.float32)).to(device)
            for array in (self.image, self.magnitude, self.redshift)
        )
        return image, magnitude, z


@dataclass(frozen=True)
class Split:
    """Rows of a survey by what they are for; an object is always in the same part."""

    train: Rows
    validation: Rows
    test: Rows


@dataclass(frozen=True)
class InputRange:
    """The values that training rows have; what lies outside was never seen."""

    image: tuple[float, float]
    """Over all bands and pixels."""
    magnitude: tuple[list[float], list[float]]
    """Smallest and largest of each band."""


def open_survey(path: Path, config: NetworkConfig) -> Survey:
    """Open a survey file to train or test a network with.

    Raises
    ------
    SurveyError
        There is no such file, it lacks an array, has one of the wrong shape, or a redshift that the PDF cannot hold.
    PartitionError
        It is not a safetensors file.
    """
    if not path.is_file():
        raise SurveyError(f"there is no survey {path}; expected a safetensors file - make one with: skyfan simulate")
    found = safetensors.read(MappedBlob(path))
    missing = [name for name in NEEDED if name not in found.arrays]
    if missing:
        raise SurveyError(
            f"{path} has no {', '.join(missing)}; it has {', '.join(found.arrays) or 'nothing'}; training needs "
            f"{', '.join(NEEDED)} - add what is missing"
        )
    _check_shapes(path, found, config)
    arrays = {name: found.arrays[name].rows(0, found.arrays[name].shape[0]) for name in NEEDED}
    survey = Survey(path=path, metadata=dict(found.metadata), **arrays)
    _check_redshifts(survey, config.z_max)
    return survey


def _check_shapes(path: Path, found: Tensors, config: NetworkConfig) -> None:
    rows = found.arrays["redshift"].shape[0]
    pixels = config.image_pixels
    expected: dict[str, tuple[int, ...]] = {
        "object_id": (rows,),
        "redshift": (rows,),
        "image": (rows, config.bands, pixels, pixels),
        "magnitude": (rows, config.bands),
    }
    for name, shape in expected.items():
        if found.arrays[name].shape != shape:
            raise SurveyError(
                f"{path} has {name} of shape {found.arrays[name].shape}; expected {shape} - "
                f"cut images to {pixels} x {pixels} pixels in the bands of the network"
            )


def _check_redshifts(survey: Survey, z_max: float) -> None:
    wrong = np.flatnonzero(~((survey.redshift >= 0) & (survey.redshift <= z_max)))
    if wrong.size:
        raise SurveyError(
            f"{survey.path} has redshift {survey.redshift[wrong[0]]} in row {wrong[0]} ({wrong.size} such rows); "
            f"the network's PDF covers 0 to {z_max} - leave those rows out or train with a larger z_max"
        )


def split(object_id: NDArray[Any]) -> Split:
    """Split objects into training, validation and test rows by a hash of their id.

    The hash is the finaliser of SplitMix64 (Steele, Lea & Flood 2014), so that the part does not depend on order,
    on which other objects there are, or on how ids were given.
    """
    x = object_id.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    share = (x ^ (x >> np.uint64(31))).astype(np.float64) / 2.0**64
    train = share < 1.0 - VALIDATION_SHARE - TEST_SHARE
    test = share >= 1.0 - TEST_SHARE
    return Split(np.flatnonzero(train), np.flatnonzero(~train & ~test), np.flatnonzero(test))


def ids_sha256(object_id: NDArray[Any]) -> str:
    """Return a hash of which objects there are, in whatever order and type of integer."""
    return hashlib.sha256(np.sort(object_id.astype("<i8")).tobytes()).hexdigest()


def measure_range(survey: Survey, rows: Rows) -> InputRange:
    """Return the range of what `rows` hold.

    Raises
    ------
    SurveyError
        A value is not finite.
    """
    low, high = np.inf, -np.inf
    for block in blocks(rows):
        image = survey.image[block]
        finite = np.isfinite(image.min(axis=(1, 2, 3)) + image.max(axis=(1, 2, 3)))
        finite &= np.isfinite(survey.magnitude[block]).all(axis=1)
        if not finite.all():
            raise SurveyError(
                f"{survey.path} has a value that is not finite in row {block[~finite][0]}; expected none in rows to "
                "learn from - leave such rows out"
            )
        low, high = min(low, float(image.min())), max(high, float(image.max()))
    magnitude = survey.magnitude[rows].astype(np.float64)
    return InputRange((low, high), (magnitude.min(axis=0).tolist(), magnitude.max(axis=0).tolist()))


def measure_normalisation(survey: Survey, rows: Rows, config: NetworkConfig) -> dict[str, Tensor]:
    """Return the buffers of `network.Normalise`, measured on the first 20,000 of `rows`.

    The softening of a band is twice its noise: 1.4826 median absolute deviation over the cutouts' outermost pixels,
    where most of them show sky.
    """
    image, magnitude, _ = survey.batch(rows[:_MEASURED_ROWS])
    edge = torch.cat([image[:, :, 0], image[:, :, -1], image[:, :, :, 0], image[:, :, :, -1]], dim=2)
    edge = edge.transpose(0, 1).flatten(1)
    deviation = (edge - edge.median(dim=1, keepdim=True).values).abs().median(dim=1).values
    constants = Normalise(config)
    constants.softening = 2 * 1.4826 * deviation.clamp(min=1e-6)
    stretched, measured = constants.stretch(image), constants.measure(image, magnitude)
    return {
        "softening": constants.softening,
        "image_mean": stretched.mean(dim=(0, 2, 3)),
        "image_std": stretched.std(dim=(0, 2, 3)).clamp(min=1e-3),
        "measured_mean": measured.mean(dim=0),
        "measured_std": measured.std(dim=0).clamp(min=1e-3),
    }


def blocks(rows: Rows, size: int = _BLOCK_ROWS) -> Iterator[Rows]:
    """Yield `rows` in stretches of `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
