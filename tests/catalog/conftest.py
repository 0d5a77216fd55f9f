"""A finished run whose model says what its outputs are, with one bad row."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skyfan
from factories import make_rows, tiny_model, write_partition

OUTPUTS = {
    "z_phot": {"unit": "", "description": "photometric redshift"},
    "pdf": {"unit": "mag", "description": "the magnitudes, twice", "ucd": "phot.mag"},
}


@pytest.fixture
def run(root: Path, asked: dict[str, Any]) -> skyfan.Run:
    rows = make_rows(8, seed=2)
    rows["image"][3] = np.nan
    write_partition(root / "sky" / "25MB" / "2.safetensors", arrays=rows)
    tiny_model(root / "sky" / "models" / "tiny.onnx", metadata={"outputs": json.dumps(OUTPUTS)})
    return skyfan.run(asked, store=root, workers=1)


@pytest.fixture
def incomplete(root: Path, run: skyfan.Run) -> skyfan.Run:
    """That run without its last task."""
    (root / "sky" / "results" / "one" / "reports" / "00003.json").unlink()
    return run
