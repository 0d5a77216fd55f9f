"""Sums of the tasks against direct computation on all rows, and that they add up in any order."""

import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skyfan.photoz import metrics, probability
from skyfan.photoz.histograms import COARSE, FINE, Ordered, pack, unpack
from skyfan.photoz.science import scores
from skyfan.photoz.sums import R_EDGES, Z_EDGES, Group, Sums, add, measure

SMALL = st.floats(-0.06, 0.06)
ANY = st.one_of(SMALL, st.floats(-0.95, 0.95))


@st.composite
def samples(draw, errors=ANY, min_size=1):
    """z_phot and z_spec with |dz| below 1."""
    n = draw(st.integers(min_size, 40))
    z_spec = draw(arrays(np.float64, n, elements=st.floats(0.0, 3.5)))
    return z_spec + draw(arrays(np.float64, n, elements=errors)) * (1 + z_spec), z_spec


def close(one: Sums, other: Sums) -> bool:
    """Whether all counts are equal, and all sums but for rounding."""
    return same(msgspec.structs.asdict(one), msgspec.structs.asdict(other))


def same(one, other) -> bool:
    """Compare what JSON would hold."""
    if isinstance(one, float) or isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(one, Group):
        one, other = msgspec.structs.astuple(one), msgspec.structs.astuple(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@given(samples())
def test_scores_of_sums_are_those_of_the_rows(sample):
    z_phot, z_spec = sample
    found, direct = scores(measure(z_phot, z_spec)), metrics.scores(z_phot, z_spec)
    assert found.rows == direct.count
    assert found.bias_mean == pytest.approx(direct.bias, rel=1e-9, abs=1e-12)
    assert found.mae == pytest.approx(direct.mae, rel=1e-9)
    assert found.mse == pytest.approx(direct.mse, rel=1e-9)
    assert (found.outlier_fraction_005, found.outlier_fraction_015) == (
        direct.outlier_fraction_005,
        direct.outlier_fraction_015,
    )
    if np.isnan(direct.r2):
        assert found.r2 is None
    elif np.std(z_spec) > 1e-6:
        assert found.r2 == pytest.approx(direct.r2, rel=1e-6, abs=1e-9)
    # medians and quantiles come from a histogram: within the bound that is stated beside them
    assert abs(found.bias_median - direct.bias_median) <= found.quantiles_within + 1e-12
    assert abs(found.sigma_68 - direct.sigma_68) <= found.quantiles_within + 1e-12
    assert abs(found.sigma_nmad - direct.sigma_nmad) <= found.sigma_nmad_within + 1e-12


@given(samples(st.floats(-0.02, 0.02)))
def test_the_bounds_of_a_useful_redshift_are_small(sample):
    found = scores(measure(*sample))
    assert found.quantiles_within == pytest.approx(0.0001)
    assert found.sigma_nmad_within == pytest.approx(0.0003, rel=0.02)


@settings(max_examples=50)
@given(st.lists(samples(min_size=0), min_size=2, max_size=4), st.randoms())
def test_parts_add_up_to_the_whole_in_any_order_and_grouping(parts, random):
    rows = [np.concatenate(column) for column in zip(*parts, strict=True)]
    each = [measure(z_phot, z_spec, r=15 + z_spec) for z_phot, z_spec in parts]
    whole = measure(*rows, r=15 + rows[1])
    assert close(add(*each), whole)
    shuffled = random.sample(each, len(each))
    assert add(*shuffled) == add(*each), "not even the last bit differs"
    one_by_one = Sums()
    for item in shuffled:
        one_by_one = add(one_by_one, item)
    assert close(one_by_one, whole)
    assert close(add(each[0], add(*each[1:])), add(add(*each[:-1]), each[-1]))


def test_nothing_added_changes_nothing():
    sums = measure([0.1, 0.2], [0.1, 0.25])
    assert add(Sums(), sums) == add(sums, Sums()) == sums
    assert add() == Sums()


def test_rows_without_a_prediction_or_a_redshift_are_counted_and_left_out():
    z_phot = [0.1, np.nan, 0.1, 0.1, np.inf, 0.1, 0.2]
    z_spec = [0.1, 0.1, np.nan, -1.0, np.nan, -9999.0, 0.2]
    found = measure(z_phot, z_spec)
    assert (found.rows, found.rows_without_prediction, found.rows_without_redshift) == (2, 2, 3)
    assert found.residual_abs_sum == 0.0


def test_what_is_not_defined_is_none():
    found = scores(Sums())
    assert found.rows == 0
    figures = {name: value for name, value in msgspec.structs.asdict(found).items() if not name.startswith("rows")}
    assert all(value is None or value == [] for value in figures.values()), figures
    one = scores(measure([0.1], [0.1]))
    assert (one.r2, one.bias_mean_error) == (None, None)
    assert one.sigma_nmad == pytest.approx(0.0, abs=1e-15)
    same_redshift = [measure([0.1, 0.2], [0.3, 0.3]), measure([0.1] * 7, [0.3] * 7)]
    assert scores(add(*same_redshift)).r2 is None


def pdfs(n=5000, bins=64):
    rng = np.random.default_rng(4)
    z_spec = rng.uniform(0.02, 0.35, n)
    centre = z_spec + rng.normal(0, 0.015, n)
    edges = np.linspace(0, 0.4, bins + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    pdf = np.exp(-0.5 * ((middle - centre[:, None]) / 0.015) ** 2)
    return centre, z_spec, (pdf / pdf.sum(axis=1, keepdims=True)).astype(np.float32), edges


def test_pdfs_are_scored_as_directly():
    z_phot, z_spec, pdf, edges = pdfs()
    pieces = [slice(0, 100), slice(100, 5000)]
    found = scores(add(*(measure(z_phot[i], z_spec[i], pdf=pdf[i], pdf_edges=edges) for i in pieces)))
    pit, crps = probability.pit_and_crps(pdf, edges, z_spec)
    assert found.crps == pytest.approx(crps.mean())
    assert probability.pit_ks(pit) - 0.005 <= found.pit_ks <= probability.pit_ks(pit)
    assert found.coverage_68 == np.mean(probability.pit_covered(pit, 0.68))
    assert found.coverage_95 == np.mean(probability.pit_covered(pit, 0.95))


def test_the_models_own_intervals_go_before_the_pdfs():
    z_phot, z_spec, pdf, edges = pdfs(100)
    ends = {68: (np.full(100, -1.0), np.full(100, 9.0)), 95: (z_spec + 1, z_spec + 2)}
    found = scores(measure(z_phot, z_spec, pdf=pdf, pdf_edges=edges, intervals=ends))
    assert (found.coverage_68, found.coverage_95) == (1.0, 0.0)
    assert found.crps is not None
    alone = scores(measure(z_phot, z_spec, intervals=ends))
    assert (alone.coverage_68, alone.crps, alone.pit_ks) == (1.0, None, None)


def test_rows_whose_interval_is_not_known_are_left_out():
    z = np.full(6, 0.2)
    ends = {68: (z - 0.1, z + 0.1), 95: (z - 0.2, z - 0.1)}
    ends[68][0][0], ends[68][1][1], ends[95][0][2], ends[95][1][3] = np.nan, np.inf, -np.inf, np.nan
    found = measure(z, z, intervals=ends)
    assert (found.rows, found.interval_rows, found.within_68, found.within_95) == (6, 2, 2, 0)
    nothing = measure(z, z, intervals={level: (np.full(6, np.nan), z) for level in ends})
    assert (nothing.interval_rows, scores(nothing).coverage_68) == (0, None)


def test_bins_have_the_rows_between_their_ends():
    z_spec = np.array([-0.01, 0.0, 0.05, 0.07, 5.0])
    r = np.array([11.0, 17.0, 17.4, np.nan, 30.0])
    found = scores(measure(z_spec + 0.01, z_spec, r=r))
    assert [(item.low, item.high, item.rows) for item in found.by_z] == [
        (None, 0.0, 1),
        (0.0, 0.05, 1),
        (0.05, 0.1, 2),
        (3.0, None, 1),
    ]
    assert [(item.low, item.high, item.rows) for item in found.by_r] == [
        (None, 12.0, 1),
        (17.0, 17.5, 2),
        (25.0, None, 1),
    ]


@given(samples(st.floats(-0.02, 0.02), min_size=5))
def test_bins_have_the_metrics_of_their_rows(sample):
    z_phot, z_spec = sample
    number = metrics.in_bins(z_spec, Z_EDGES)
    dz = metrics.dz(z_phot, z_spec)
    found = scores(measure(z_phot, z_spec)).by_z
    for item, rows in zip(found, (dz[number == i] for i in np.unique(number)), strict=True):
        assert item.rows == len(rows)
        assert item.bias_mean == pytest.approx(rows.mean(), abs=1e-12)
        assert item.outlier_fraction_005 == 0.0
        assert abs(item.sigma_nmad - metrics.sigma_nmad(rows)) <= 0.003
        if len(rows) > 1:
            assert item.bias_mean_error == pytest.approx(rows.std(ddof=1) / np.sqrt(len(rows)), rel=1e-3, abs=1e-9)


@given(arrays(np.int64, FINE.bins, elements=st.integers(0, 3), fill=st.just(0)))
def test_packed_counts_are_unpacked_again(counts):
    total = np.zeros_like(counts)
    unpack(pack(counts), total)
    assert (total == counts).all()


@pytest.mark.parametrize("histogram", [FINE, COARSE])
def test_bins_rise_and_are_symmetric(histogram):
    assert (np.diff(histogram.edges) > 0).all()
    assert (histogram.edges == -histogram.edges[::-1]).all()
    assert (histogram.edges[0], histogram.edges[-1]) == (-1.0, 1.0)


def test_values_far_out_are_counted_at_the_end():
    counts = FINE.count([-50.0, 0.0, 1.0, 70.0])
    assert (counts[0], counts[-1], counts.sum()) == (1, 2, 4)
    assert Ordered(FINE, counts).rows == 4


@pytest.mark.parametrize(("rows", "limit"), [(1278, 5600), (20_000, 9000), (1_000_000, 16_000)])
def test_sums_are_small_as_json(rows, limit):
    rng = np.random.default_rng(5)
    z_spec = rng.gamma(3.0, 0.035, rows)
    z_phot = z_spec + rng.standard_t(3, rows) * 0.011 * (1 + z_spec)
    r = 17.8 - rng.exponential(0.8, rows)
    edges = np.linspace(0, 0.4, 65)
    pdf = None
    if rows < 10_000:
        pdf = np.exp(-0.5 * (((edges[1:] + edges[:-1]) / 2 - z_phot[:, None]) / 0.012) ** 2)
    sums = measure(z_phot, z_spec, r=r, pdf=pdf, pdf_edges=edges if pdf is not None else None)
    data = msgspec.json.encode(sums)
    assert msgspec.json.decode(data, type=Sums) == sums
    assert len(data) <= limit
    direct, found = metrics.scores(z_phot, z_spec), scores(sums)
    for name in ("sigma_nmad", "bias_median", "sigma_68"):
        assert abs(getattr(found, name) - getattr(direct, name)) < 5e-5


def test_edges_rise():
    assert all(low < high for edges in (Z_EDGES, R_EDGES) for low, high in itertools.pairwise(edges))
