"""A catalogue's columns against direct computation from the same PDF, and the calibration inside the graph."""

import json

import numpy as np
import pytest
import torch
from astropy.io.votable.ucd import check_ucd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skyfan.errors import ModelError
from skyfan.photoz.posterior import (
    ODDS_DZ,
    OUTPUTS,
    UNUSUAL_ABOVE,
    Calibration,
    Posterior,
    describe_outputs,
    summarise,
)

BINS, Z_MAX = 16, 0.4
EDGES = np.linspace(0.0, Z_MAX, BINS + 1)


@st.composite
def pdfs(draw):
    """A few PDFs, with empty bins and bins that have nearly all."""
    masses = st.one_of(st.just(0.0), st.floats(1e-6, 1.0), st.floats(100.0, 1e4))
    pdf = draw(arrays(np.float64, st.tuples(st.integers(1, 4), st.just(BINS)), elements=masses))
    pdf[pdf.sum(axis=1) == 0] = 1.0
    return pdf / pdf.sum(axis=1, keepdims=True)


def known(pdf):
    """Return the columns in double precision, by name."""
    found = summarise(torch.from_numpy(pdf), torch.zeros(len(pdf), dtype=torch.float64), Z_MAX)
    return {name: tensor.numpy() for name, tensor in found._asdict().items()}


def calibration(**changes):
    width = 3
    plain = Calibration.none(width).tensors()
    return Calibration.from_tensors(plain | changes, width)


@settings(max_examples=50)
@given(pdfs())
def test_quantiles_are_where_the_cdf_is(pdf):
    found = known(pdf)
    cdf = np.concatenate([np.zeros((len(pdf), 1)), np.cumsum(pdf, axis=1)], axis=1)
    for name, level in {"z_l95": 0.025, "z_l68": 0.16, "z_u68": 0.84, "z_u95": 0.975}.items():
        at = [np.interp(z, EDGES, row) for z, row in zip(found[name], cdf, strict=True)]
        np.testing.assert_allclose(at, level, atol=1e-9)


@settings(max_examples=50)
@given(pdfs())
def test_intervals_lie_in_each_other_and_in_the_bins(pdf):
    for values in (pdf, pdf.astype(np.float32)):
        found = known(values)
        ends = np.stack([found[name] for name in ("z_l95", "z_l68", "z_u68", "z_u95")])
        assert (np.diff(ends, axis=0) >= 0).all()
        assert ends.min() >= 0
        assert ends.max() <= Z_MAX * (1 + 1e-6)


@settings(max_examples=50)
@given(pdfs())
def test_mean_and_deviation_are_those_of_the_density(pdf):
    found = known(pdf)
    nodes, weights = np.polynomial.legendre.leggauss(2)  # exact for a parabola
    z = (EDGES[:-1] + EDGES[1:])[:, None] / 2 + nodes * (Z_MAX / BINS) / 2
    mean = np.einsum("nb,bq,q->n", pdf, z, weights / 2)
    square = np.einsum("nb,bq,q->n", pdf, z**2, weights / 2)
    np.testing.assert_allclose(found["z_phot"], mean, atol=1e-12)
    np.testing.assert_allclose(found["z_phot_std"] ** 2, square - mean**2, atol=1e-12)


@settings(max_examples=50)
@given(pdfs())
def test_odds_are_the_probability_of_being_no_outlier(pdf):
    found = known(pdf)
    z = (np.arange(40_000) + 0.5) * Z_MAX / 40_000
    density = np.repeat(pdf, 40_000 // BINS, axis=1) * BINS / 40_000
    inside = np.abs(z - found["z_phot"][:, None]) / (1 + z) <= ODDS_DZ
    np.testing.assert_allclose(found["odds"], (density * inside).sum(axis=1), atol=2e-3)


@settings(max_examples=50)
@given(pdfs())
def test_odds_are_a_probability_after_rounding_too(pdf):
    odds = known(pdf.astype(np.float32) * np.float32(1 + 2e-7))["odds"]
    assert (odds <= 1.0).all()
    assert np.isnan(known(np.full_like(pdf, np.nan))["odds"]).all()


def test_every_output_is_described():
    assert tuple(OUTPUTS) == Posterior._fields
    assert all(set(said) == {"unit", "ucd", "description"} for said in OUTPUTS.values())
    assert all(check_ucd(said["ucd"], check_controlled_vocabulary=True) for said in OUTPUTS.values())
    assert UNUSUAL_ABOVE.keys() <= OUTPUTS.keys()


def test_score_without_calibration_claims_no_meaning():
    plain = describe_outputs([0.0, 0.4], None)
    assert "unusual_above" not in plain
    assert "not calibrated" in json.loads(plain["outputs"])["anomaly_score"]["description"]
    assert json.loads(describe_outputs([0.0, 0.4], calibration())["unusual_above"]) == UNUSUAL_ABOVE


def logits():
    return 5.0 * torch.randn(50, 64, generator=torch.Generator().manual_seed(4))


def test_no_calibration_leaves_the_softmax():
    torch.testing.assert_close(calibration().pdf(logits()), torch.softmax(logits(), dim=1), rtol=1e-6, atol=0)


def test_temperature_divides_logits():
    found = calibration(temperature=torch.tensor(2.0)).pdf(logits())
    torch.testing.assert_close(found, torch.softmax(logits() / 2, dim=1), rtol=1e-5, atol=0)


@settings(max_examples=20)
@given(arrays(np.float64, st.tuples(st.just(2), st.integers(2, 16)), elements=st.floats(0.2, 1.0)))
def test_cdf_is_mapped(steps):
    cdf = np.concatenate([np.zeros((2, 1)), np.cumsum(steps, axis=1)], axis=1)
    cdf /= cdf[:, -1:]
    found = calibration(cdf=torch.from_numpy(cdf)).pdf(logits())
    before = np.cumsum(torch.softmax(logits().double(), dim=1).numpy(), axis=1)
    np.testing.assert_allclose(np.cumsum(found.numpy(), axis=1), np.interp(before, *cdf), atol=2e-4)
    np.testing.assert_allclose(found.sum(dim=1), 1.0, atol=1e-6)
    assert (found >= 0).all()


def test_small_probabilities_keep_their_digits_on_both_sides():
    line = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.6, 1.0]])
    peaked = torch.tensor([[-20.0, -20.0, 0.0, -20.0, -20.0]])
    found = calibration(cdf=line).pdf(peaked)[0]
    np.testing.assert_allclose(found[[0, 1, 3, 4]], np.exp(-20.0) * np.array([1.2, 1.2, 0.8, 0.8]), rtol=0.01)


@settings(max_examples=50)
@given(st.lists(st.floats(0.0, 1e4), min_size=1, max_size=20))
def test_score_goes_through_its_knots_and_on(distances):
    knots = np.array([[0.5, 1.0, 1.5, 3.0], [0.0, 1.0, 3.0, 4.0]], np.float32)
    found = calibration(anomaly=torch.from_numpy(knots)).anomaly_score(
        torch.tensor(distances)[:, None].expand(-1, 3)  # no covariance: the distance is the feature
    )
    given_ = np.array(distances)
    beyond = 4.0 + (given_ - 3.0) * (1.0 / 1.5)
    expected = np.where(given_ > 3.0, beyond, np.interp(given_, *knots))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert (found >= 0).all()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"whitening": torch.eye(4)}, "whitening"),
        ({"temperature": torch.tensor(float("nan"))}, "temperature"),
        ({"temperature": torch.tensor(0.0)}, "temperature"),
        ({"temperature": torch.ones(1)}, "temperature"),
        ({"cdf": torch.tensor([[0.1, 0.5, 1.0], [0.0, 0.2, 1.0]])}, "cdf"),
        ({"cdf": torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.2, 0.9]])}, "cdf"),
        ({"cdf": torch.tensor([[0.0, 0.5, 0.5], [0.0, 0.2, 1.0]])}, "cdf"),
        ({"anomaly": torch.zeros(3)}, "anomaly"),
        ({"other": torch.zeros(3)}, "other"),
    ],
)
def test_tensors_of_something_else_are_refused(changes, name):
    with pytest.raises(ModelError, match=f"the calibration has {name} .* width 3 - run train with --resume to measure"):
        calibration(**changes)
    with pytest.raises(ModelError, match=r"has cdf missing; expected \(2, knots\), both rising from 0 to 1"):
        Calibration.from_tensors({k: v for k, v in Calibration.none(3).tensors().items() if k != "cdf"}, 3)


def test_tensors_come_back_the_same():
    stored = calibration(temperature=torch.tensor(0.9)).tensors()
    again = Calibration.from_tensors(stored, 3).tensors()
    assert stored.keys() == again.keys()
    assert all(torch.equal(stored[name], again[name]) for name in stored)
