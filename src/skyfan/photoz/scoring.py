"""Scores what a model file gives: beside true redshifts, beside torch, and beside the file of other weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyfan.errors import SurveyError
from skyfan.photoz import probability
from skyfan.photoz.calibration import LEAST_ROWS, bin_edges
from skyfan.photoz.dataset import Rows, Survey, blocks
from skyfan.photoz.metrics import Scores, scores
from skyfan.photoz.network import NetworkConfig, PhotoZ
from skyfan.photoz.onnx_file import open_session
from skyfan.photoz.posterior import OUTPUTS

Outputs = Mapping[str, NDArray[np.float32]]

CHANGES = ("sigma_nmad", "bias", "outlier_fraction_005", "pit_ks", "crps", "coverage_68", "coverage_95")
"""Figures of which an int8 file says how they changed."""


@dataclass(frozen=True)
class PdfScores:
    """How honest the PDFs of a sample are; definitions in `skyfan.photoz.probability`."""

    pit_ks: float
    crps: float
    coverage_68: float
    """Share of true redshifts from `z_l68` to `z_u68`."""
    coverage_95: float


@dataclass(frozen=True)
class Evaluated:
    """What a model gave for rows that it was not trained on, and its metrics."""

    outputs: Outputs
    scores: Scores
    pdf_scores: PdfScores

    @classmethod
    def of(cls, outputs: Outputs, redshift: NDArray[Any], config: NetworkConfig) -> "Evaluated":
        """Score outputs, (n,) or (n, z) each, with true redshifts, (n,)."""
        z_spec = np.asarray(redshift, np.float64)
        pit, crps = probability.pit_and_crps(outputs["pdf"], bin_edges(config), z_spec)
        inside = [probability.covered(outputs[f"z_l{level}"], outputs[f"z_u{level}"], z_spec) for level in (68, 95)]
        honest = PdfScores(probability.pit_ks(pit), float(crps.mean()), *(float(rows.mean()) for rows in inside))
        return cls(outputs, scores(outputs["z_phot"], z_spec), honest)

    def figures(self) -> dict[str, float]:
        """Return all metrics by name."""
        return asdict(self.scores) | asdict(self.pdf_scores)

    def change_from(self, other: "Evaluated") -> dict[str, float]:
        """Return these figures less those of another model for the same rows, and the largest change of a row."""
        after, before = self.figures(), other.figures()
        largest = largest_change(self.outputs, other.outputs)
        return {
            **{name: after[name] - before[name] for name in CHANGES},
            "sigma_nmad_relative": after["sigma_nmad"] / before["sigma_nmad"] - 1.0 if before["sigma_nmad"] else np.nan,
            "max_dz": largest["z_phot"],
            "max_anomaly_score_relative": largest["anomaly_score"],
        }


def largest_change(found: Outputs, expected: Outputs) -> dict[str, float]:
    """Return by output the largest |found - expected| / (1 + |expected|); of a redshift that is a dz."""
    return {
        name: float(np.max(np.abs(values - expected[name]) / (1.0 + np.abs(expected[name]))))
        for name, values in found.items()
    }


def run(session: onnxruntime.InferenceSession, image: Tensor, magnitude: Tensor) -> dict[str, NDArray[np.float32]]:
    """Return by name what a model file gives for images, (n, b, y, x), and magnitudes, (n, b)."""
    inputs: dict[str, Any] = {"image": image.numpy(), "magnitude": magnitude.numpy()}
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), inputs), strict=True))


def compare(model: PhotoZ, path: Path, example: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Return by output the largest |file - torch| / (1 + |torch|) on these images and magnitudes."""
    with torch.no_grad():
        expected = {name: tensor.numpy() for name, tensor in model(*example)._asdict().items()}
    return largest_change(run(open_session(path), *example), expected)


def evaluate(path: Path, survey: Survey, rows: Rows, config: NetworkConfig) -> Evaluated:
    """Return what a model file gives for rows of a survey, and its metrics."""
    session = open_session(path)
    parts = [run(session, *survey.batch(block)[:2]) for block in blocks(rows, 64)]
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}
    return Evaluated.of(outputs, survey.redshift[rows], config)


def finite_rows(survey: Survey, rows: Rows) -> Rows:
    """Return those of `rows` that a run would predict.

    Raises
    ------
    SurveyError
        They are fewer than `LEAST_ROWS`: too few to measure anything with.
    """
    finite = [
        np.isfinite(survey.image[block]).all(axis=(1, 2, 3)) & np.isfinite(survey.magnitude[block]).all(axis=1)
        for block in blocks(rows)
    ]
    kept: Rows = rows[np.concatenate([np.empty(0, np.bool_), *finite])]
    if len(kept) < LEAST_ROWS:
        raise SurveyError(
            f"{survey.path} has {len(kept)} rows to test with, finite throughout and not trained on; expected "
            f"{LEAST_ROWS} or more - give a larger survey"
        )
    return kept
