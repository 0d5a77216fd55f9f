"""The code folder of someone else, its checkpoints, and their export."""

import subprocess
import sys
from pathlib import Path

import pytest

import skyfan
from photoz.foreign.networks import MAKE, NETWORKS, SHAPES, forget_code
from skyfan.errors import ModelError
from skyfan.photoz.foreign import exporting
from skyfan.photoz.foreign.exchange import read_result
from skyfan.photoz.foreign.translation import translate as translate_here


@pytest.fixture(scope="session")
def code(tmp_path_factory) -> Path:
    """The code folder of someone else."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "ownmae").mkdir()
    (folder / "ownmae" / "__init__.py").touch()
    (folder / "ownmae" / "net.py").write_text(NETWORKS)
    return folder


@pytest.fixture(scope="session")
def saved(code, tmp_path_factory) -> Path:
    """A folder with a checkpoint of each network, saved by another process."""
    folder = tmp_path_factory.mktemp("saved")
    subprocess.run([sys.executable, "-B", "-c", MAKE, str(folder)], cwd=code, check=True)
    return folder


@pytest.fixture
def here(monkeypatch):
    """Translate in this process: as quick as tests of many networks should be."""

    def translate(folder, checkpoint):
        path = list(sys.path)
        try:
            translate_here(folder)
        finally:
            sys.path[:] = path
            forget_code()
        found = read_result(folder)
        if isinstance(found, ModelError):
            raise ModelError(f"{checkpoint}: {found}")
        return found

    monkeypatch.setattr(exporting, "translate_elsewhere", translate)


@pytest.fixture
def export(here, saved, code, tmp_path):
    """Export one of the networks."""

    def call(network, **options):
        options = {"code": code, "inputs": SHAPES} | options
        return skyfan.export(saved / f"{network}.pt", tmp_path / f"{network}.onnx", trust_pickle=True, **options)

    return call
