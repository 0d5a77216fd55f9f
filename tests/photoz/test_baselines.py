"""Baselines learn, see no test row, and are compared with a model on the same rows; the benchmark does all of it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from factories import doubtful_model, doubtful_rows, parsed_model
from photoz.small import ROWS, SEED
from skyfan import models
from skyfan.blob import BufferBlob
from skyfan.comparison import compare_arrays
from skyfan.errors import SurveyError
from skyfan.partitions import open_partition
from skyfan.photoz import baselines, metrics
from skyfan.photoz.dataset import Survey, open_survey, split
from skyfan.photoz.network import NetworkConfig
from skyfan.photoz.simulate import SURVEY
from skyfan.predictor import Predictor

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "photoz.py"


def related(rows, seed):
    """Galaxies whose redshift is a smooth function of r and of colours, and a little noise."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.02, 0.38, rows)
    r = rng.uniform(14, 17.8, rows)
    red = 0.6 + 3 * z + rng.normal(0, 0.03, rows)
    magnitude = np.column_stack([r + red + 1.5 - 2 * z, r + red, r, r - 0.3 - z, r - 0.5 - z**2])
    return Survey(Path("made"), np.arange(rows), z, np.zeros((rows, 0)), magnitude, {})


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_a_relation_is_learnt(name):
    fitted = baselines.fit(name, *baselines.samples(related(1000, 1)))
    other = related(1000, 2)
    found = metrics.scores(fitted.predict(other.magnitude), other.redshift)
    assert found.sigma_nmad < 0.013
    assert abs(found.bias) < 0.002
    assert found.r2 > 0.97
    assert fitted.choices


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_the_same_seed_gives_the_same_redshifts_whatever_the_test_rows_hold(name):
    survey, spoilt = related(300, 1), related(300, 1)
    test = split(spoilt.object_id).test
    assert test.size
    spoilt.magnitude[test], spoilt.redshift[test] = np.nan, 9.0
    state = torch.random.get_rng_state()
    whole, without = (baselines.fit(name, *baselines.samples(each), seed=3) for each in (survey, spoilt))
    assert torch.equal(state, torch.random.get_rng_state())
    assert whole.predict(survey.magnitude).tobytes() == without.predict(survey.magnitude).tobytes()
    assert whole.choices == without.choices


def test_validation_rows_only_choose():
    train, validation = baselines.samples(related(300, 1))
    fitted = baselines.fit("nearest neighbours", train, validation)
    expected = baselines.Features.of(train.magnitude)
    assert np.array_equal(fitted.features.mean, expected.mean)
    assert np.array_equal(fitted.features.std, expected.std)


def test_features_are_r_and_colours_standardised():
    magnitude = related(500, 1).magnitude
    found = baselines.Features.of(magnitude)(magnitude)
    assert found.mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert found.std(axis=0) == pytest.approx(1)
    assert np.corrcoef(found[:, 0], magnitude[:, 2])[0, 1] == pytest.approx(1)
    assert np.corrcoef(found[:, 2], magnitude[:, 1] - magnitude[:, 2])[0, 1] == pytest.approx(1)


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_simulated_galaxies_are_told_apart_from_their_mean(name, survey_file):
    survey = open_survey(survey_file, NetworkConfig())
    train, validation = baselines.samples(survey)
    test = split(survey.object_id).test
    z_spec = survey.redshift[test]
    z_phot = baselines.fit(name, train, validation).predict(survey.magnitude[test])
    assert metrics.mse(z_phot, z_spec) < 0.4 * metrics.mse(np.full(len(test), train.redshift.mean()), z_spec)


def test_fewer_rows_than_neighbours_will_do():
    train, validation = baselines.samples(related(40, 1))
    few = baselines.Sample(train.magnitude[:5], train.redshift[:5])
    fitted = baselines.fit("nearest neighbours", few, validation)
    assert fitted.choices["k"] == 5


def test_unusable_surveys_and_magnitudes_are_refused():
    with pytest.raises(SurveyError, match="use a larger survey"):
        baselines.samples(related(1, 1))
    for part in ("train", "validation"):
        survey = related(400, 1)
        survey.magnitude[getattr(split(survey.object_id), part)[0], 4] = np.nan
        with pytest.raises(SurveyError, match="not finite in row"):
            baselines.samples(survey)
    fitted = baselines.fit("nearest neighbours", *baselines.samples(related(400, 1)))
    with pytest.raises(ValueError, match=r"expected \(n, 5\), in ugriz"):
        fitted.predict(np.zeros((3, 4)))


def two_methods(seed, rows=1000):
    """Redshifts by two methods that find the same galaxies hard, and the truth."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0, 0.4, rows)
    hard = rng.standard_t(4, rows) * 0.04
    better, worse = (z + (1 + z) * (share * hard + rng.normal(0, 0.02, rows)) for share in (0.8, 1.2))
    return better, worse, z


def test_paired_gain_is_its_formula():
    better, worse, z = two_methods(1)
    a, b = metrics.dz(better, z), metrics.dz(worse, z)
    found = metrics.paired_gain(better, worse, z, 50)
    assert found.sigma_nmad_gain == pytest.approx(1 - metrics.sigma_nmad(a) / metrics.sigma_nmad(b))
    assert found.outlier_005_difference == pytest.approx(np.mean(np.abs(a) > 0.05) - np.mean(np.abs(b) > 0.05))
    assert found.outlier_015_difference == pytest.approx(np.mean(np.abs(a) > 0.15) - np.mean(np.abs(b) > 0.15))
    assert found == metrics.paired_gain(better, worse, z, 50)
    assert metrics.paired_gain(better, better, z, 50) == metrics.Gain(0, 0, 0, 0, 0, 0)


def test_paired_error_is_the_scatter_of_independent_samples():
    repeats = [metrics.paired_gain(*two_methods(seed), 0) for seed in range(400)]
    errors = [metrics.paired_gain(*two_methods(seed), 100) for seed in range(400, 420)]
    for name in ("sigma_nmad_gain", "outlier_005_difference", "outlier_015_difference"):
        scatter = np.std([getattr(gain, name) for gain in repeats], ddof=1)
        error = np.mean([getattr(gain, f"{name}_error") for gain in errors])
        assert error == pytest.approx(scatter, rel=0.25), name


def test_pairing_makes_the_error_smaller():
    better, worse, z = two_methods(1)
    paired = metrics.paired_gain(better, worse, z, 300).sigma_nmad_gain_error
    shuffled = np.random.default_rng(1).permutation(len(z))
    unpaired = z + (1 + z) * metrics.dz(worse, z)[shuffled]
    assert paired < 0.8 * metrics.paired_gain(better, unpaired, z, 300).sigma_nmad_gain_error


def test_paired_gain_of_unequal_or_perfect_redshifts():
    z = np.linspace(0, 0.4, 50)
    with pytest.raises(ValueError, match="the same of each"):
        metrics.paired_gain(z, z[:1], z, 10)
    assert np.isnan(metrics.paired_gain(z, z, z, 10).sigma_nmad_gain)


def benchmark(*arguments):
    command = [sys.executable, str(BENCHMARK), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_benchmark_compares_the_shipped_model_with_every_baseline(survey_file, tmp_path):
    (tmp_path / f"{SURVEY}-seed{SEED}-{ROWS}.safetensors").symlink_to(survey_file)
    sizes = ["--train-rows", ROWS, "--train-seed", SEED, "--test-rows", 100, "--test-seed", SEED + 1]
    done = benchmark(*sizes, "--work", tmp_path, "--rounds", 1, "--bootstrap", 20)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["baselines"]) == set(baselines.BASELINES)
    assert set(found["models"]) == set(models.shipped())
    assert set(found["gains"][models.DEFAULT]) == set(baselines.BASELINES)
    assert not found["models"][models.DEFAULT]["same_training_rows"]
    assert found["train"]["learnt"] == len(split(open_survey(survey_file, NetworkConfig()).object_id).train)
    assert f"| metric | {models.DEFAULT} |" in done.stdout
    assert "simulating skyfan" in done.stderr  # the test survey, as the training survey was there
    assert done.stderr.count("simulating") == 1


@pytest.fixture
def module(monkeypatch):
    """Return the benchmark, loaded into this process."""
    monkeypatch.syspath_prepend(BENCHMARK.parent)
    spec = importlib.util.spec_from_file_location("benchmark_photoz", BENCHMARK)
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_photoz", loaded)
    spec.loader.exec_module(loaded)
    return loaded


def test_pdfs_and_intervals_are_compared_where_a_model_has_them():
    z = np.array([0.05, 0.15, 0.25, 0.35])
    outputs = {"z_phot": z.astype(np.float32), "z_spec": z, "pdf": np.full((4, 4), 0.25)}
    edges = np.array([0, 0.1, 0.2, 0.3, 0.4])
    with_pdf = compare_arrays(outputs, edges).columns
    assert with_pdf["pit"] == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert with_pdf["within_68"].tolist() == [0, 1, 1, 0]
    ends = {"z_l68": z - 0.01, "z_u68": z + 0.01, "z_l95": z + 0.01, "z_u95": z + 0.02}
    with_both = compare_arrays(outputs | ends, edges).columns
    assert with_both["within_68"].tolist() == [1, 1, 1, 1]
    assert with_both["within_95"].tolist() == [0, 0, 0, 0]
    assert set(compare_arrays(outputs, None).columns) == {"z_phot", "z_spec"}


def without_redshift():
    return parsed_model("(float[n,5] magnitude) => (float[n,5] z) { z = Abs(magnitude) }")


@pytest.mark.parametrize(("wrong", "lost"), [(doubtful_model(), 2), (without_redshift(), 12)])
def test_benchmark_stops_where_a_model_gives_no_redshift(module, wrong, lost):
    rows = open_partition(BufferBlob("rows.safetensors", safetensors.numpy.save(doubtful_rows(12))))
    with pytest.raises(SystemExit, match=f"no z_phot for {lost} of 12 rows; expected it for all"):
        module.predicted(Predictor(wrong, "m"), rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--test-seed", "1"], "would be training galaxies"),
        (["--model", "absent.onnx"], "absent.onnx"),
        (["--pair", "one/a.onnx", "other/a.onnx"], "under different names"),
        (["--bootstrap", "1"], "expected at least 1 and 2"),
    ],
)
def test_benchmark_refuses_what_cannot_be_compared(arguments, said, module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["photoz.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        module.parse()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
