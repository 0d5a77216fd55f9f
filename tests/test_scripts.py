"""One script task: what the script finds, and what becomes of what it leaves."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skyfan.claim import claim
from skyfan.combined import Combined
from skyfan.errors import ScriptError, ScriptsRefusedError
from skyfan.keys import RunKeys
from skyfan.payload import parse_payload
from skyfan.planning import preview
from skyfan.script_code import resolve_script
from skyfan.scripts import LAST_LINES, MAX_RESULT_DEPTH, WITHHELD, environment_of
from skyfan.stages import infer
from skyfan.storage import Bucket, Store
from skyfan.task import Report, Task, decode_report

KEYS = RunKeys("results/one")
SAY = "import json, os, sys; print(json.dumps(dict(os.environ, cwd=os.getcwd(), argv=sys.argv, path0=sys.path[0])))"


@pytest.fixture
def bucket(store: Store) -> Bucket:
    return store.bucket("sky")


def plan(store: Store, asked: dict[str, Any], code: str, **changes: Any) -> list[Task]:
    """Plan a run of a script of that text."""
    store.bucket("sky").put("Anomaly Detection/Inference/inference.py", code.encode())
    script = {"S3_object_name": "Anomaly Detection", "script": "/tmp/Anomaly Detection/Inference/inference.py"}
    given = {key: value for key, value in (asked | script | changes).items() if key != "model"}
    payload = parse_payload(given)[0]
    claim(store.bucket("sky"), KEYS, payload)
    return preview(payload, store).tasks


def do(store: Store, asked: dict[str, Any], code: str, rank: int = 0, **changes: Any) -> Report:
    return infer(plan(store, asked, code, **changes)[rank], store, allow_scripts=True)


def fail(store: Store, asked: dict[str, Any], code: str, **changes: Any) -> Report:
    """Run a script that fails; return the report of that."""
    with pytest.raises(ScriptError):
        do(store, asked, code, **changes)
    report = decode_report(store.bucket("sky").get(KEYS.failure(0)))
    assert report is not None
    assert report.error is not None
    return report


def printed(bucket: Bucket, rank: int = 0) -> str:
    return (bucket.get(KEYS.log(rank)) or b"").decode()


def test_a_script_finds_what_the_original_system_told_it(
    store: Store, bucket: Bucket, asked: dict[str, Any], root: Path
) -> None:
    do(store, asked, SAY, rank=2, batch_size=256)
    said = json.loads(printed(bucket, 2))
    expected = {
        "RANK": "2",
        "WORLD_SIZE": "4",
        "DATA_BUCKET": "sky",
        "DATA_PREFIX": "25MB",
        "DATA_PATH": "25MB/3.safetensors",
        "RESULT_PATH": "results/one",
        "BATCH_SIZE": "256",
        "S3_BUCKET": "sky",
        "S3_OBJECT_NAME": "Anomaly Detection",
        "S3_OBJECT_TYPE": "folder",
        "SCRIPT": "/tmp/Anomaly Detection/Inference/inference.py",
        "SKYFAN_STORE": str(root),
        "OMP_NUM_THREADS": "1",
        "cwd": "/tmp/Anomaly Detection",
        "argv": ["/tmp/Anomaly Detection/Inference/inference.py"],
        "path0": "/tmp/Anomaly Detection/Inference",
    }
    assert {key: said.get(key) for key in expected} == expected


def test_several_partitions_are_a_list(store: Store, bucket: Bucket, asked: dict[str, Any]) -> None:
    do(store, asked, SAY, world_size=2)
    assert json.loads(json.loads(printed(bucket))["DATA_PATH"]) == ["25MB/1.safetensors", "25MB/2.safetensors"]


def test_only_listed_variables_are_handed_on(
    store: Store, bucket: Bucket, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "x", "AWS_PROFILE": "p", "LC_ALL": "C", "HOME": "/root"}
    for name, value in (kept | {"GITHUB_TOKEN": "t", "MY_PASSWORD": "p", f"{WITHHELD[0]}RUNTIME_API": "a"}).items():
        monkeypatch.setenv(name, value)
    do(store, asked, SAY)
    said = json.loads(printed(bucket))
    assert {name: said.get(name) for name in kept} == kept
    assert not said.keys() & {"GITHUB_TOKEN", "MY_PASSWORD", "AWS_LAMBDA_RUNTIME_API", "PYTEST_CURRENT_TEST"}


def test_absolute_paths_of_the_code_are_the_tasks_own(store: Store, bucket: Bucket, asked: dict[str, Any]) -> None:
    bucket.put("Anomaly Detection/blocks/network.py", b"WIDTH = 192")
    code = """
import sys
sys.path.append("/tmp/Anomaly Detection")
from blocks.network import WIDTH
open("/tmp/left.txt", "a").write("x")
open("/tmp/Anomaly Detection/left.txt", "a").write("x")
print(WIDTH, open("/tmp/left.txt").read(), open("/tmp/Anomaly Detection/left.txt").read())
"""
    for rank in (0, 1):
        do(store, asked, code, rank)
        assert printed(bucket, rank).split() == ["192", "x", "x"]
    assert not Path("/tmp/left.txt").exists()
    assert not Path("/tmp/Anomaly Detection").exists()


def test_a_script_talks_to_the_server_that_its_run_is_on(
    store: Store, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://elsewhere:9000")
    task = plan(store, asked, SAY)[0]
    assert task.script is not None
    assert task.setting is not None
    server = Store("http://127.0.0.1:9000")
    found = environment_of(task, task.script, task.setting, server, os.environ)
    assert found["AWS_ENDPOINT_URL"] == found["AWS_ENDPOINT_URL_S3"] == found["SKYFAN_STORE"] == server.url
    amazon = environment_of(task, task.script, task.setting, Store("s3://"), os.environ)
    assert amazon["AWS_ENDPOINT_URL"] == "http://elsewhere:9000"
    folder = environment_of(task, task.script, task.setting, Store("file:///a%20b"), os.environ)
    assert folder["SKYFAN_STORE"] == "/a b"


def test_a_result_that_is_no_file_fails_the_task(store: Store, asked: dict[str, Any]) -> None:
    code = """
import os, pathlib
folder = pathlib.Path(os.environ["SKYFAN_STORE"], os.environ["S3_BUCKET"], os.environ["RESULT_PATH"])
(folder / "0.json" / "x").mkdir(parents=True)
"""
    report = fail(store, asked, code)
    assert report.error is not None
    assert "is no file" in report.error.message


RESULT = """
import json, os, pathlib
folder = pathlib.Path(os.environ["SKYFAN_STORE"], os.environ["S3_BUCKET"], os.environ["RESULT_PATH"])
folder.mkdir(parents=True, exist_ok=True)
(folder / (os.environ["RANK"] + ".json")).write_text({text})
"""


def result(text: str) -> str:
    return RESULT.replace("{text}", text)


def test_a_result_is_taken_with_its_hash(store: Store, bucket: Bucket, asked: dict[str, Any]) -> None:
    report = do(store, asked, result("json.dumps({'rank': 0, 'score': 0.5})"))
    assert report.ending is not None
    assert report.ending.result is not None
    assert (report.status, report.ending.exit_code, report.ending.why) == ("ok", 0, None)
    assert report.ending.result.key == "results/one/0.json"
    assert report.ending.wall_s > 0
    assert report.peak_memory_mb > 1
    assert report.seconds.script > 0


@pytest.mark.parametrize(
    ("text", "said"),
    [("'{'", "is not JSON"), ("'3'", "but no object"), ("'[1]'", "but no object"), ("''", "is not JSON")],
)
def test_a_result_that_is_none_fails_the_task(store: Store, asked: dict[str, Any], text: str, said: str) -> None:
    report = fail(store, asked, result(text))
    assert report.error is not None
    assert said in report.error.message


@pytest.mark.parametrize("depth", [MAX_RESULT_DEPTH + 1, 991, 100_001])
def test_a_result_that_is_nested_too_deep_fails_the_task(store: Store, asked: dict[str, Any], depth: int) -> None:
    pairs = (depth - 1) // 2
    report = fail(store, asked, result(f"""'{{"a":' + '[{{"a":' * {pairs} + '1' + '}}]' * {pairs} + '}}'"""))
    assert report.error is not None
    assert re.search(r"its result results/one/0\.json is (nested deeper than 100|not JSON)", report.error.message)


def test_a_result_that_is_nested_as_deep_as_allowed_is_in_combined_data(
    store: Store, bucket: Bucket, asked: dict[str, Any]
) -> None:
    inner = MAX_RESULT_DEPTH - 1
    text = f"""'{{"a":' + '[' * {inner} + ']' * {inner} + '}}'"""
    tasks = plan(store, asked, result(text))
    combined = Combined("results/one")
    combined.add(infer(tasks[0], store, allow_scripts=True))
    assert combined.take_results(bucket) == []
    (record,) = json.loads(combined.encode())
    assert list(record) == ["a"]


def test_an_earlier_attempts_result_does_not_pass_for_this_ones(
    store: Store, bucket: Bucket, asked: dict[str, Any]
) -> None:
    bucket.put("results/one/0.json", b'{"old": true}')
    report = do(store, asked, "print('no result')")
    assert report.ending is not None
    assert report.ending.result is None
    assert bucket.get("results/one/0.json") is None


def test_a_script_that_fails_leaves_its_last_lines(store: Store, bucket: Bucket, asked: dict[str, Any]) -> None:
    report = fail(store, asked, "for n in range(50): print('line', n)\nraise ValueError('no such band')")
    assert report.error is not None
    assert report.ending is not None
    assert report.error.kind == "ScriptError"
    assert report.error.may_pass
    assert "exit code 1: ValueError: no such band; what it printed is in sky/results/one/logs/00000.log" in (
        report.error.message
    )
    assert len(report.ending.last_lines) == LAST_LINES
    assert report.ending.last_lines[-1] == "ValueError: no such band"
    assert "line 0\n" in printed(bucket)


def test_binary_output_is_kept_as_it_is_and_shown_harmless(store: Store, bucket: Bucket, asked: dict[str, Any]) -> None:
    code = "import os, sys; os.write(1, bytes(range(256)) + b'\\n\\x1b[31mred\\n'); sys.exit(3)"
    report = fail(store, asked, code)
    assert report.error is not None
    assert report.ending is not None
    assert bytes(range(256)) in (bucket.get(KEYS.log(0)) or b"")
    assert report.ending.exit_code == 3
    assert all(line.isprintable() for line in report.ending.last_lines)
    assert report.error.message.isprintable()


@pytest.mark.parametrize(
    ("code", "changes", "said"),
    [
        ("import time; time.sleep(60)", {"task_timeout_s": 1}, "longer than 1 s"),
        ("x = bytearray(400 << 20); import time; time.sleep(60)", {"script_memory_mb": 200}, "script_memory_mb 200"),
        (
            "import os, time\nfor n in range(60):\n    if not os.fork(): time.sleep(60)\ntime.sleep(60)",
            {"script_processes": 20},
            "script_processes 20",
        ),
        (
            "f = open('/tmp/big', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()",
            {"script_disk_mb": 20},
            "",
        ),
    ],
    ids=["time", "memory", "processes", "disk"],
)
def test_a_script_that_takes_too_much_is_ended(
    store: Store, asked: dict[str, Any], code: str, changes: dict[str, Any], said: str
) -> None:
    report = fail(store, asked, code, **changes)
    assert report.error is not None
    assert said in report.error.message


def test_a_script_that_nobody_has_allowed_does_not_run(store: Store, bucket: Bucket, asked: dict[str, Any]) -> None:
    task = plan(store, asked, SAY)[0]
    with pytest.raises(ScriptsRefusedError, match="--allow-scripts"):
        infer(task, store)
    assert bucket.list(KEYS.logs) == []


def test_a_report_of_other_code_is_no_answer(store: Store, asked: dict[str, Any]) -> None:
    report = do(store, asked, SAY)
    tasks = plan(store, asked, SAY)
    assert report.answers(tasks[0])
    assert not report.answers(plan(store, asked, SAY + "\n")[0])
    assert not msgspec.structs.replace(report, ending=None).answers(tasks[0])
    assert not report.answers(tasks[1])


def test_a_task_that_is_done_is_not_done_again(store: Store, bucket: Bucket, asked: dict[str, Any]) -> None:
    first = do(store, asked, result("json.dumps({'n': 1})"))
    assert do(store, asked, result("json.dumps({'n': 1})")) == first
    bucket.delete(["results/one/0.json"])
    assert do(store, asked, result("json.dumps({'n': 1})")).started_at > first.started_at


def test_the_time_that_its_worker_has_left_is_a_scripts_limit(store: Store, asked: dict[str, Any]) -> None:
    task = plan(store, asked, "import time; time.sleep(60)")[0]
    with pytest.raises(ScriptError, match="longer than 1 s"):
        infer(task, store, allow_scripts=True, time_left_s=1.0)


def test_a_script_runs_with_the_python_of_its_worker(store: Store, bucket: Bucket, asked: dict[str, Any]) -> None:
    do(store, asked, "import sys, numpy, skyfan; print(sys.executable, skyfan.__version__)")
    assert printed(bucket).split()[0] == sys.executable


def test_a_plan_hashes_the_code_only_once_for_all_tasks(store: Store, asked: dict[str, Any]) -> None:
    tasks = plan(store, asked, SAY)
    assert len({task.script for task in tasks}) == 1
    assert tasks[0].script == resolve_script(
        parse_payload(
            {key: value for key, value in asked.items() if key != "model"}
            | {"S3_object_name": "Anomaly Detection", "script": tasks[0].program.name}
        )[0],
        store.bucket("sky"),
    )
