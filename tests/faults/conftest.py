"""Runs that last long enough to be hurt."""

import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from factories import tiny_model, write_partition
from running import ROWS, SKYFAN, TASKS, Start


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A payload file beside its store; its run takes some seconds, since it predicts row by row."""
    bucket = tmp_path / "store" / "sky"
    for number in range(1, TASKS + 1):
        write_partition(bucket / "data" / f"{number}.safetensors", rows=ROWS, seed=number)
    tiny_model(bucket / "tiny.onnx")
    payload = {
        "bucket": "sky",
        "data_bucket": "sky",
        "data_prefix": "data",
        "result_path": "out",
        "model": "tiny.onnx",
        "batch_size": 1,
    }
    path = tmp_path / "payload.json"
    path.write_text(json.dumps(payload))
    return path


def _heed_interrupts() -> None:
    """Undo what a shell does to the programs that it starts in the background: have them ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def start(job: Path) -> Iterator[Start]:
    """Start `skyfan run` on the job, in a session of its own; whatever is left of it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*options: str, before: Sequence[str] = ()) -> "subprocess.Popen[str]":
        command = [*before, *SKYFAN, "run", str(job), "--store", str(job.parent / "store"), "--json", *options]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
            preexec_fn=_heed_interrupts,  # noqa: PLW1509  it only sets a signal
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
