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


@given(pairs())
def test_median_and_sigma_68_are_their_formulas(pair):
    error = metrics.dz(*pair)
    found = metrics.scores(*pair)
    assert found.bias_median == pytest.approx(statistics.median(error.tolist()), abs=1e-12)
    ordered = np.sort(error)
    place = np.array([0.16, 0.84]) * (len(error) - 1)
    low, high = np.interp(place, np.arange(len(error)), ordered)
    assert found.sigma_68 == pytest.approx((high - low) / 2, abs=1e-12)


def test_sigma_68_of_normal_errors_is_nearly_their_standard_deviation():
    error = np.random.default_rng(2).normal(0.3, 0.02, 200_000)
    assert metrics.sigma_68(error) == pytest.approx(0.9945 * 0.02, rel=0.01)


def test_nothing_has_no_metrics():
    found = metrics.scores([], [])
    assert found.count == 0
    assert all(np.isnan(value) for name, value in vars(found).items() if name != "count")


def test_a_true_redshift_is_finite_and_above_minus_one():
    assert metrics.has_truth([0.1, 0.0, -0.001, -1.0, -9999.0, np.nan, np.inf]).tolist() == [True] * 3 + [False] * 4


def test_bootstrap_error_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(3).normal(0, 1, 400)
    found = metrics.bootstrap(lambda x: {"mean": float(x.mean())}, [values], 500)
    assert found["mean"] == pytest.approx(values.std(ddof=1) / 20, rel=0.1)
    assert found == metrics.bootstrap(lambda x: {"mean": float(x.mean())}, [values], 500)
    assert found != metrics.bootstrap(lambda x: {"mean": float(x.mean())}, [values], 500, seed=2)


def test_bootstrap_of_many_rows_draws_fewer(monkeypatch):
    monkeypatch.setattr(metrics, "BOOTSTRAP_ROWS", 1000)
    values = np.random.default_rng(3).normal(0, 1, 20_000)
    drawn = []

    def mean(x):
        drawn.append(len(x))
        return {"mean": float(x.mean())}

    found = metrics.bootstrap(mean, [values], 300)
    assert set(drawn) == {1000}
    assert found["mean"] == pytest.approx(1 / np.sqrt(20_000), rel=0.15)


def test_bootstrap_resamples_columns_together():
    x = np.arange(50.0)
    assert metrics.bootstrap(lambda a, b: {"difference": float((a - b).sum())}, [x, x + 1], 20) == {"difference": 0.0}


def test_bootstrap_without_rows_to_draw_from_is_not_a_number():
    for values in ([], [1.0]):
        assert np.isnan(metrics.bootstrap(lambda x: {"sum": float(x.sum())}, [np.array(values)], 10)["sum"])
    assert np.isnan(metrics.bootstrap(lambda x: {"sum": float(x.sum())}, [np.arange(5.0)], 0)["sum"])


def test_bins_hold_their_lower_edge():
    assert metrics.in_bins([-1.0, 0.0, 0.5, 1.0, 2.0], (0.0, 1.0)).tolist() == [0, 1, 1, 2, 2]
