"""Whole runs against a real S3 server, held against those of a folder."""

import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import skyfan
from running import SKYFAN
from skyfan.claim import claim, read_claim
from skyfan.errors import ClaimedError, StoreAbsentError, SurveyError
from skyfan.keys import RunKeys
from skyfan.payload import parse_payload
from skyfan.storage import Bucket, Store


@pytest.fixture
def served(root: Path, s3: str) -> Bucket:
    """The bucket `sky` of the folder store, on the server."""
    bucket = Store(s3).bucket("sky")
    for path in (root / "sky").rglob("*"):
        if path.is_file():
            bucket.put(path.relative_to(root / "sky").as_posix(), path.read_bytes())
    return bucket


def parts(bucket: Bucket) -> dict[str, bytes | None]:
    return {entry.key: bucket.get(entry.key) for entry in bucket.list("results/one/predictions")}


@pytest.mark.parametrize("world_size", [None, 2])
def test_a_run_on_s3_gives_the_parts_of_a_folder_byte_for_byte(
    root: Path, served: Bucket, asked: dict[str, Any], tmp_path: Path, world_size: int | None
) -> None:
    path = tmp_path / "payload.json"
    path.write_text(json.dumps(asked | {"world_size": world_size}))
    for store in ("s3://", str(root)):
        command = [*SKYFAN, "run", str(path), "--store", store, "--workers", "2"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert len(parts(served)) == (world_size or 4)
    assert parts(served) == parts(Store(str(root)).bucket("sky"))
    assert b'"until":0.0' in (served.get("results/one/lease/00001.json") or b"")


def test_a_run_on_s3_is_proven_resumed_and_read(served: Bucket, asked: dict[str, Any], s3: str) -> None:
    run = skyfan.run(asked, store=s3, workers=1)
    assert run.verify().complete
    served.delete(["results/one/reports/00002.json"])
    again = skyfan.run(asked, store=s3, workers=1)
    assert again.summary is not None
    assert (again.summary.complete, again.summary.drive.tasks) == (True, 1)
    assert pa.table(again.predictions()).num_rows == 7 + 8 + 9 + 10


def test_a_survey_on_s3_is_split_into_a_folder(root: Path, served: Bucket, tmp_path: Path) -> None:
    index = skyfan.partition("s3://sky/25MB/4.safetensors", "sky/parts", rows=3, store=tmp_path / "other")
    assert [ref.rows for ref in index.partitions] == [3, 3, 3, 1]


def test_a_survey_on_s3_in_the_folder_that_is_overwritten_is_not_lost(served: Bucket, s3: str) -> None:
    with pytest.raises(SurveyError, match="did not write"):
        skyfan.partition("sky/25MB/4.safetensors", "sky/25MB", rows=3, store=s3, overwrite=True)
    assert len(served.list("25MB")) == 4


def test_a_result_bucket_that_the_server_does_not_have_is_said_before_anything(
    served: Bucket, asked: dict[str, Any], s3: str
) -> None:
    with pytest.raises(StoreAbsentError, match=r"s3://none.*there is no such bucket; create it"):
        skyfan.run(asked | {"bucket": "none", "model": "photoz-sim-2"}, store=s3)


def test_of_many_payloads_that_claim_a_path_at_once_one_has_it(bucket: Bucket, asked: dict[str, Any]) -> None:
    keys = RunKeys("results/one")
    start = threading.Barrier(8)

    def try_to_claim(batch_size: int) -> int | None:
        payload, _ = parse_payload(asked | {"batch_size": batch_size})
        start.wait()
        try:
            claim(bucket, keys, payload)
        except ClaimedError:
            return None
        return batch_size

    with ThreadPoolExecutor(8) as pool:
        won = [batch_size for batch_size in pool.map(try_to_claim, range(1, 9)) if batch_size]
    holder = read_claim(bucket, keys)
    assert holder is not None
    assert won == [holder.batch_size]
