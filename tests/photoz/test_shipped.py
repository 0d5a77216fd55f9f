"""The model that ships: small, known by name, and good on galaxies that it was not trained on."""

import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from skyfan import models
from skyfan.errors import ModelError
from skyfan.photoz import metrics


@pytest.fixture(scope="module")
def session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = models.path(models.DEFAULT)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def test_default_is_small():
    assert models.DEFAULT in models.shipped()
    assert models.path(models.DEFAULT).stat().st_size <= 3_000_000


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match="there is photoz-sim-1"):
        models.path("photoz-sim-99")


def test_finding_a_model_loads_no_heavy_library():
    code = "import sys, skyfan.models as m; m.path(m.DEFAULT); print(set(sys.modules) & {'torch', 'onnx', 'galsim'})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_shipped_model_is_good_on_another_survey(session, survey):
    z_phot, z_phot_std = session.run(None, {"image": survey["image"], "magnitude": survey["magnitude"]})
    found = metrics.scores(z_phot, survey["redshift"])
    assert found.r2 >= 0.75
    assert found.sigma_nmad <= 0.022
    assert abs(found.bias) <= 0.003
    # Its own uncertainty is of the size of its errors.
    spread = np.std((z_phot - survey["redshift"]) / z_phot_std)
    assert 0.6 < spread < 1.4


def test_shipped_model_gives_the_same_bytes_again(session, survey):
    inputs = {"image": survey["image"][:100], "magnitude": survey["magnitude"][:100]}
    first, again = (session.run(None, inputs) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))


def test_shipped_model_was_not_trained_on_the_tests_survey(session):
    found = session.get_modelmeta().custom_metadata_map
    assert found["name"] == models.DEFAULT
    assert found["seed"] == "1"
    assert "skyfan-sim-1" in found["trained_on"]
    assert json.loads(found["metrics"])["r2"] >= 0.80
    assert json.loads(found["metrics"])["sigma_nmad"] <= 0.02
