"""Histograms of dz with fixed bins: small, they add up, and quantiles come from them within the width of a bin."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_STEPS = 60
"""Halvings of the range of |dz - median|, 2, until it is below the resolution of a float."""


@dataclass(frozen=True)
class Histogram:
    """The bins of a histogram: between edges that rise, what is outside them in the first and the last."""

    edges: Floats

    @property
    def bins(self) -> int:
        return len(self.edges) - 1

    def bin_of(self, values: ArrayLike) -> Counts:
        """Return the number of each value's bin, (n,)."""
        found = np.searchsorted(self.edges, np.asarray(values, np.float64), side="right") - 1
        return np.clip(found, 0, self.bins - 1).astype(np.int64)

    def count(self, values: ArrayLike) -> Counts:
        """Return the number of values in each bin, (bins,)."""
        return np.bincount(self.bin_of(values), minlength=self.bins).astype(np.int64)


def _symmetric(*steps: tuple[float, int]) -> Histogram:
    """Return bins around 0 whose half is made of steps (up to, number of bins)."""
    half = [0.0]
    for end, bins in steps:
        half += list(np.linspace(half[-1], end, bins + 1)[1:])
    return Histogram(np.array([-edge for edge in half[:0:-1]] + half))


FINE = _symmetric((0.05, 500), (0.2, 150), (1.0, 80))
"""0.0001 wide up to |dz| = 0.05, where medians and quantiles of a useful photometric redshift lie."""
COARSE = _symmetric((0.05, 50), (0.2, 15), (1.0, 8))
"""0.001 wide up to |dz| = 0.05: for the bins in redshift and magnitude."""


def pack(counts: Counts) -> str:
    """Return counts as numbers between spaces, each row of k empty bins as -k, and none at the end: "5 2 -17 1"."""
    packed: list[int] = []
    filled = np.flatnonzero(counts)
    after = 0
    for position, count in zip(filled.tolist(), counts[filled].tolist(), strict=True):
        if position > after:
            packed.append(after - position)
        packed.append(count)
        after = position + 1
    return " ".join(map(str, packed))


def unpack(packed: str, total: Counts) -> None:
    """Add packed counts to those of `total`, (bins,)."""
    position = 0
    for count in map(int, packed.split()):
        if count < 0:
            position -= count
        else:
            total[position] += count
            position += 1


class Ordered:
    """The values that a histogram counted, in order, each taken to lie evenly among the others of its bin.

    So the i-th value differs from the true one by less than the width of its bin, and so does every quantile.

    Parameters
    ----------
    histogram : Histogram
    counts : array, shape (bins,)
    """

    def __init__(self, histogram: Histogram, counts: Counts) -> None:
        self._edges, self._counts = histogram.edges, counts
        self._until = np.cumsum(counts)
        self.rows = int(self._until[-1])

    def quantile(self, q: float) -> tuple[float, float]:
        """Return the quantile q, interpolated linearly between two values, and by how much it can differ; or NaN."""
        if not self.rows:
            return float("nan"), float("nan")
        place = q * (self.rows - 1)
        first = int(place)
        (low, low_width), (high, high_width) = self._value(first), self._value(min(first + 1, self.rows - 1))
        return low + (place - first) * (high - low), max(low_width, high_width)

    def median_deviation(self) -> tuple[float, float]:
        """Return median|value - median|, and by how much it can differ; or NaN.

        The median is off by a bin's width w at most, and so is each value: together 2 w, of the widest bin concerned.
        """
        if not self.rows:
            return float("nan"), float("nan")
        middle, width = self.quantile(0.5)
        nearer, farther = (self._distance(middle, rank) for rank in ((self.rows - 1) // 2, self.rows // 2))
        ends = [self._width(middle + sign * farther) for sign in (-1, 1)]
        return (nearer + farther) / 2.0, 2.0 * max(width, *ends)

    def _value(self, i: int) -> tuple[float, float]:
        """Return the i-th value, from 0, and the width of its bin."""
        number = int(np.searchsorted(self._until, i, side="right"))
        count = int(self._counts[number])
        low, high = float(self._edges[number]), float(self._edges[number + 1])
        among = i - (int(self._until[number]) - count)
        return low + (among + 0.5) / count * (high - low), high - low

    def _distance(self, middle: float, rank: int) -> float:
        """Return the distance from `middle` of the value that is number `rank` in it, from 0."""
        low, high = 0.0, 2.0
        for _ in range(_STEPS):
            distance = (low + high) / 2.0
            if self._up_to(middle + distance) - self._up_to(middle - distance) > rank:
                high = distance
            else:
                low = distance
        return high

    def _up_to(self, value: float) -> int:
        """Return how many values lie at or below."""
        number = self._number(value)
        count = int(self._counts[number])
        low, high = self._edges[number], self._edges[number + 1]
        share = int(np.floor((value - low) / (high - low) * count + 0.5))
        return int(self._until[number]) - count + min(max(share, 0), count)

    def _width(self, value: float) -> float:
        number = self._number(value)
        return float(self._edges[number + 1] - self._edges[number])

    def _number(self, value: float) -> int:
        found = int(np.searchsorted(self._edges, value, side="right")) - 1
        return min(max(found, 0), len(self._counts) - 1)
