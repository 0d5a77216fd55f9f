"""What many tests need: a folder store with small partitions and a tiny model."""

from pathlib import Path
from typing import Any

import pytest

from factories import tiny_model, write_partition
from skyfan.storage import Store


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
