"""Metrics against direct computation."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skyfan.photoz import metrics

REDSHIFTS = arrays(np.float64, st.integers(2, 40), elements=st.floats(0.0, 2.0))


def pairs():
    return st.integers(2, 40).flatmap(
        lambda n: st.tuples(*[arrays(np.float64, n, elements=st.floats(0.0, 2.0)) for _ in range(2)])
    )


@given(pairs())
def test_each_metric_is_its_formula(pair):
    z_phot, z_spec = pair
    error = [(p - s) / (1 + s) for p, s in zip(z_phot.tolist(), z_spec.tolist(), strict=True)]
    middle = statistics.median(error)
    found = metrics.scores(z_phot, z_spec)
    assert found.count == len(error)
    assert found.bias == pytest.approx(statistics.fmean(error), abs=1e-12)
    assert found.sigma_nmad == pytest.approx(1.4826 * statistics.median(abs(e - middle) for e in error), abs=1e-12)
    assert found.outlier_fraction_005 == sum(abs(e) > 0.05 for e in error) / len(error)
    assert found.outlier_fraction_015 == sum(abs(e) > 0.15 for e in error) / len(error)
    assert found.mae == pytest.approx(statistics.fmean(abs(z_phot - z_spec)), abs=1e-12)
    assert found.mse == pytest.approx(statistics.fmean((z_phot - z_spec) ** 2), abs=1e-12)


@given(REDSHIFTS)
def test_perfect_redshifts_have_no_error(z):
    found = metrics.scores(z, z)
    assert (found.bias, found.sigma_nmad, found.mae, found.mse) == (0.0, 0.0, 0.0, 0.0)
    assert found.r2 == 1.0 or np.isnan(found.r2)


def test_r2_is_the_share_of_variance_explained():
    rng = np.random.default_rng(1)
    z_spec = rng.uniform(0, 0.4, 1000)
    z_phot = z_spec + rng.normal(0, 0.02, 1000)
    expected = 1 - np.var(z_phot - z_spec) / np.var(z_spec)
    assert metrics.r2(z_phot, z_spec) == pytest.approx(expected, abs=1e-3)
    assert metrics.r2(np.full(1000, z_spec.mean()), z_spec) == pytest.approx(0.0, abs=1e-12)


def test_sigma_nmad_of_normal_errors_is_their_standard_deviation():
    error = np.random.default_rng(2).normal(0.3, 0.02, 200_000)
    assert metrics.sigma_nmad(error) == pytest.approx(0.02, rel=0.01)
