"""Calibration on galaxies of which the truth is known: it mends what is wrong and leaves what is right."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from photoz.small import TINY
from skyfan.photoz import calibration as module
from skyfan.photoz import checkpoint as checkpoints
from skyfan.photoz import probability
from skyfan.photoz.calibration import (
    CDF_KNOTS,
    bin_edges,
    calibrate,
    fit_cdf,
    fit_distance,
    fit_score,
    fit_temperature,
)
from skyfan.photoz.dataset import Split, open_survey, split
from skyfan.photoz.network import NetworkConfig
from skyfan.photoz.posterior import Calibration, summarise
from skyfan.photoz.scoring import Evaluated

CONFIG = NetworkConfig.small()
EDGES = bin_edges(CONFIG)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2


def galaxies(rows, seed, sharpness=1.0, shift=0.0):
    """Return logits of normal PDFs and true redshifts drawn from them, were the first not sharpened and shifted."""
    rng = np.random.default_rng(seed)
    centre, width = rng.uniform(0.1, 0.3, rows), rng.uniform(0.01, 0.02, rows)
    z = centre + width * rng.normal(size=rows)
    seen = (CENTRES - centre[:, None] - shift * width[:, None]) / width[:, None]
    return -0.5 * sharpness * seen**2, np.clip(z, 0.001, 0.399)


def true_bin(z):
    return np.clip(np.searchsorted(EDGES, z, side="right") - 1, 0, 63)


def fitted(logits, z):
    """Fit temperature and map, as `calibrate` does."""
    temperature = fit_temperature(logits, true_bin(z))
    pdf = torch.softmax(torch.from_numpy(logits / temperature), dim=1).numpy()
    tensors = Calibration.none(1).tensors() | {
        "temperature": torch.tensor(temperature),
        "cdf": torch.from_numpy(fit_cdf(probability.pit(pdf, EDGES, z))),
    }
    return Calibration.from_tensors(tensors, 1)


def scored(calibration, logits, z):
    pdf = calibration.pdf(torch.from_numpy(logits).float())
    found = summarise(pdf, torch.zeros(len(z)), CONFIG.z_max)
    outputs = {name: tensor.numpy() for name, tensor in found._asdict().items()}
    return Evaluated.of(outputs, z, CONFIG).pdf_scores


@pytest.mark.parametrize(
    ("sharpness", "shift", "before"), [(2.5, 0.0, 0.08), (0.5, 0.0, 0.05), (1.0, 0.5, 0.1), (2.0, 0.4, 0.1)]
)
def test_dishonest_pdfs_become_honest_on_galaxies_not_seen(sharpness, shift, before):
    calibration = fitted(*galaxies(4500, 1, sharpness, shift))
    fresh = galaxies(20_000, 2, sharpness, shift)
    raw, mended = scored(Calibration.none(1), *fresh), scored(calibration, *fresh)
    assert raw.pit_ks > before
    assert mended.pit_ks <= 0.02
    assert mended.crps < raw.crps
    assert mended.coverage_68 == pytest.approx(0.68, abs=0.02)
    assert mended.coverage_95 == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("seed", range(8))
def test_honest_pdfs_are_left_nearly_as_they_are(seed):
    logits, z = galaxies(4500, 10 + seed)
    calibration = fitted(logits, z)
    assert calibration.temperature.item() == pytest.approx(1.0, abs=0.06)
    fresh = galaxies(20_000, 100 + seed)
    assert scored(calibration, *fresh).crps <= scored(Calibration.none(1), *fresh).crps * 1.001


def test_shrinking_helps_where_the_full_map_fits_noise():
    """A held-out log score: the mean log slope of the map at fresh PIT values."""
    rng = np.random.default_rng(5)
    gains = {"shrunk": [], "full": []}
    for _ in range(40):
        pit, fresh = rng.beta(1.03, 1.0, 1000), rng.beta(1.03, 1.0, 20_000)
        shares = np.histogram(pit, CDF_KNOTS)[0] / len(pit)
        full = np.stack([CDF_KNOTS, np.concatenate([[0.0], np.cumsum(shares)])])
        for name, knots in (("shrunk", fit_cdf(pit)), ("full", full)):
            slope = np.diff(knots[1]) / np.diff(knots[0])
            piece = np.searchsorted(knots[0], fresh, side="right") - 1
            gains[name].append(np.mean(np.log(np.maximum(slope[np.clip(piece, 0, len(slope) - 1)], 1e-3))))
    assert np.mean(gains["shrunk"]) > np.mean(gains["full"]) + 0.002
    assert np.mean(gains["shrunk"]) > -0.001


def test_temperature_is_the_best_there_is():
    logits, z = galaxies(2000, 3, sharpness=1.7)
    best = fit_temperature(logits, true_bin(z))

    def loss(temperature):
        log_pdf = torch.log_softmax(torch.from_numpy(logits / temperature), dim=1).numpy()
        return -log_pdf[np.arange(len(z)), true_bin(z)].mean()

    assert loss(best) < min(loss(best * 1.01), loss(best / 1.01))


@settings(max_examples=50)
@given(arrays(np.float64, st.integers(1, 300), elements=st.floats(0.0, 1.0)))
def test_map_of_any_pit_rises_from_0_to_1(pit):
    cdf = fit_cdf(pit)
    assert cdf[:, 0].tolist() == [0, 0]
    assert cdf[:, -1].tolist() == [1, 1]
    assert (np.diff(cdf) > 0).all()


def features(rows, seed, width=12):
    """Return features on a bent sheet, in one direction without any spread."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, width)) @ np.random.default_rng(0).normal(size=(width, width))
    x[:, 0] = x[:, 1] ** 2 / 3
    x[:, -1] = x[:, :-1].sum(axis=1)
    return 3.0 + x


def scorer(learnt, held_back):
    mean, whitening = fit_distance(learnt)
    distance = np.sqrt(np.mean(((held_back - mean) @ whitening) ** 2, axis=1))
    found = Calibration(
        torch.tensor(1.0),
        Calibration.none(1).cdf,
        *(torch.from_numpy(array) for array in (mean, whitening, fit_score(distance))),
    )
    return lambda seen: found.anomaly_score(torch.from_numpy(seen).float()).numpy()


def test_score_says_how_rare_it_is():
    score = scorer(features(5000, 1), features(4500, 2))
    fresh = score(features(100_000, 3))
    for s, within in ((0.5, 0.05), (1.0, 0.1), (2.0, 0.4)):
        assert np.mean(fresh > s) == pytest.approx(10.0**-s, rel=within)
    assert 1e-4 < np.mean(fresh > 3.0) < 2.5e-3, "continued beyond the 20 of 4,500"
    assert fresh.min() >= 0


def test_score_of_what_was_never_seen_is_high():
    score = scorer(features(5000, 1), features(4500, 2))
    unlike = features(1000, 4)
    unlike[:, 3] += 100.0
    assert score(unlike).min() > 3.0
    broken = features(1000, 4)
    broken[:, -1] += 30.0  # away from the sheet
    assert np.median(score(broken)) > 3.0


def test_rounding_hardly_moves_the_score():
    score, seen = scorer(features(5000, 1), features(4500, 2)), features(2000, 5)
    noise = 0.005 * seen.std(axis=0) * np.random.default_rng(6).normal(size=seen.shape)
    moved = np.abs(score(seen + noise) - score(seen))
    assert np.sqrt(np.mean(moved**2)) < 0.1


def test_images_that_are_all_alike_have_a_score():
    knots = fit_score(np.full(100, 0.5))
    assert (np.diff(knots) > 0).all()
    mean, whitening = fit_distance(np.ones((100, 4)))
    assert np.isfinite(mean).all()
    assert np.isfinite(whitening).all()


def test_trained_network_is_calibrated_on_held_back_rows(trained, survey_file, monkeypatch):
    loaded = checkpoints.load(trained)
    data = open_survey(survey_file, TINY)
    parts = split(data.object_id)
    looked, look = [], module._look
    monkeypatch.setattr(module, "_look", lambda *arguments: looked.append(arguments[2]) or look(*arguments))
    found = calibrate(loaded.averaged_network(), TINY, data, parts)
    assert found is not None
    assert looked[0].tolist() == parts.validation.tolist()
    assert set(looked[1]) <= set(parts.train)
    assert len(looked[1]) == len(parts.train)
    assert len(looked) == 2, "test rows are never looked at"
    assert Calibration.from_tensors(found.tensors(), TINY.width)
    again = calibrate(loaded.averaged_network(), TINY, data, parts)
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in found.tensors().items())


def test_too_few_rows_measure_nothing(trained, survey_file):
    data = open_survey(survey_file, TINY)
    parts = split(data.object_id)
    network = checkpoints.load(trained).averaged_network()
    for few in (parts.validation[:20], parts.validation[:0]):
        assert calibrate(network, TINY, data, Split(parts.train, few, parts.test)) is None


def test_features_are_learnt_from_few_enough_rows(trained, survey_file, monkeypatch):
    data = open_survey(survey_file, TINY)
    parts = split(data.object_id)
    looked, look = [], module._look
    monkeypatch.setattr(module, "_look", lambda *arguments: looked.append(arguments[2]) or look(*arguments))
    monkeypatch.setattr(module, "FEATURE_ROWS", 1000)  # of 1,500-odd
    calibrate(checkpoints.load(trained).averaged_network(), TINY, data, parts)
    assert looked[1].tolist() == parts.train[::2].tolist()


def test_what_was_counted_is_told_from_what_was_continued():
    found = fit_score(np.random.default_rng(1).chisquare(12, 4500))
    calibration = Calibration.from_tensors(Calibration.none(1).tensors() | {"anomaly": torch.from_numpy(found)}, 1)
    assert calibration.counted_to == pytest.approx(np.log10(4500 / 20))
    assert calibration.anomaly[1, -1].item() == pytest.approx(np.log10(4500 / 20) + 1)
