"""A run on this machine is stopped from another process, one on another machine is not."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from factories import tiny_model, write_partition
from running import SKYFAN
from skyfan import api
from skyfan.errors import InputError
from skyfan.keys import RunKeys
from skyfan.storage import Store


@pytest.fixture
def keys(asked: dict[str, Any]) -> RunKeys:
    return RunKeys(asked["result_path"])


@pytest.fixture
def run_id(asked: dict[str, Any]) -> str:
    return f"sky/{asked['result_path']}"


def test_a_local_run_is_stopped_by_the_stop_command(tmp_path: Path) -> None:
    bucket = tmp_path / "store" / "sky"
    for number in range(1, 13):
        write_partition(bucket / "data" / f"{number}.safetensors", rows=4000, seed=number)
    tiny_model(bucket / "tiny.onnx")
    job = tmp_path / "payload.json"
    asked = {"bucket": "sky", "data_bucket": "sky", "data_prefix": "data", "result_path": "out", "model": "tiny.onnx"}
    job.write_text(json.dumps(asked | {"batch_size": 1}))
    place = ["--store", str(tmp_path / "store")]
    process = subprocess.Popen(
        [*SKYFAN, "run", str(job), *place, "--workers", "1", "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509  as a shell's background jobs
    )
    try:
        until = time.monotonic() + 60
        while not list((bucket / "out" / "reports").glob("*.json")):
            assert time.monotonic() < until
            time.sleep(0.02)
        done = subprocess.run(
            [*SKYFAN, "stop", str(job), *place], capture_output=True, text=True, check=False, timeout=90
        )
        assert done.returncode == 0, done.stderr
        assert f"process {process.pid} on" in done.stdout
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "run the same payload again to go on" in err
        again = subprocess.run([*SKYFAN, "stop", "sky/out", *place], capture_output=True, text=True, check=False)
        assert (again.returncode, "nobody drives it" in again.stdout) == (0, True)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_a_run_that_another_machine_drives_is_not_touched(
    root: Path, asked: dict[str, Any], store: Store, keys: RunKeys, run_id: str
) -> None:
    bucket = store.bucket("sky")
    lease = {"until": time.time() + 60, "host": "far", "pid": os.getpid(), "process_start": 1, "machine": "far|x|y"}
    bucket.put(keys.lease(1), json.dumps(lease).encode())
    with pytest.raises(InputError, match=rf"process {os.getpid()} on far drives it.*stop it on far"):
        api.stop(run_id, store=root)
