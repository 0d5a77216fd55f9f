"""Measures, on galaxies held back from learning, how honest a network's PDFs are and how unusual an image can be.

The PDFs' part is fitted on validation rows alone; test rows are never looked at.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from skyfan.photoz import probability
from skyfan.photoz.dataset import Rows, Split, Survey, blocks
from skyfan.photoz.network import Network, NetworkConfig
from skyfan.photoz.posterior import Calibration

Floats = NDArray[np.float64]

LEAST_ROWS = 50
"""Validation rows without which nothing is measured."""
FEATURE_ROWS = 20_000
"""Training rows at most, evenly out of all, that say where features lie."""
COVARIANCE_FLOOR = 1e-3
"""Of the mean variance, that every direction's variance is shrunk towards; see `fit_distance`."""
TAIL_ROWS = 20
"""Validation rows beyond the last distance whose share is taken as counted."""
TAIL_SHARE = 0.05
"""Of the validation rows, that say how fast the shares fall beyond it."""
CDF_KNOTS = (0.0, 0.01, 0.025, 0.05, 0.1, 0.16, 0.25, 0.375, 0.5, 0.625, 0.75, 0.84, 0.9, 0.95, 0.975, 0.99, 1.0)
SCORE_STEP = 0.25
"""Between knots of the anomaly score, in powers of ten."""


def bin_edges(config: NetworkConfig) -> Floats:
    """Return the redshifts between which the bins of a network's PDF lie, (z + 1,)."""
    return np.round(np.linspace(0.0, config.z_max, config.bins + 1), 12)


def calibrate(
    network: Network, config: NetworkConfig, survey: Survey, parts: Split, device: str = "cpu"
) -> Calibration | None:
    """Measure the calibration of a trained network.

    Parameters
    ----------
    network : Network
        As it is exported: with averaged weights. It is put into evaluation.
    config : NetworkConfig
        Of that network.
    survey : Survey
        What it was trained on.
    parts : Split
        Rows of the survey: features are learnt from training rows, all else from validation rows.
    device : str
        Where the network is.

    Returns
    -------
    calibration : Calibration or None
        None if there are fewer than `LEAST_ROWS` validation rows.
    """
    logits, features, z = _look(network, survey, parts.validation, device)
    if len(z) < LEAST_ROWS:
        return None
    step = max(1, math.ceil(len(parts.train) / FEATURE_ROWS))
    _, learnt, _ = _look(network, survey, parts.train[::step], device)
    edges = bin_edges(config)
    temperature = fit_temperature(logits, np.clip(np.searchsorted(edges, z, side="right") - 1, 0, config.bins - 1))
    mean, whitening = fit_distance(learnt)
    distance = np.sqrt(np.mean(((features - mean) @ whitening) ** 2, axis=1))
    pit = probability.pit(_softmax(logits / temperature), edges, z)
    fitted = (np.array(temperature), fit_cdf(pit), mean, whitening, fit_score(distance))
    return Calibration(*(torch.from_numpy(array) for array in fitted))


def fit_temperature(logits: Floats, true_bin: NDArray[np.integer]) -> float:
    """Return what to divide logits, (n, z), by so that the log score of the true bins, (n,), is best.

    The score is concave in 1 / temperature: its slope, mean logit of the true bins minus mean logit that the PDFs
    expect, is zero at one place, which is found by halving between 1 / 10 and 10 (Guo et al. 2017, arXiv 1706.04599).
    """
    of_truth = logits[np.arange(len(logits)), true_bin].mean()
    low, high = 0.1, 10.0
    for _ in range(50):
        middle = math.sqrt(low * high)
        expected = np.mean(np.sum(_softmax(middle * logits) * logits, axis=1))
        low, high = (middle, high) if expected < of_truth else (low, middle)
    return 1.0 / math.sqrt(low * high)


def fit_cdf(pit: Floats) -> Floats:
    """Return the map from CDFs as they come to honest ones, (2, knots), from PIT values (n,).

    The honest CDF is G(F), where F is the CDF as it comes and G the distribution of its PIT (Bordoloi et al. 2010,
    MNRAS 406, 881; Kuleshov et al. 2018, arXiv 1807.00263). G is counted between `CDF_KNOTS`, and what it differs from
    the identity by is multiplied by 1 - (pieces - 1) / chi^2, or 0, after James & Stein 1961: as much as chance alone
    would move the counts is taken off, and PDFs that chance can explain are left as they come.
    """
    knots = np.array(CDF_KNOTS)
    expected = np.diff(knots)
    found = np.histogram(pit, knots)[0] / len(pit)
    chi_square = len(pit) * np.sum((found - expected) ** 2 / expected)
    kept = 1.0 - (len(expected) - 1) / chi_square if chi_square > 0 else 0.0
    if kept <= 0:
        return np.array([[0.0, 1.0], [0.0, 1.0]])
    mapped = np.concatenate([[0.0], np.cumsum(expected + kept * (found - expected))])
    return np.stack([knots, mapped / mapped[-1]])


def fit_distance(features: Floats) -> tuple[Floats, Floats]:
    """Return mean and whitening of features, (n, w): (w,) and (w, w).

    The encoder ends in a normalisation, so in one direction features do not vary at all; and what an int8 model rounds
    must not count where they hardly do. Hence the floor under every variance.
    """
    mean = features.mean(axis=0)
    variance, directions = np.linalg.eigh(np.atleast_2d(np.cov(features.T)))
    floored = (1.0 - COVARIANCE_FLOOR) * np.maximum(variance, 0.0) + COVARIANCE_FLOOR * max(variance.mean(), 1e-12)
    return mean, directions / np.sqrt(floored)


def fit_score(distance: Floats) -> Floats:
    """Return the map from distances to scores, (2, knots): -log10 of the share of distances, (n,), that are as large.

    Shares are counted as far as `TAIL_ROWS` lie beyond. From there on the share falls as an exponential with the mean
    excess of the farthest `TAIL_SHARE` of rows, or of those beyond, whichever is larger: rather too low than too high.
    """
    last = max(math.log10(len(distance) / TAIL_ROWS), SCORE_STEP)
    score = np.append(np.arange(0.0, last, SCORE_STEP), last)
    at = np.quantile(distance, 1.0 - 10.0**-score)
    excess = max(np.mean(distance[distance >= x] - x) for x in (at[-1], np.quantile(distance, 1.0 - TAIL_SHARE)))
    at, score = np.append(at, at[-1] + math.log(10.0) * excess), np.append(score, last + 1.0)
    at, first = np.unique(at.astype(np.float32), return_index=True)
    if len(at) < 2:  # all images are alike
        at, first = np.array([at[0], at[0] + 1.0]), np.array([0, len(score) - 1])
    return np.stack([at, score[first]])


@torch.no_grad()
def _look(network: Network, survey: Survey, rows: Rows, device: str) -> tuple[Floats, Floats, Floats]:
    """Return logits, features and redshifts of those rows whose logits and features are finite."""
    network.eval()
    batches = (survey.batch(block, device) for block in blocks(rows, 512))
    found = [(*network.with_features(image, magnitude), z) for image, magnitude, z in batches]
    if not found:
        return np.empty((0, 0)), np.empty((0, 0)), np.empty(0)
    logits, features, z_spec = (torch.cat(parts).double().cpu().numpy() for parts in zip(*found, strict=True))
    finite = np.isfinite(logits).all(axis=1) & np.isfinite(features).all(axis=1)
    return logits[finite], features[finite], z_spec[finite]


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)
