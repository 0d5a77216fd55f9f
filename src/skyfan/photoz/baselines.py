"""Redshifts from magnitudes and colours alone, by the usual methods: what an image model is held against.

Each learns from the rows that a network learns from, makes its choices on the rows that a network is validated on, and
never sees a test row.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.neighbors import KNeighborsRegressor
from torch import Tensor, nn

from skyfan.errors import SurveyError
from skyfan.photoz.checkpoint import Recipe
from skyfan.photoz.dataset import Survey, split
from skyfan.photoz.metrics import dz, sigma_nmad
from skyfan.photoz.network import NetworkConfig, bin_centres, dense
from skyfan.photoz.parameters import BANDS
from skyfan.photoz.trainer import pdf_loss

Floats = NDArray[np.float64]

NEIGHBOURS = (10, 20, 40, 80, 160)
LEAVES = (15, 31)
"""Of one tree."""
_R = BANDS.index("r")


@dataclass(frozen=True)
class Sample:
    """Galaxies as a baseline sees them."""

    magnitude: Floats
    """AB, ugriz, (n, 5)."""
    redshift: Floats
    """True ones, (n,)."""


@dataclass(frozen=True)
class Features:
    """r and the four colours of neighbouring bands, standardised by what training rows have."""

    mean: Floats
    std: Floats

    @classmethod
    def of(cls, magnitude: ArrayLike) -> "Features":
        """Measure the constants on magnitudes, (n, 5)."""
        raw = _raw(magnitude)
        return cls(raw.mean(axis=0), np.maximum(raw.std(axis=0), 1e-3))

    def __call__(self, magnitude: ArrayLike) -> Floats:
        return (_raw(magnitude) - self.mean) / self.std


class Regressor(Protocol):
    """What was learnt, whatever it is inside."""

    def predict(self, features: Floats) -> ArrayLike:
        """Return redshifts, (n,), of standardised features, (n, 5)."""


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline."""

    name: str
    choices: Mapping[str, float | str]
    """What the validation rows decided."""
    features: Features
    regressor: Regressor

    def predict(self, magnitude: ArrayLike) -> Floats:
        """Return redshifts, (n,), of AB magnitudes in ugriz, (n, 5)."""
        return np.asarray(self.regressor.predict(self.features(magnitude)), np.float64)


Fitted = tuple[Regressor, dict[str, float | str]]
Fitter = Callable[[Floats, Floats, Floats, Floats, int], Fitted]
"""From features and redshifts of the training rows, then of the validation rows, and a seed."""


def samples(survey: Survey) -> tuple[Sample, Sample]:
    """Return the training and the validation rows of a survey, split as they are for a network.

    Raises
    ------
    SurveyError
        There are too few rows, or one has a magnitude that is not finite.
    """
    parts = split(survey.object_id)
    if len(parts.train) < 2 or not len(parts.validation):
        raise SurveyError(
            f"{survey.path} gives {len(parts.train)} rows to learn from and {len(parts.validation)} to validate with; "
            "expected some of both - use a larger survey"
        )
    for rows in (parts.train, parts.validation):
        finite = np.isfinite(survey.magnitude[rows]).all(axis=1)
        if not finite.all():
            raise SurveyError(
                f"{survey.path} has a magnitude that is not finite in row {rows[~finite][0]}; expected none in rows "
                "to learn from - leave such rows out"
            )
    train, validation = (
        Sample(survey.magnitude[rows].astype(np.float64), survey.redshift[rows].astype(np.float64))
        for rows in (parts.train, parts.validation)
    )
    return train, validation


def fit(name: str, train: Sample, validation: Sample, seed: int = 1) -> Baseline:
    """Fit one of `BASELINES`.

    Parameters
    ----------
    name : str
        Which.
    train, validation : Sample
        To learn from, and to choose with.
    seed : int
        The same seed gives the same redshifts.
    """
    features = Features.of(train.magnitude)
    regressor, choices = BASELINES[name](
        features(train.magnitude), train.redshift, features(validation.magnitude), validation.redshift, seed
    )
    return Baseline(name, choices, features, regressor)


def fit_neighbours(x: Floats, z: Floats, x_validation: Floats, z_validation: Floats, seed: int) -> Fitted:  # noqa: ARG001
    """Average the redshifts of the k nearest galaxies; k and the weights are those of the least sigma_NMAD."""
    candidates: list[Fitted] = [
        (KNeighborsRegressor(k, weights=weights).fit(x, z), {"k": k, "weights": weights})
        for k in sorted({min(k, len(x)) for k in NEIGHBOURS})
        for weights in ("uniform", "distance")
    ]
    return _best(candidates, x_validation, z_validation)


def fit_boosting(x: Floats, z: Floats, x_validation: Floats, z_validation: Floats, seed: int) -> Fitted:
    """Boost trees on squared error until the validation rows gain nothing; leaves are those of the least sigma_NMAD."""
    candidates: list[Fitted] = []
    for leaves in LEAVES:
        boosted = HistGradientBoostingRegressor(
            learning_rate=0.05,
            max_iter=3000,
            max_leaf_nodes=leaves,
            early_stopping=True,
            n_iter_no_change=30,
            tol=0.0,
            random_state=seed,
        )
        boosted.fit(x, z, X_val=x_validation, y_val=z_validation)
        candidates.append((boosted, {"leaves": leaves, "trees": boosted.n_iter_}))
    return _best(candidates, x_validation, z_validation)


class PdfMlp(nn.Module):
    """Dense layers to a PDF over the network's redshift bins; its mean is the redshift, as the network's is."""

    def __init__(self, inputs: int, config: NetworkConfig, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(dense(inputs, width, depth), nn.ReLU(), nn.Linear(width, config.bins))
        self.register_buffer("centres", bin_centres(config))
        self.centres: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, (n, bins)."""
        return self.layers(features)  # type: ignore[no-any-return]

    @torch.no_grad()
    def predict(self, features: Floats) -> Floats:
        """Return redshifts, (n,)."""
        logits = self(torch.from_numpy(features.astype(np.float32)))
        return (torch.softmax(logits, dim=1) * self.centres).sum(dim=1).numpy().astype(np.float64)


def fit_mlp(x: Floats, z: Floats, x_validation: Floats, z_validation: Floats, seed: int) -> Fitted:
    """Train dense layers with the network's own loss until the validation loss falls no more.

    AdamW in batches of 512; the learning rate is divided by 3 when the validation loss has not fallen by 0.01 % in 5
    epochs, and training ends when it is below 1e-5; kept are the weights of the least validation loss.
    """
    config, crps_weight = NetworkConfig(), Recipe().crps_weight
    features, truth, held_features, held_truth = (
        torch.from_numpy(values.astype(np.float32)) for values in (x, z, x_validation, z_validation)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mlp = PdfMlp(x.shape[1], config)
        optimiser = torch.optim.AdamW(mlp.parameters(), lr=2e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=1 / 3, patience=4)
        best, least, epochs = copy.deepcopy(mlp.state_dict()), np.inf, 0
        while optimiser.param_groups[0]["lr"] > 1e-5:
            order = torch.randperm(len(features))
            for batch in torch.split(order, 512):
                optimiser.zero_grad()
                pdf_loss(mlp(features[batch]), truth[batch], config, crps_weight).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            with torch.no_grad():
                loss = float(pdf_loss(mlp(held_features), held_truth, config, crps_weight))
            schedule.step(loss)
            epochs += 1
            if loss < least:
                best, least = copy.deepcopy(mlp.state_dict()), loss
    mlp.load_state_dict(best)
    return mlp.eval(), {"epochs": epochs}


BASELINES: Mapping[str, Fitter] = {
    "nearest neighbours": fit_neighbours,
    "gradient boosting": fit_boosting,
    "MLP": fit_mlp,
}
"""By name, the simplest first."""


def _raw(magnitude: ArrayLike) -> Floats:
    """Return r and u - g, g - r, r - i, i - z, (n, 5)."""
    values = np.asarray(magnitude, np.float64)
    if values.ndim != 2 or values.shape[1] != len(BANDS):
        raise ValueError(f"magnitude has the shape {values.shape}; expected (n, {len(BANDS)}), in {BANDS}")
    return np.column_stack([values[:, _R], values[:, :-1] - values[:, 1:]])


def _best(candidates: list[Fitted], x: Floats, z: Floats) -> Fitted:
    return min(candidates, key=lambda fitted: sigma_nmad(dz(fitted[0].predict(x), z)))
