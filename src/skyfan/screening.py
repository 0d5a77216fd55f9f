"""Looking at what a model is given and what it returns: rows that are of no use, or unusual, are flagged."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from skyfan.errors import ModelError
from skyfan.predictions import NO_VALUE, Flag, missing


@dataclass(frozen=True)
class ValidRange:
    """What a model was made for: limits of one input, a number for all its values or one a band."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def fits(self, bands: int) -> bool:
        """Return whether there is one number for all the values of a row, or one a band."""
        return {self.low.shape, self.high.shape} <= {(), (bands,)}

    def check(self, name: str, bands: int, model: str) -> None:
        """Check that it fits the bands that a model always takes.

        Raises
        ------
        ModelError
            If not; it calls the input `name`.
        """
        if not self.fits(bands):
            raise ModelError(
                f"model {model}: 'min' and 'max' of {name!r} in its metadata 'valid_range' have the shapes "
                f"{self.low.shape} and {self.high.shape}; expected one number, or a list of {bands}; correct it in the "
                "export"
            )


def parse_valid_range(text: str | None, name: str) -> dict[str, ValidRange]:
    """Read the model metadata `valid_range`: a JSON object, input -> {"min": ..., "max": ...}.

    Raises
    ------
    ModelError
        If it is something else.
    """
    if not text:
        return {}
    try:
        return {
            key: ValidRange(np.asarray(item["min"], np.float64), np.asarray(item["max"], np.float64))
            for key, item in json.loads(text).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"model {name}: its metadata 'valid_range' cannot be read ({error!r}); expected JSON such as "
            '{"magnitude": {"min": 10, "max": 20}}'
        ) from error


def parse_unusual_above(text: str | None, name: str) -> dict[str, float]:
    """Read the model metadata `unusual_above`: a JSON object, output -> the greatest value that is usual.

    Raises
    ------
    ModelError
        If it is something else.
    """
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, float])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ModelError(
            f"model {name}: its metadata 'unusual_above' is {text[:40]!r} ({error}); expected JSON, a number by "
            'output, such as {"anomaly_score": 4.0}; correct it in the export'
        ) from error


def screen(batch: Mapping[str, NDArray[Any]], ranges: Mapping[str, ValidRange]) -> NDArray[np.uint16]:
    """Flag the rows of a batch by what the model is to be given.

    Parameters
    ----------
    batch : mapping
        Input -> values, shape (rows, ...). Arrays of four axes are images, (rows, bands, height, width).
    ranges : mapping
        Input -> what the model calls valid.

    Returns
    -------
    flags : array of uint16, shape (rows,)
        See `skyfan.predictions.Flag`.
    """
    rows = len(next(iter(batch.values())))
    flags = np.zeros(rows, np.uint16)
    for name, values in batch.items():
        is_image = values.ndim == 4
        low, high = _extremes(values)
        # a minimum or maximum is NaN if any value is, so two passes find NaN, infinity and dead bands
        finite = np.isfinite(low) & np.isfinite(high)
        not_finite = Flag.NON_FINITE_IMAGE if is_image else Flag.NON_FINITE_MAGNITUDE
        flags[~finite.all(axis=1)] |= not_finite.value
        if is_image:
            flags[((low == high) & finite).any(axis=1)] |= Flag.DEAD_BAND.value
        if name in ranges:
            valid = ranges[name]
            outside = (low < _rounded(valid.low, low.dtype)) | (high > _rounded(valid.high, high.dtype))
            flags[(outside & finite).any(axis=1)] |= Flag.OUT_OF_RANGE.value
    return flags


def screen_outputs(
    outputs: Mapping[str, NDArray[Any]], unusual_above: Mapping[str, float], flags: NDArray[np.uint16]
) -> NDArray[np.uint16]:
    """Flag rows by what the model returned.

    Parameters
    ----------
    outputs : mapping
        Output -> values, shape (rows, ...).
    unusual_above : mapping
        Output -> the greatest value that the model calls usual.
    flags : array of uint16, shape (rows,)
        From `screen`. Of a row with one of `NO_VALUE`, no output says anything.

    Returns
    -------
    flags : array of uint16, shape (rows,)
        `NON_FINITE_OUTPUT` and `UNUSUAL_OUTPUT` alone.
    """
    found = np.zeros_like(flags)
    given = (flags & NO_VALUE.value) == 0
    for name, values in outputs.items():
        absent = missing(values, flags)
        found[given & absent] |= Flag.NON_FINITE_OUTPUT.value
        if name in unusual_above:
            limit = _rounded(np.asarray(unusual_above[name]), values.dtype)
            above = (values > limit).any(axis=tuple(range(1, values.ndim)))
            found[above & ~absent] |= Flag.UNUSUAL_OUTPUT.value
    return found


def _rounded(limits: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """Return limits as values of a type hold them: float32's 0.1 is above 0.1, and must not be out of a limit of 0.1.

    A limit that the type cannot hold stays as it is.
    """
    if dtype.kind != "f":
        return limits
    with np.errstate(over="ignore"):
        held = limits.astype(dtype).astype(np.float64)
    return np.where(np.isfinite(held), held, limits)


def _extremes(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Smallest and largest value a row and band, each of shape (rows, bands)."""
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim == 2:
        return values, values
    flat = values.reshape(len(values), values.shape[1], -1)
    return flat.min(axis=2), flat.max(axis=2)
