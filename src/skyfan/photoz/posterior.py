"""What a catalogue wants of a galaxy, from logits over redshift bins and features: plain operations that export.

A PDF is the probabilities of even bins from 0 to `z_max`, evenly spread within each: its CDF is piecewise linear, and
every number here is exact for that CDF, as `skyfan.photoz.probability` has it.
"""

import json
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skyfan.errors import ModelError
from skyfan.photoz.probability import EDGES_KEY

# Shapes in comments: n images, w features, z redshift bins, k pieces of a piecewise linear map.

ODDS_DZ = 0.05
"""`odds` is the probability that |z - z_phot| / (1 + z) is not above this: the metrics' `outlier_fraction_005`."""
LEVELS = {"z_l68": 0.16, "z_u68": 0.84, "z_l95": 0.025, "z_u95": 0.975}
"""Of the PDF's quantiles."""
WINDOW = 1e-5
"""Probability by which a bin is widened to look up what the calibration does there; far above float32's rounding."""

ANOMALY_MEANING = "of galaxies like those it was trained on, one in 10^score looks at least as unusual"
OUTPUTS = {
    "z_phot": {
        "unit": "",
        "ucd": "src.redshift.phot;meta.main",
        "description": "photometric redshift: the mean of the PDF over redshift bins",
    },
    "z_phot_std": {
        "unit": "",
        "ucd": "stat.stdev;src.redshift.phot",
        "description": "standard deviation of the PDF, the spread within bins included",
    },
    "z_l68": {
        "unit": "",
        "ucd": "src.redshift.phot;stat.min",
        "description": "lower end of the central 68 % interval: the PDF's 16 % quantile",
    },
    "z_u68": {
        "unit": "",
        "ucd": "src.redshift.phot;stat.max",
        "description": "upper end of the central 68 % interval: the PDF's 84 % quantile",
    },
    "z_l95": {
        "unit": "",
        "ucd": "src.redshift.phot;stat.min",
        "description": "lower end of the central 95 % interval: the PDF's 2.5 % quantile",
    },
    "z_u95": {
        "unit": "",
        "ucd": "src.redshift.phot;stat.max",
        "description": "upper end of the central 95 % interval: the PDF's 97.5 % quantile",
    },
    "odds": {
        "unit": "",
        "ucd": "stat.probability;src.redshift.phot",
        "description": f"probability by the PDF that |z - z_phot| / (1 + z) <= {ODDS_DZ}: that it is no outlier",
    },
    "pdf": {
        "unit": "",
        "ucd": "stat.probability;src.redshift.phot",
        "description": "probability of each redshift bin; the bins' edges are in the model's metadata, pdf_edges",
    },
    "anomaly_score": {"unit": "", "ucd": "meta.code.qual", "description": ANOMALY_MEANING},
}
"""What a model gives, in order: unit, UCD1+ and description."""


UNUSUAL_ABOVE = {"anomaly_score": 3.0}
"""Flags one in a thousand of familiar galaxies, or nearly so.

A share of n validation rows is counted down to 20 of them, a score of log10(n / 20): 2.6 for 8,000 rows. Beyond it, and
so at 3.0 too unless there are 20,000, the share is continued and not counted; see `Calibration.counted_to`.
"""


class Posterior(NamedTuple):
    """What is known of n galaxies, (n,) each but for the PDF; see `OUTPUTS`."""

    z_phot: Tensor
    z_phot_std: Tensor
    z_l68: Tensor
    z_u68: Tensor
    z_l95: Tensor
    z_u95: Tensor
    odds: Tensor
    pdf: Tensor
    """(n, z)."""
    anomaly_score: Tensor


class Calibration(nn.Module):
    """What was measured on galaxies held back from learning: it makes a PDF honest and gives a distance its meaning.

    Fitted by `skyfan.photoz.calibration.calibrate`. Its tensors are buffers, and part of the exported graph.
    """

    def __init__(
        self, temperature: Tensor, cdf: Tensor, feature_mean: Tensor, whitening: Tensor, anomaly: Tensor
    ) -> None:
        super().__init__()
        buffers = {
            "temperature": temperature,  # (), that logits are divided by
            "cdf": cdf,  # (2, k + 1), knots of the map from the CDF as it comes to the honest one
            "feature_mean": feature_mean,  # (w,)
            "whitening": whitening,  # (w, w), to features without scale and correlation
            "anomaly": anomaly,  # (2, k + 1), knots of the map from distance to score
        }
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor.detach().to(torch.float32).clone())
        self.temperature: Tensor
        self.cdf: Tensor
        self.feature_mean: Tensor
        self.whitening: Tensor
        self.anomaly: Tensor

    @classmethod
    def none(cls, width: int) -> "Calibration":
        """Return the one that changes nothing: the PDF as it comes, and for a score the features' own size."""
        line = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
        return cls(torch.tensor(1.0), line, torch.zeros(width), torch.eye(width), line)

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], width: int) -> "Calibration":
        """Return what `tensors` gave, for a network of this width.

        Raises
        ------
        ModelError
            A tensor is missing, unknown, of the wrong shape or not finite, the temperature is not above 0, or a map
            does not rise, that of the CDF from 0 to 1.
        """
        expected = {
            "temperature": "one number above 0",
            "cdf": "(2, knots), both rising from 0 to 1",
            "feature_mean": f"({width},)",
            "whitening": f"({width}, {width})",
            "anomaly": "(2, knots), both rising",
        }
        for name in [*expected, *tensors]:
            found = tensors.get(name)
            if found is None or not _fits(name, found.to(torch.float32), width):
                raise ModelError(
                    f"the calibration has {name} {_told(found)}; expected {expected.get(name, 'no such tensor')}, "
                    f"finite, for a network of width {width} - run train with --resume to measure it again"
                )
        return cls(**tensors)

    @property
    def counted_to(self) -> float:
        """The last score whose share was counted on validation rows; the map's last knot lies beyond it."""
        return self.anomaly[1, -2].item()

    def tensors(self) -> dict[str, Tensor]:
        """Return everything it consists of, to be stored."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.named_buffers()}

    def pdf(self, logits: Tensor) -> Tensor:
        """Return probabilities, (n, z), of logits (n, z).

        A bin's probability is multiplied by the mean slope that the map of the CDF has across it. That is the
        difference of the mapped CDF at its edges, but keeps its digits where the CDF is next to 1.
        """
        raw = torch.softmax(logits / self.temperature, dim=1)  # (n, z)
        end = raw.cumsum(dim=1).clamp(max=1.0)
        low, high = (end - raw - WINDOW).unsqueeze(2), (end + WINDOW).unsqueeze(2)
        inside = _within(high, self.cdf) - _within(low, self.cdf)  # (n, z, k)
        mapped = raw * (inside * _slopes(self.cdf)).sum(dim=2) / inside.sum(dim=2)
        return mapped / mapped.sum(dim=1, keepdim=True)

    def distance(self, features: Tensor) -> Tensor:
        """Return the Mahalanobis distance of features (n, w) from the training set's, a root mean square: (n,)."""
        return ((features - self.feature_mean) @ self.whitening).square().mean(dim=1).sqrt()

    def anomaly_score(self, features: Tensor) -> Tensor:
        """Return how unlike the training images those are that gave features (n, w): (n,), 0 or more.

        Beyond its last knot the map goes on as it came.
        """
        inside = _within(self.distance(features).unsqueeze(1), self.anomaly, is_open=True)  # (n, k)
        return (inside * _slopes(self.anomaly)).sum(dim=1)


def summarise(pdf: Tensor, anomaly_score: Tensor, z_max: float) -> Posterior:
    """Return everything that is known of n galaxies from their PDFs, (n, z) over 0 to `z_max`."""
    bins = pdf.shape[1]
    width = z_max / bins
    start = torch.arange(bins, dtype=pdf.dtype, device=pdf.device) * width  # (z,)
    centre = start + width / 2.0
    mean = (pdf * centre).sum(dim=1)
    within_bin = width * width / 12.0  # of an even density
    variance = (pdf * (centre - mean[:, None]).square()).sum(dim=1) + within_bin
    below, above = (mean - ODDS_DZ) / (1.0 + ODDS_DZ), (mean + ODDS_DZ) / (1.0 - ODDS_DZ)
    odds = (cdf_at(pdf, above, start, width) - cdf_at(pdf, below, start, width)).clamp(max=1.0)
    low_68, high_68, low_95, high_95 = quantiles(pdf, tuple(LEVELS.values()), width).unbind(dim=1)
    # what is wrong with an image or a magnitude is seen in every column
    score = anomaly_score + 0.0 * mean
    return Posterior(mean, variance.sqrt(), low_68, high_68, low_95, high_95, odds, pdf, score)


def cdf_at(pdf: Tensor, z: Tensor, start: Tensor, width: float) -> Tensor:
    """Return the probability below redshifts, (n,), of PDFs (n, z) whose bins begin at `start`, (z,)."""
    return (pdf * ((z[:, None] - start) / width).clamp(0.0, 1.0)).sum(dim=1)


def quantiles(pdf: Tensor, levels: tuple[float, ...], width: float) -> Tensor:
    """Return the redshifts below which PDFs, (n, z) from 0 on, have these probabilities: (n, levels).

    Each bin adds its width if it lies below the quantile, and the part of it that does where the quantile is inside.
    """
    before = (pdf.cumsum(dim=1) - pdf).unsqueeze(1)  # (n, 1, z)
    wanted = torch.tensor(levels, dtype=pdf.dtype, device=pdf.device).view(1, -1, 1)
    tiny = torch.finfo(pdf.dtype).tiny
    return width * ((wanted - before) / pdf.unsqueeze(1).clamp(min=tiny)).clamp(0.0, 1.0).sum(dim=2)


def describe_outputs(edges: list[float], calibration: Calibration | None) -> dict[str, str]:
    """Return a model's metadata on what it gives; a score that was not calibrated has no meaning to state.

    Parameters
    ----------
    edges : list of float
        Redshifts between which the bins of the PDF lie, (z + 1,).
    calibration : Calibration or None
        What is in the model, if anything was measured.
    """
    if calibration is None:
        plain = {"anomaly_score": OUTPUTS["anomaly_score"] | {"description": "not calibrated: without a meaning"}}
        return {EDGES_KEY: json.dumps(edges), "outputs": json.dumps(OUTPUTS | plain)}
    fitted = {
        "temperature": round(calibration.temperature.item(), 6),
        "cdf": calibration.cdf.tolist(),
        "counted_to": round(calibration.counted_to, 3),
    }
    return {
        EDGES_KEY: json.dumps(edges),
        "outputs": json.dumps(OUTPUTS),
        "anomaly_score": ANOMALY_MEANING,
        "unusual_above": json.dumps(UNUSUAL_ABOVE),
        "calibration": json.dumps(fitted),
    }


def _slopes(knots: Tensor) -> Tensor:
    x, y = knots[0], knots[1]
    return (y[1:] - y[:-1]) / (x[1:] - x[:-1])  # (k,)


def _within(x: Tensor, knots: Tensor, *, is_open: bool = False) -> Tensor:
    """Return how far x, (..., 1), reaches into each piece between two knots, (..., k); an open last one has no end."""
    low, high = knots[0, :-1], knots[0, 1:]
    if is_open:
        high = torch.cat([high[:-1], torch.full_like(high[-1:], torch.finfo(high.dtype).max)])
    return torch.minimum(torch.maximum(x, low), high) - low


def _fits(name: str, found: Tensor, width: int) -> bool:
    """Whether a tensor can stand in a calibration under this name; a map may have any number of knots."""
    shapes: dict[str, tuple[int, ...]] = {"temperature": (), "feature_mean": (width,), "whitening": (width, width)}
    if not torch.isfinite(found).all():
        return False
    if name in shapes:
        return found.shape == shapes[name] and (name != "temperature" or found.item() > 0)
    if name not in {"cdf", "anomaly"} or found.ndim != 2 or len(found) != 2 or found.shape[1] < 2:
        return False
    ends = name == "anomaly" or (found[:, 0].tolist() == [0.0, 0.0] and found[:, -1].tolist() == [1.0, 1.0])
    return ends and bool((found[0].diff() > 0).all() and (found[1].diff() >= 0).all())


def _told(found: Tensor | None) -> str:
    """Return what of a tensor fits into a message."""
    if found is None:
        return "missing"
    return f"of shape {tuple(found.shape)}" if found.ndim else str(found.item())
