"""One small simulated survey for all tests of this folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from photoz.small import RECIPE, ROWS, SEED, TINY
from skyfan.photoz import physics
from skyfan.photoz.parameters import Parameters
from skyfan.photoz.simulate import simulate
from skyfan.photoz.train import train


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Networks this small gain nothing from threads, and lose much where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def parameters():
    return Parameters()


@pytest.fixture(scope="session")
def grids(parameters):
    return physics.build(parameters)


@pytest.fixture(scope="session")
def survey_file(tmp_path_factory) -> Path:
    return simulate(tmp_path_factory.mktemp("survey") / "survey.safetensors", ROWS, SEED, workers=1)


@pytest.fixture(scope="session")
def survey(survey_file) -> dict[str, np.ndarray]:
    return load_file(survey_file)


@pytest.fixture(scope="session")
def trained(survey_file, tmp_path_factory) -> Path:
    """Return the checkpoint of a tiny network after three epochs."""
    out = tmp_path_factory.mktemp("trained") / "tiny.safetensors"
    return train(survey_file, out, config=TINY, epochs=3, seed=5, recipe=RECIPE)
