"""Metrics of PDFs against numerical integration and against samples of which the answer is known."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfan.errors import ModelError
from skyfan.photoz import probability


@st.composite
def binned(draw):
    """A PDF with its edges, and a redshift in or out of them."""
    bins = draw(st.integers(1, 8))
    widths = draw(st.lists(st.floats(0.01, 1.0), min_size=bins, max_size=bins))
    mass = draw(st.lists(st.floats(0.0, 1.0), min_size=bins, max_size=bins).filter(lambda m: sum(m) > 0.01))
    start = draw(st.floats(-0.5, 0.5))
    edges = start + np.concatenate([[0.0], np.cumsum(widths)])
    z = draw(st.floats(start - 1.0, float(edges[-1]) + 1.0))
    return np.array([mass]), edges, np.array([z])


@given(binned())
def test_crps_is_its_integral(case):
    pdf, edges, z = case
    found = probability.crps(pdf, edges, z)
    ends = np.unique(np.concatenate([edges, z]))
    at = np.concatenate([[0.0], np.cumsum(pdf[0])]) / pdf.sum()
    nodes, weights = np.polynomial.legendre.leggauss(3)  # exact for a parabola, which it is between two ends
    expected = 0.0
    for low, high in itertools.pairwise(ends):
        x = (low + high) / 2 + nodes * (high - low) / 2
        expected += (high - low) / 2 * weights @ (np.interp(x, edges, at) - (x >= z[0])) ** 2
    assert found[0] == pytest.approx(expected, abs=1e-12)


@given(binned())
def test_pit_is_the_cdf_at_the_truth(case):
    pdf, edges, z = case
    at = np.concatenate([[0.0], np.cumsum(pdf[0])]) / pdf.sum()
    assert probability.pit(pdf, edges, z)[0] == pytest.approx(np.interp(z[0], edges, at))


def test_crps_of_a_sure_pdf_is_the_distance():
    edges = np.array([0.1, 0.1 + 1e-9])
    found = probability.crps(np.ones((2, 1)), edges, np.array([0.3, 0.0]))
    assert found == pytest.approx([0.2, 0.1], abs=1e-8)


def gaussian_pdfs(n=20_000, width=1.0):
    """PDFs of width 0.05 x `width` for redshifts that scatter by 0.05."""
    rng = np.random.default_rng(3)
    z_spec = rng.uniform(0.5, 1.5, n)
    centre = z_spec + rng.normal(0, 0.05, n)
    edges = np.linspace(0, 2, 401)
    middle = (edges[1:] + edges[:-1]) / 2
    return np.exp(-0.5 * ((middle - centre[:, None]) / (0.05 * width)) ** 2), edges, z_spec


def test_calibrated_pdfs_have_a_flat_pit_and_honest_intervals():
    pdf, edges, z_spec = gaussian_pdfs()
    pit, crps = probability.pit_and_crps(pdf, edges, z_spec)
    assert probability.pit_ks(pit) < 1.63 / np.sqrt(len(pit))  # what chance passes once in a hundred times
    assert np.mean(probability.pit_covered(pit, 0.68)) == pytest.approx(0.68, abs=0.01)
    assert np.mean(probability.pit_covered(pit, 0.95)) == pytest.approx(0.95, abs=0.005)
    assert np.mean(crps) == pytest.approx(0.05 / np.sqrt(np.pi), rel=0.02), "a normal PDF's, by Gneiting & Raftery"


def test_pdfs_that_are_too_narrow_are_found_out():
    pit, crps = probability.pit_and_crps(*gaussian_pdfs(width=0.4))
    assert probability.pit_ks(pit) > 0.1
    assert np.mean(probability.pit_covered(pit, 0.68)) < 0.4
    assert np.mean(crps) > 0.05 / np.sqrt(np.pi)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=50), st.integers(1, 50))
def test_ks_of_a_histogram_is_too_small_by_a_bin_at_most(values, bins):
    direct = probability.pit_ks(values)
    assert (
        direct - 1 / bins - 1e-9 <= probability.histogram_ks(probability.pit_histogram(values, bins)) <= direct + 1e-9
    )


def test_a_pdf_that_is_none_is_left_out():
    pdf = np.array([[0.5, 0.5], [np.nan, 1.0], [0.0, 0.0], [-1.0, 2.0], [np.inf, 1.0]])
    pit, crps = probability.pit_and_crps(pdf, [0.0, 0.1, 0.2], np.full(5, 0.05))
    assert np.isfinite(pit).tolist() == np.isfinite(crps).tolist() == [True, False, False, False, False]
    assert pit[0] == pytest.approx(0.25)


def test_nothing_is_not_a_number():
    assert np.isnan(probability.pit_ks([]))
    assert np.isnan(probability.histogram_ks([0, 0]))
    assert probability.pit_and_crps(np.empty((0, 2)), [0, 1, 2], [])[0].size == 0


def test_a_pdf_of_another_number_of_bins_is_refused():
    with pytest.raises(ValueError, match=r"pdf has the shape \(1, 2\); expected \(n, 1\)"):
        probability.pit(np.ones((1, 2)), [0.0, 1.0], [0.5])


def test_an_interval_covers_its_ends():
    assert probability.covered([0.1, 0.1, 0.1], [0.2, 0.2, 0.2], [0.1, 0.2, 0.3]).tolist() == [True, True, False]


def test_edges_are_read_from_metadata():
    assert probability.parse_edges(None, "m") is None
    assert probability.parse_edges("[0, 0.1, 0.4]", "m").tolist() == [0.0, 0.1, 0.4]


@pytest.mark.parametrize("text", ["x", "{}", "[]", "[1]", "[1, 1]", "[1, 0]", '["a", "b"]', "[0, NaN]", "[[0, 1]]"])
def test_edges_that_are_none_are_refused(text):
    with pytest.raises(ModelError, match=r"model m: its metadata 'pdf_edges' is .*expected a JSON list of two or more"):
        probability.parse_edges(text, "m")
