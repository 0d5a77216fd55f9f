"""The survey file: the same bytes from the same seed, whole or not there, and physically sane."""

import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from photoz.small import ROWS, SEED
from skyfan.errors import InputError, SurveyError
from skyfan.photoz import simulate as module
from skyfan.photoz.render import sky_noise
from skyfan.photoz.simulate import CHUNK_ROWS, METADATA, object_ids, simulate


@pytest.fixture
def ready(monkeypatch, grids):
    """Tables that are built already, where the building itself is not what is tested."""
    monkeypatch.setattr(module, "_build_grids", lambda _: grids)


def test_arrays_have_their_shapes_and_types(survey):
    expected = {
        "object_id": ((ROWS,), np.int64),
        "ra": ((ROWS,), np.float64),
        "dec": ((ROWS,), np.float64),
        "redshift": ((ROWS,), np.float32),
        "image": ((ROWS, 5, 32, 32), np.float32),
        "magnitude": ((ROWS, 5), np.float32),
    }
    assert {name: (a.shape, a.dtype.type) for name, a in survey.items()} == expected
    assert all(np.isfinite(a).all() for a in survey.values())


def test_header_says_what_the_numbers_are(survey_file):
    with safe_open(survey_file, "numpy") as file:
        assert file.metadata() == dict(METADATA)
    assert METADATA["bands"] == "ugriz"
    assert METADATA["survey"] == "skyfan-sim-2"


def test_same_bytes_with_any_number_of_workers(tmp_path, survey_file):
    two = simulate(tmp_path / "two.safetensors", ROWS, SEED, workers=2)
    assert two.read_bytes() == survey_file.read_bytes()


def test_shorter_survey_is_the_beginning_of_a_longer_one(ready, tmp_path, survey):
    rows = CHUNK_ROWS + 7
    shorter = load_file(simulate(tmp_path / "s.safetensors", rows, SEED, workers=1))
    for name, values in shorter.items():
        np.testing.assert_array_equal(values, survey[name][:rows])


def test_another_seed_gives_other_galaxies_and_other_ids(ready, tmp_path, survey):
    other = load_file(simulate(tmp_path / "s.safetensors", 5, SEED + 1, workers=1))
    assert not np.isin(other["redshift"], survey["redshift"]).any()
    assert not np.isin(other["object_id"], survey["object_id"]).any()


def test_ids_are_unique_and_know_nothing_of_chunks(survey):
    assert len(np.unique(survey["object_id"])) == ROWS
    np.testing.assert_array_equal(survey["object_id"], object_ids(SEED, 0, ROWS))
    assert object_ids(module.MAX_SEED, 2**32 - 1, 1)[0] == 2**63 - 1


def test_progress_counts_rows(ready, tmp_path):
    seen = []
    simulate(tmp_path / "s.safetensors", 501, 3, workers=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(500, 501), (501, 501)]


def test_interrupted_simulation_leaves_nothing(ready, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "s.safetensors", 501, 3, workers=1, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_killed_worker_is_an_error_not_a_hang(ready, tmp_path, monkeypatch):
    def broken(*args):
        raise module.BrokenProcessPool

    monkeypatch.setattr(module.ProcessPoolExecutor, "submit", broken)
    with pytest.raises(SurveyError, match="fewer workers"):
        simulate(tmp_path / "s.safetensors", 10, 3, workers=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows is 0, expected 1"),
        ({"rows": 2**32}, "expected 1 to"),
        ({"seed": -1}, "seed is -1, expected 0"),
        ({"seed": 2**31}, "expected 0 to"),
        ({"workers": 0}, "workers is 0, expected at least 1"),
        ({"out": "."}, "is a folder"),
        ({"out": "absent/s.safetensors"}, "is not a folder"),
    ],
)
def test_unusable_arguments_are_refused(tmp_path, change, message):
    arguments = {"rows": 3, "seed": 1, "workers": 1, **change}
    out = tmp_path / arguments.pop("out", "s.safetensors")
    with pytest.raises(InputError, match=message):
        simulate(out, **arguments)


def test_full_disk_is_a_clear_error(ready, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.safetensors, "create", full)
    with pytest.raises(SurveyError, match="No space left on device; expected a folder with room for 0 MiB"):
        simulate(tmp_path / "s.safetensors", 3, 1, workers=1)


def test_missing_extra_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "galsim", None)
    monkeypatch.delitem(sys.modules, "skyfan.photoz.physics", raising=False)
    monkeypatch.delattr("skyfan.photoz.physics", raising=False)
    with pytest.raises(SurveyError, match=r"pip install '\.\[simulate\]'"):
        simulate(tmp_path / "s.safetensors", 3, 1, workers=1)


def test_redshifts_are_those_of_the_sdss_main_sample(survey):
    z = survey["redshift"]
    assert z.min() > 0.01
    assert z.max() < 0.4
    assert np.median(z) == pytest.approx(0.095, abs=0.012)
    assert np.percentile(z, 16) == pytest.approx(0.05, abs=0.01)
    assert (z > 0.25).mean() < 0.03


def test_magnitudes_and_colours_are_those_of_galaxies(survey):
    magnitude = survey["magnitude"]
    r = magnitude[:, 2]
    assert r.max() < 17.8 + 0.2  # the cut is on the true magnitude
    assert r.min() > 13.3
    g_r = magnitude[:, 1] - r
    assert 0.75 < np.median(g_r) < 1.0
    assert np.mean((g_r > 0.2) & (g_r < 1.7)) > 0.99
    # Red galaxies redden with redshift as the 4000 A break moves through g.
    red = g_r > np.quantile(g_r, 0.7)
    assert np.corrcoef(g_r, survey["redshift"])[0, 1] > 0.5
    assert survey["redshift"][red].mean() > survey["redshift"][~red].mean()


def test_positions_fill_the_footprint_evenly(survey):
    ra, dec = survey["ra"], survey["dec"]
    assert (ra >= 120).all()
    assert (ra <= 240).all()
    assert (dec >= 0).all()
    assert (dec <= 60).all()
    assert np.mean(np.sin(np.radians(dec))) == pytest.approx(np.sin(np.radians(60)) / 2, abs=0.03)


def test_pixels_hold_the_light_that_the_magnitudes_say(survey):
    light = survey["image"][:, 2].sum(axis=(1, 2)) / 10 ** (-0.4 * (survey["magnitude"][:, 2] - 22.5))
    assert 0.75 < np.median(light) < 1.0  # the rest lies outside of the cutout
    assert np.quantile(light, 0.9) < 1.1  # where there is no neighbour


def test_sky_noise_and_signal_are_those_of_sdss(survey, parameters):
    corner = survey["image"][:, :, :3, :3]
    measured = 1.4826 * np.median(np.abs(corner - np.median(corner, axis=(0, 2, 3), keepdims=True)), axis=(0, 2, 3))
    # Correcting for the Galaxy's dust makes it larger: by E(B-V) = 0.022 in the median.
    corrected = sky_noise(parameters) * 10 ** (0.4 * 0.022 * np.array(parameters.reddening_coefficient))
    np.testing.assert_allclose(measured, corrected, rtol=0.08)
    brightest = survey["image"][:, 2].max(axis=(1, 2)) / sky_noise(parameters)[2]
    assert np.median(brightest) > 10
