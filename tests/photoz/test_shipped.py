"""The model that ships: small, known by name, and good on galaxies that it was not trained on."""

import itertools
import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from skyfan import models
from skyfan.errors import ModelError
from skyfan.photoz import metrics, probability
from skyfan.photoz.posterior import OUTPUTS


@pytest.fixture(scope="module")
def session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = models.path(models.DEFAULT)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def test_default_is_small():
    assert models.DEFAULT in models.shipped()
    assert models.path(models.DEFAULT).stat().st_size <= 20_000_000


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match="there is photoz-sim-2"):
        models.path("photoz-sim-99")


def test_finding_a_model_loads_no_heavy_library():
    code = "import sys, skyfan.models as m; m.path(m.DEFAULT); print(set(sys.modules) & {'torch', 'onnx', 'galsim'})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


@pytest.fixture(scope="module")
def outputs(session, survey):
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {"image": survey["image"], "magnitude": survey["magnitude"]})
    return dict(zip(names, found, strict=True))


def test_shipped_model_gives_all_that_a_catalogue_wants(outputs, survey):
    assert list(outputs) == list(OUTPUTS)
    assert outputs["pdf"].shape == (len(survey["redshift"]), 64)
    np.testing.assert_allclose(outputs["pdf"].sum(axis=1), 1.0, atol=1e-5)
    ends = [outputs[name] for name in ("z_l95", "z_l68", "z_u68", "z_u95")]
    assert all((low <= high).all() for low, high in itertools.pairwise(ends))


def test_shipped_model_is_good_on_another_survey(outputs, survey):
    found = metrics.scores(outputs["z_phot"], survey["redshift"])
    assert found.r2 >= 0.85
    assert found.sigma_nmad <= 0.016
    assert abs(found.bias) <= 0.003


def test_shipped_models_own_uncertainty_is_of_the_size_of_its_errors(session, outputs, survey):
    z = survey["redshift"]
    edges = probability.parse_edges(session.get_modelmeta().custom_metadata_map["pdf_edges"], models.DEFAULT)
    assert probability.pit_ks(probability.pit(outputs["pdf"], edges, z)) <= 1.63 / np.sqrt(len(z)) + 0.02
    assert np.mean(probability.covered(outputs["z_l68"], outputs["z_u68"], z)) == pytest.approx(0.68, abs=0.06)
    outliers = np.mean(np.abs(metrics.dz(outputs["z_phot"], z)) > 0.05)
    assert np.mean(1.0 - outputs["odds"]) == pytest.approx(outliers, abs=0.008)


def test_scores_of_familiar_galaxies_are_what_they_say(outputs):
    score = outputs["anomaly_score"]
    assert np.mean(score > 1.0) == pytest.approx(0.1, abs=0.04)
    assert np.mean(score > 2.0) == pytest.approx(0.01, abs=0.015)


def test_shipped_model_gives_the_same_bytes_again(session, survey):
    inputs = {"image": survey["image"][:100], "magnitude": survey["magnitude"][:100]}
    first, again = (session.run(None, inputs) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))


def test_shipped_model_was_not_trained_on_the_tests_survey(session):
    found = session.get_modelmeta().custom_metadata_map
    assert found["name"] == models.DEFAULT
    assert found["seed"] == "1"
    assert "skyfan-sim-2" in found["trained_on"]
    figures = json.loads(found["metrics"])
    assert figures["count"] >= 8000
    assert figures["sigma_nmad"] <= 0.0130
    assert abs(figures["bias"]) <= 0.001
    assert figures["pit_ks"] <= 0.02


def test_int8_ships_only_since_it_changes_next_to_nothing(session):
    found = session.get_modelmeta().custom_metadata_map
    sigma_nmad = json.loads(found["metrics"])["sigma_nmad"]
    change = json.loads(found["int8_change"])
    assert json.loads(found["recipe"])["weights"] == "int8"
    assert abs(change["sigma_nmad"]) < 0.02 * sigma_nmad
    assert abs(change["bias"]) < 0.02 * sigma_nmad
