"""Whole runs of users' scripts, on every engine that this machine can hold."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from moto.server import ThreadedMotoServer

import skyfan
from s3 import request as ask
from skyfan.errors import RunFailedError, ScriptsRefusedError, StoreError
from skyfan.keys import RunKeys
from skyfan.storage import Bucket, Store
from skyfan.task import Report
from skyfan.watching import Planned, RunEvent, TaskRetried

CONTRACT = Path(__file__).parents[1] / "data" / "contract"
SCRIPT = "/tmp/code/run.py"
RunScript = Callable[..., skyfan.Run]


@pytest.fixture(params=["local", "dask"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def payload(asked: dict[str, Any]) -> dict[str, Any]:
    del asked["model"]
    return asked | {"S3_object_name": "code", "script": SCRIPT, "max_attempts": 1}


@pytest.fixture
def bucket(store: Store) -> Bucket:
    return store.bucket("sky")


@pytest.fixture
def place(engine: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Two workers of an engine."""
    where = {"workers": 2} if engine == "local" else {"scheduler": request.getfixturevalue("scheduler")}
    return {"engine": engine, **where}


@pytest.fixture
def run(place: dict[str, Any], bucket: Bucket, payload: dict[str, Any], root: Path) -> RunScript:
    """Run a script of that text, on two workers."""

    def start(code: str, **options: Any) -> skyfan.Run:
        bucket.put("code/run.py", code.encode())
        given = {"store": root, "allow_scripts": True} | place | options
        return skyfan.run(payload, **given)

    return start


def reports(run: skyfan.Run) -> list[Report]:
    return list(run.reports())


def test_every_task_runs_the_script_in_a_tmp_of_its_own(run: RunScript, bucket: Bucket) -> None:
    done = run(
        """
import os, time
open("/tmp/mine", "x").write(os.environ["RANK"])
time.sleep(0.3)
print(open("/tmp/mine").read(), sorted(os.listdir("/tmp")))
"""
    )
    summary = done.summary
    assert summary is not None
    assert (summary.complete, summary.tasks_ok, summary.model) == (True, 4, None)
    assert summary.script is not None
    assert summary.script.said == SCRIPT
    keys = RunKeys("results/one")
    for rank in range(4):
        log = (bucket.get(keys.log(rank)) or b"").decode()
        assert log.startswith(f"{rank} ")
        assert "code" in log
        assert "skyfan-task" not in log
    assert not Path("/tmp/mine").exists()
    assert all(report.ending and report.ending.exit_code == 0 for report in reports(done))
    proof = done.verify()
    assert (proof.complete, proof.tasks_proven) == (True, 4)


def test_without_leave_no_script_runs_and_nothing_is_claimed(run: RunScript, bucket: Bucket) -> None:
    with pytest.raises(ScriptsRefusedError, match="--allow-scripts"):
        run("print('hello')", allow_scripts=False)
    assert bucket.list("results") == []


def test_a_script_that_fails_follows_the_rules_of_tolerance(
    run: RunScript, payload: dict[str, Any], bucket: Bucket
) -> None:
    code = "import os, sys\nif os.environ['RANK'] == '1': sys.exit('no such band')\n"
    with pytest.raises(RunFailedError, match="no such band"):
        run(code)
    done = run(code, tolerated_failure_count=1)
    summary = done.summary
    assert summary is not None
    assert (summary.complete, summary.tasks_ok, summary.tasks_failed) == (False, 3, 1)
    (failure,) = summary.failures
    assert failure.rank == 1
    assert "exit code 1: no such band; what it printed is in sky/results/one/logs/00001.log" in failure.error.message
    before = {report.rank: report.started_at for report in reports(done)}
    mended = run("", tolerated_failure_count=1, overwrite=True)
    assert mended.summary is not None
    assert mended.summary.complete
    assert before.keys() == {0, 2, 3}


def test_a_script_is_tried_again_and_what_is_done_stays_done(run: RunScript, bucket: Bucket, root: Path) -> None:
    code = f"""
import os, pathlib, sys
seen = pathlib.Path({str(root)!r}, "sky", "seen" + os.environ["RANK"])
if os.environ["RANK"] == "2" and not seen.exists():
    seen.write_text("once")
    sys.exit(1)
"""
    events: list[RunEvent] = []
    done = run(code, max_attempts=2, watch=events.append)
    assert [event.rank for event in events if isinstance(event, TaskRetried)] == [2]
    assert [report.attempt for report in reports(done)] == [1, 1, 2, 1]
    bucket.delete([RunKeys("results/one").report(3)])
    events.clear()
    again = run(code, max_attempts=2, watch=events.append)
    assert next(event.tasks_done for event in events if isinstance(event, Planned)) == 3
    assert again.summary is not None
    assert again.summary.drive.tasks == 1


def test_results_are_merged_as_they_are(run: RunScript, bucket: Bucket) -> None:
    done = run(
        """
import json, os, pathlib
rank = os.environ["RANK"]
folder = pathlib.Path(os.environ["SKYFAN_STORE"], os.environ["S3_BUCKET"], os.environ["RESULT_PATH"])
content = [{"rank": 10}, {"rank": 11}] if rank == "1" else {"rank": int(rank), "score": float("nan")}
if rank != "3":
    (folder / (rank + ".json")).write_text(json.dumps(content, indent=2))
"""
    )
    assert done.verify().complete
    records = json.loads(bucket.get("results/one/combined_data.json") or b"")
    assert [record["rank"] for record in records] == [0, 10, 11, 2, 3]
    assert records[0] == {"rank": 0, "score": None}  # NaN is no JSON
    assert records[4]["total_cpu_time (seconds)"] > 0  # that of the task without a result is ours
    left = bucket.get("results/one/2.json") or b""
    bucket.put("results/one/2.json", left.replace(b'"rank": 2', b'"rank": 9'))
    proof = done.verify()
    assert not proof.complete
    assert "results/one/2.json" in proof.problems[0]


def test_overwrite_removes_what_scripts_left_and_nothing_else(run: RunScript, bucket: Bucket) -> None:
    code = """
import os, pathlib
folder = pathlib.Path(os.environ["SKYFAN_STORE"], os.environ["S3_BUCKET"], os.environ["RESULT_PATH"])
(folder / (os.environ["RANK"] + ".json")).write_text("{}")
(folder / "mine.txt").write_text("{}")
"""
    run(code)
    run("print('no result')", overwrite=True, file_limit=2)
    left = {entry.key.removeprefix("results/one/") for entry in bucket.list("results/one")}
    assert "mine.txt" in left
    assert not {"0.json", "1.json", "2.json", "3.json", "logs/00003.log"} & left
    assert "logs/00001.log" in left


def test_the_shared_payload_of_the_original_system_is_written_on_request_only(run: RunScript, bucket: Bucket) -> None:
    run("")
    assert bucket.get("payload.json") is None
    done = run("", overwrite=True, compat_payload_json=True, world_size=3)
    shared = json.loads(bucket.get("payload.json") or b"")
    assert shared["data_map"] == {
        "0": "25MB/1.safetensors",
        "1": "25MB/2.safetensors",
        "2": ["25MB/3.safetensors", "25MB/4.safetensors"],
    }
    assert shared["script"] == SCRIPT
    assert done.summary is not None
    assert any("two runs at once" in warning for warning in done.summary.warnings)


def test_a_changed_manifest_runs_no_script_without_leave(
    place: dict[str, Any], root: Path, bucket: Bucket, asked: dict[str, Any], payload: dict[str, Any]
) -> None:
    """Someone who may write to the bucket must not be able to make a run of a model one of a script."""
    model = asked | {"model": "models/tiny.onnx", "tolerated_failure_count": 0}
    bucket.put("code/run.py", b"open('/dev/shm/skyfan-must-not-be', 'w')")
    skyfan.run(model, store=root, workers=1)
    scripted = skyfan.plan(payload, store=root, result_path="results/two").tasks
    changed = json.loads(bucket.get("results/one/manifest.json") or b"")
    changed[1] |= {name: msgspec.to_builtins(getattr(scripted[1], name)) for name in ("script", "setting")}
    changed[1]["model"] = None
    bucket.put("results/one/manifest.json", json.dumps(changed).encode())
    bucket.delete([RunKeys("results/one").report(1)])
    for leave in (False, True):  # of the script of another payload it is no leave
        with pytest.raises(StoreError, match="its task 1 is not what the payload asks for"):
            skyfan.run(model, store=root, allow_scripts=leave, **place)
    assert not Path("/dev/shm/skyfan-must-not-be").exists()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    address = f"http://{host}:{port}"
    for name, value in {"AWS_ACCESS_KEY_ID": "an-id", "AWS_SECRET_ACCESS_KEY": "a-secret"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_REGION", raising=False)
    ask(address, "POST", "/moto-api/reset")  # its content is the process's, not the server's
    ask(address, "PUT", "/cosmicai-data")
    yield address
    moto.stop()


def test_a_script_of_the_original_system_runs_unchanged_on_two_workers(
    server: str, engine: str, tmp_path: Path
) -> None:
    """The seed's payload as it is, but for its number of files; torch, boto3 and paths below /tmp in the script."""
    store = Store(server)
    bucket = store.bucket("cosmicai-data")
    shutil.copytree(CONTRACT, tmp_path / "code")
    for path in (tmp_path / "code").rglob("*.py"):
        bucket.put(path.relative_to(tmp_path / "code").as_posix(), path.read_bytes())
    bucket.put("Anomaly Detection/Inference/weights.pt", _saved(_network().state_dict()))
    rng = np.random.default_rng(5)
    sizes = [20, 21, 22, 23]
    for number, rows in enumerate(sizes, start=1):
        tensors = (rng.normal(size=(rows, 5, 32, 32)), rng.uniform(14, 20, (rows, 5)), rng.uniform(0, 0.4, rows))
        data = torch.utils.data.TensorDataset(*(torch.tensor(tensor, dtype=torch.float32) for tensor in tensors))
        bucket.put(f"25MB/{number}.pt", _saved(data))
    path = Path(__file__).parents[2] / "examples" / "payloads" / "25MB-8GB.json"

    done = skyfan.run(path, store=server, engine=engine, workers=2, allow_scripts=True, file_limit=4)
    summary = done.summary
    assert summary is not None
    assert summary.complete, summary.problems
    assert (summary.drive.workers, summary.drive.engine) == (2, engine)
    records = json.loads(bucket.get(f"{done.payload.result_path}/combined_data.json") or b"")
    assert [record["rank"] for record in records] == [0, 1, 2, 3]
    assert [record["rows"] for record in records] == sizes
    assert all("mine.txt" in record["others"] for record in records)
    assert not Path("/tmp/Anomaly Detection").exists()
    assert not Path("/tmp/mine.txt").exists()
    assert done.verify().complete


def _network() -> torch.nn.Module:
    """Return the network that the script has, made from the script's own file."""
    names: dict[str, Any] = {"__name__": "network"}
    source = CONTRACT / "Anomaly Detection" / "blocks" / "network.py"
    exec(compile(source.read_text(), str(source), "exec"), names)  # noqa: S102  it is ours
    torch.manual_seed(1)
    made: torch.nn.Module = names["Network"]()
    return made


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
