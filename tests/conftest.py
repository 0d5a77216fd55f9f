"""What many tests need: a folder store with small partitions and a tiny model."""

import shutil
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import skyfan
from factories import tiny_model, write_partition
from skyfan.storage import Store

# how long an example takes is no test: other programs use this machine too
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own store and credentials out of the tests."""
    for name in ("SKYFAN_STORE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store's folder: bucket `sky` with partitions 25MB/1..4 (7, 8, 9 and 10 rows) and the model models/tiny.onnx."""
    bucket = tmp_path / "store" / "sky"
    for number in range(1, 5):
        write_partition(bucket / "25MB" / f"{number}.safetensors", rows=6 + number, seed=number)
    tiny_model(bucket / "models" / "tiny.onnx")
    return bucket.parent


@pytest.fixture
def store(root: Path) -> Store:
    return Store(str(root))


@pytest.fixture
def asked() -> dict[str, Any]:
    """A payload for that store, as JSON has it."""
    return {
        "bucket": "sky",
        "data_bucket": "sky",
        "data_prefix": "25MB",
        "result_path": "results/one",
        "model": "models/tiny.onnx",
        "batch_size": 4,
    }


@pytest.fixture(scope="session")
def _results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished") / "results"


@pytest.fixture
def finished(root: Path, asked: dict[str, Any], _results: Path) -> skyfan.Run:
    """That payload's run, finished in that store; it is really run once a session."""
    if _results.exists():
        shutil.copytree(_results, root / "sky" / "results")
    else:
        skyfan.run(asked, store=root, workers=1)
        shutil.copytree(root / "sky" / "results", _results)
    return skyfan.open_run(asked, store=root)
