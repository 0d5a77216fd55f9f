"""combined_data.json: that scripts written for the original system read our runs, and what its keys hold."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import skyfan
from skyfan.combined import Combined
from skyfan.partitions import PartitionRef
from skyfan.storage import Store
from skyfan.task import PartRef, Report, ResultRef, ScriptEnd, Seconds

PAGE = (Path(__file__).parents[1] / "docs" / "combined-data.md").read_text()
ORIGINAL = [
    "total_cpu_time (seconds)",
    "total_cpu_memory (MB)",
    "execution_time (seconds/batch)",
    "num_batches",
    "batch_size",
    "device",
    "throughput_bps",
    "sample_persec",
    "result_path",
    "data_path",
]
NEWER = [
    "total_process_memory (MB)",
    "s3_num_requests",
    "s3_total_time",
    "s3_avg_time",
    "s3_min_time",
    "s3_max_time",
]

SCRIPT = """
import json, sys
from statistics import mean

with open(sys.argv[1]) as f:
    data = json.load(f)

groups = {}
for d in data:
    groups.setdefault((d["batch_size"], d["device"]), []).append(d)

columns = ["total_cpu_time (seconds)", "total_cpu_memory (MB)", "total_process_memory (MB)",
           "execution_time (seconds/batch)", "num_batches", "throughput_bps", "sample_persec",
           "s3_num_requests", "s3_total_time", "s3_avg_time", "s3_min_time", "s3_max_time"]
result = {}
for (batch_size, device), rows in groups.items():
    result[f"{batch_size} {device}"] = {c: mean(r[c] for r in rows) for c in columns}
    result[f"{batch_size} {device}"]["world_size"] = len(rows)
    result[f"{batch_size} {device}"]["throughput_Gbps"] = sum(r["throughput_bps"] for r in rows) / 1e9
    ranks = sorted(int(r["data_path"].split("/")[-1].split(".")[0]) for r in rows)
    result[f"{batch_size} {device}"]["files"] = ranks
print(json.dumps(result))
"""
"""As analysis scripts of the original system go: load, group, mean; no key is asked for twice."""


def report(*paths: str, **changes: Any) -> Report:
    """The report of a task done, that read partitions of 1,000 bytes and 10 rows each."""
    rows = 10 * len(paths)
    keys: dict[str, Any] = {
        "rank": 3,
        "status": "ok",
        "attempt": 1,
        "partitions": tuple(PartitionRef(path, 1000, 10, "hash") for path in paths),
        "rows_in": rows,
        "rows_out": rows,
        "part": PartRef("part", 1, rows, "hash"),
        "batch_size": 4,
        "batches": 5,
        "seconds": Seconds(total=2.0, open=0.25, predict=1.5),
        "peak_memory_mb": 140.5,
    }
    return Report(**(keys | changes))


def records(*reports: Report) -> list[dict[str, Any]]:
    combined = Combined("results/one")
    for each in reports:
        combined.add(each)
    found: list[dict[str, Any]] = json.loads(combined.encode())
    return found


@pytest.fixture
def path(finished: skyfan.Run, root: Path) -> Path:
    """The file of a run that was really run: four tasks of one partition each."""
    return root / "sky" / "results" / "one" / "combined_data.json"


def test_every_key_of_the_original_is_there(path: Path) -> None:
    assert all(set(ORIGINAL + NEWER) <= set(item) for item in json.loads(path.read_text()))


def test_a_script_written_for_the_original_reads_a_run(path: Path, finished: skyfan.Run) -> None:
    done = subprocess.run([sys.executable, "-I", "-c", SCRIPT, str(path)], capture_output=True, text=True, check=True)
    (found,) = json.loads(done.stdout).values()
    reports = list(finished.reports())
    assert found["world_size"] == len(reports) == 4
    assert found["files"] == [1, 2, 3, 4]
    assert found["total_cpu_time (seconds)"] == pytest.approx(sum(each.seconds.total for each in reports) / 4, abs=1e-5)
    assert found["total_cpu_memory (MB)"] == pytest.approx(sum(each.peak_memory_mb for each in reports) / 4)
    assert found["throughput_Gbps"] > 0
    assert 0 < found["s3_total_time"] < found["total_cpu_time (seconds)"]


def test_what_the_keys_hold() -> None:
    (item,) = records(report("25MB/7.pt"))
    assert item == {
        "rank": 3,
        "rows": 10,
        "bytes": 1000,
        "total_cpu_time (seconds)": 2.0,
        "total_cpu_memory (MB)": 140.5,
        "total_process_memory (MB)": 140.5,
        "execution_time (seconds/batch)": 0.3,
        "num_batches": 5,
        "batch_size": 4,
        "device": "cpu",
        "throughput_bps": 4000.0,
        "sample_persec": 5.0,
        "s3_num_requests": 1,
        "s3_total_time": 0.25,
        "s3_avg_time": 0.25,
        "s3_min_time": 0.25,
        "s3_max_time": 0.25,
        "result_path": "results/one",
        "data_path": "25MB/7.pt",
    }


def test_the_shortest_and_longest_of_several_requests_are_not_known() -> None:
    (item,) = records(report("25MB/7.pt", "25MB/8.pt"))
    assert (item["s3_num_requests"], item["s3_total_time"], item["s3_avg_time"]) == (2, 0.25, 0.125)
    assert (item["s3_min_time"], item["s3_max_time"]) == (None, None)
    assert item["data_path"] == ["25MB/7.pt", "25MB/8.pt"]


def test_a_task_without_a_batch_or_time_divides_by_nothing() -> None:
    (item,) = records(report("25MB/7.pt", batches=0, seconds=Seconds()))
    assert item["execution_time (seconds/batch)"] == 0
    assert item["s3_avg_time"] == 0
    assert (item["throughput_bps"], item["sample_persec"]) == (None, None)


@pytest.mark.parametrize(
    "data",
    [b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"{", b"\xff"],
    ids=["too deep", "cut", "no text"],
)
def test_a_result_that_cannot_be_read_is_a_warning_and_no_other_record_is_lost(tmp_path: Path, data: bytes) -> None:
    bucket = Store(f"memory://{tmp_path}").bucket("sky")
    combined = Combined("results/one")
    for number, content in enumerate([data, b'{"score": 0.5}']):
        bucket.put(f"results/one/{number}.json", content)
        left = ResultRef(f"results/one/{number}.json", len(content), hashlib.sha256(content).hexdigest())
        end = ScriptEnd(exit_code=0, why=None, wall_s=1.0, peak_memory_mb=1.0, log="", last_lines=[], result=left)
        combined.add(report("25MB/7.pt", rank=number, ending=end))
    (warning,) = combined.take_results(bucket)
    assert re.match(r"results/one/0\.json: cannot be read as JSON \(.+\); combined_data\.json has our own", warning)
    own, other = json.loads(combined.encode())
    assert (own["rank"], other) == (0, {"score": 0.5})


def test_every_key_is_explained() -> None:
    (item,) = records(report("25MB/7.pt"))
    explained = set(re.findall(r"`([^`]+)`", "".join(line for line in PAGE.splitlines() if line.startswith("|"))))
    assert set(item) <= explained
