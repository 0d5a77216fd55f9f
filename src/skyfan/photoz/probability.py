"""How honest a PDF over redshift is: pure functions of binned PDFs and true redshifts.

A PDF is the probabilities of `bins` adjacent bins, evenly spread within each: its CDF is piecewise linear, and what is
computed from it here is exact for that CDF. Every metric is NaN for no rows.
"""

import json

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skyfan.errors import ModelError

Floats = NDArray[np.float64]

CHUNK_ROWS = 1024
"""PDFs that are looked at at once: few enough for a core's cache, which halves the time."""

EDGES_KEY = "pdf_edges"
"""Metadata of a model: a JSON list of the bins + 1 redshifts between which its output `pdf` gives probabilities."""


def parse_edges(text: str | None, name: str) -> Floats | None:
    """Read a model's metadata `pdf_edges`; None if there is none.

    Raises
    ------
    ModelError
        If it is no list of two or more rising numbers.
    """
    if not text:
        return None
    try:
        edges = np.asarray(json.loads(text), np.float64)
    except (ValueError, TypeError, RecursionError):
        edges = np.empty(0)
    if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
        raise ModelError(
            f"model {name}: its metadata {EDGES_KEY!r} is {text[:40]!r}; expected a JSON list of two or more rising "
            "redshifts, the edges of the bins of 'pdf'; correct it in the export"
        )
    return edges


def pit(pdf: ArrayLike, edges: ArrayLike, z_spec: ArrayLike) -> Floats:
    """Return the probability integral transform F(z_spec), (n,): the share of each PDF below the truth.

    Parameters
    ----------
    pdf : array, shape (n, bins)
        Probabilities; each PDF is scaled to a sum of 1. NaN comes of one that is none: not finite, negative or empty.
    edges : array, shape (bins + 1,)
        Redshifts, rising.
    z_spec : array, shape (n,)
        Outside the edges F is 0 or 1.

    It is evenly spread over 0 to 1 if the PDFs are calibrated (Dawid 1984, JRSS A 147, 278; for photometric redshifts
    Polsterer, D'Isanto & Gieseke 2016, arXiv 1608.08016).
    """
    return pit_and_crps(pdf, edges, z_spec)[0]


def crps(pdf: ArrayLike, edges: ArrayLike, z_spec: ArrayLike) -> Floats:
    """Return the continuous ranked probability score, integral (F(z) - [z >= z_spec])^2 dz, (n,), in redshift.

    Parameters
    ----------
    pdf, edges, z_spec : array
        As for `pit`.

    It is computed in its other form, E|Z - z_spec| - E|Z - Z'| / 2 with Z and Z' drawn from the PDF, which is exact for
    bins of even density: E|Z - Z'| is the distance of the centres of two bins, and width / 3 within one.
    Source: Gneiting & Raftery 2007 (J. Am. Stat. Assoc. 102, 359), section 4.2, equations 20 and 21. 0 is perfect; for
    a PDF of no width it is |z_phot - z_spec|.
    """
    return pit_and_crps(pdf, edges, z_spec)[1]


def pit_and_crps(pdf: ArrayLike, edges: ArrayLike, z_spec: ArrayLike) -> tuple[Floats, Floats]:
    """Return `pit` and `crps`, (n,) each, at the cost of one.

    Few rows are looked at at once, so that the PDFs of a large part need no second copy.
    """
    mass, borders, truth = np.asarray(pdf), np.asarray(edges, np.float64), np.asarray(z_spec, np.float64)
    if mass.ndim != 2 or mass.shape[1] != len(borders) - 1:
        raise ValueError(f"pdf has the shape {mass.shape}; expected (n, {len(borders) - 1})")
    centre, width = (borders[1:] + borders[:-1]) / 2.0, np.diff(borders)
    half_apart = np.abs(centre[:, None] - centre) / 2.0
    np.fill_diagonal(half_apart, width / 6.0)
    chunks = [slice(start, start + CHUNK_ROWS) for start in range(0, len(truth), CHUNK_ROWS)]
    found = [_pit_and_crps(mass[rows].astype(np.float64), borders, half_apart, truth[rows]) for rows in chunks]
    if not found:
        return np.empty(0), np.empty(0)
    return np.concatenate([item[0] for item in found]), np.concatenate([item[1] for item in found])


def _pit_and_crps(mass: Floats, edges: Floats, half_apart: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Return the two for one chunk; `half_apart` is half the mean distance of what lies in two bins, (bins, bins)."""
    centre, width = (edges[1:] + edges[:-1]) / 2.0, np.diff(edges)
    inside = np.clip(truth, edges[0], edges[-1])
    number = np.clip(np.searchsorted(edges, inside, side="right") - 1, 0, len(width) - 1)
    moments = np.stack([np.ones_like(centre), centre], axis=1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        total, first = (mass @ moments).T
        before, first_before = ((mass * (np.arange(len(width)) < number[:, None])) @ moments).T
        here = mass[np.arange(len(mass)), number]
        share = (inside - edges[number]) / width[number]
        pit = (before + share * here) / total
        after, first_after = total - before - here, first - first_before - here * centre[number]
        in_bin = here * width[number] * (share**2 + (1.0 - share) ** 2) / 2.0
        from_truth = (inside * (before - after) - first_before + first_after + in_bin) / total + np.abs(truth - inside)
        crps = from_truth - np.einsum("ij,ij->i", mass @ half_apart, mass) / total**2
        none = ~np.isfinite(total) | (total <= 0)
        if not mass.min() >= 0:  # also where there is NaN
            none |= (mass < 0).any(axis=1)
    return np.where(none, np.nan, np.clip(pit, 0.0, 1.0)), np.where(none, np.nan, np.maximum(crps, 0.0))


def pit_histogram(values: ArrayLike, bins: int) -> NDArray[np.int64]:
    """Return the number of PIT values, (n,), in each of `bins` even bins from 0 to 1."""
    numbers = np.floor(np.asarray(values, np.float64) * bins).astype(np.int64)
    return np.bincount(np.clip(numbers, 0, bins - 1), minlength=bins)


def pit_ks(values: ArrayLike) -> float:
    """Return sup|F_n(u) - u| of PIT values, (n,): the Kolmogorov-Smirnov distance from calibrated PDFs.

    Source: Massey 1951 (J. Am. Stat. Assoc. 46, 68). 0 is perfect, 1 the worst; NaN for no rows.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    if not n:
        return float("nan")
    steps = np.arange(n + 1) / n
    return float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))


def histogram_ks(counts: ArrayLike) -> float:
    """Return sup|F_n(u) - u| at the edges of a PIT histogram, (bins,): less than `pit_ks` by at most 1 / bins.

    Between two edges F_n rises and u grows by 1 / bins, so the distance cannot pass that at one of them by more.
    """
    numbers = np.asarray(counts, np.float64)
    total = numbers.sum()
    if total == 0:
        return float("nan")
    return float(np.abs(np.cumsum(numbers) / total - np.arange(1, len(numbers) + 1) / len(numbers)).max())


def covered(low: ArrayLike, high: ArrayLike, z_spec: ArrayLike) -> NDArray[np.bool_]:
    """Return whether low <= z_spec <= high, (n,): its mean is the coverage of an interval (0.68 if it is honest)."""
    truth = np.asarray(z_spec, np.float64)
    return (np.asarray(low, np.float64) <= truth) & (truth <= np.asarray(high, np.float64))


def pit_covered(values: ArrayLike, level: float) -> NDArray[np.bool_]:
    """Return whether z_spec lies in the central interval of probability `level` of its PDF, (n,), from PIT values.

    The central interval is that from the quantile (1 - level) / 2 to (1 + level) / 2.
    """
    return np.abs(np.asarray(values, np.float64) - 0.5) <= level / 2.0
