"""Looking at rows before the model does: what cannot be predicted is flagged, what is unusual too."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyfan.errors import ModelError
from skyfan.predictions import Flag


@dataclass(frozen=True)
class ValidRange:
    """What a model was made for: limits of one input, a number for all its values or one a band."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def fits(self, bands: int) -> bool:
        """Whether there is one number for all the values of a row, or one a band."""
        return {self.low.shape, self.high.shape} <= {(), (bands,)}


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


def screen(batch: Mapping[str, NDArray[Any]], ranges: Mapping[str, ValidRange]) -> NDArray[np.uint16]:
    """Flag the rows of a batch.

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
            outside = (low < ranges[name].low) | (high > ranges[name].high)
            flags[(outside & finite).any(axis=1)] |= Flag.OUT_OF_RANGE.value
    return flags


def _extremes(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Smallest and largest value a row and band, each of shape (rows, bands)."""
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim == 2:
        return values, values
    flat = values.reshape(len(values), values.shape[1], -1)
    return flat.min(axis=2), flat.max(axis=2)
