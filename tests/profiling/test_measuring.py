"""Measuring a profile: real workers on a tiny model, and what is refused before any of them starts."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from moto.server import ThreadedMotoServer

import skyfan
from factories import make_rows, parsed_model, tiny_model, write_partition
from s3 import request
from skyfan.errors import InputError, ModelError, PartitionError, RunFailedError, SkyfanError, WorkerError
from skyfan.host import describe_host, usable_cores
from skyfan.inference import VERSIONS
from skyfan.partitions import PartitionRef
from skyfan.profiling import measuring, trial
from skyfan.profiling.measuring import measure_profile, profile_of_run
from skyfan.profiling.samples import RANDOM_NOTE, take_sample
from skyfan.profiling.trial import Ground, Way, plan_ways, run_trial
from skyfan.staging import resolve_model
from skyfan.storage import Store
from skyfan.task import ModelRef, Report, Seconds, Task

QUICK = {"seconds": 0.1, "rounds": 1}


def test_a_model_is_measured_on_random_rows(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny.onnx")
    said: list[str] = []
    found = measure_profile(model, batch_sizes=(8, 4), workers=(2, 1), seconds=0.3, rounds=2, watch=said.append)
    assert [(point.workers, point.batch_size) for point in found.points] == [(1, 4), (1, 8), (2, 4), (2, 8)]
    assert all(point.rows_per_s > 0 and point.rows >= point.batch_size for point in found.points)
    assert all(point.peak_memory_mb > 20 for point in found.points)
    assert found.model == ModelRef("tiny.onnx", found.model.sha256)
    assert (found.machine, found.cores, found.origin) == (describe_host(), usable_cores(), "measured")
    assert (found.data, found.notes[0]) == ("random rows", RANDOM_NOTE)
    assert found.versions == VERSIONS
    # 5 x 8 x 8 floats of the image, 5 of the magnitudes, an id and a position, and a header
    assert 1300 + 24 < found.row_bytes < 1300 + 24 + 100
    assert min(found.s_per_mb, found.s_per_task, found.s_per_cold_start) > 0
    assert said[0] == "tiny.onnx: 4 points, 2 rounds, random rows"
    # every round measures every point once, in turn
    assert [line.partition(": ")[0] for line in said[1:]] == ["round 1 of 2"] * 4 + ["round 2 of 2"] * 4


def test_the_partitions_of_a_payload_are_read_where_they_lie(root: Path, asked: dict[str, Any]) -> None:
    before = sorted(root.rglob("*"))
    found = measure_profile(asked, store=root, batch_sizes=(4,), workers=(1,), **QUICK)
    assert sorted(root.rglob("*")) == before  # nothing is claimed or written there
    assert found.model.name == "models/tiny.onnx"
    assert found.data == "sky/25MB"
    sizes = [path.stat().st_size for path in sorted((root / "sky" / "25MB").iterdir())]
    assert min(sizes) / 7 >= found.row_bytes >= max(sizes) / 10
    assert not any("first rows" in note or "random" in note for note in found.notes)


def test_too_large_partitions_are_cut(root: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "CUT_BYTES", 4 * 1335)  # 4 rows of 7
    found = measure_profile(asked, store=root, batch_sizes=(2,), workers=(1,), **QUICK)
    assert "measured on the first rows of the first partition, to keep to the seconds" in found.notes
    assert found.points[0].rows % 4 == 0
    assert found.s_per_mb > 0


def test_a_payload_may_belong_to_a_run_and_its_model_be_replaced(root: Path, finished: skyfan.Run) -> None:
    tiny_model(root / "sky" / "models" / "two.onnx", metadata={"name": "two"})
    payload = finished.payload
    found = measure_profile(payload, store=root, model="models/two.onnx", batch_sizes=(4,), workers=(1,), **QUICK)
    assert found.model.name == "models/two.onnx"
    assert finished.verify().complete


def test_a_model_of_the_store_is_found(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = measure_profile("sky/models/tiny.onnx", store=root, batch_sizes=(4,), workers=(1,), **QUICK)
    assert found.model.name == "models/tiny.onnx"


def test_batch_sizes_that_no_partition_fills_are_left_out(root: Path, asked: dict[str, Any]) -> None:
    found = measure_profile(asked, store=root, batch_sizes=(4, 64, 32), workers=(1,), **QUICK)
    assert [point.batch_size for point in found.points] == [4]
    assert any(note.startswith("batch sizes 32, 64 are more than the 7 rows of a partition") for note in found.notes)
    with pytest.raises(InputError, match=r"batch size 32: is more than the 7 rows of the first partition of sky/25MB"):
        measure_profile(asked, store=root, batch_sizes=(32,), **QUICK)


def test_more_threads_than_cores_are_said(tmp_path: Path) -> None:
    model, many = tiny_model(tmp_path / "tiny.onnx"), usable_cores() + 1
    found = measure_profile(model, batch_sizes=(4,), threads=(many,), workers=(1,), **QUICK)
    assert found.points[0].threads == many
    said = f"points with {many} threads in all (threads x workers) on {usable_cores()} cores measure threads that wait"
    assert any(said in note for note in found.notes)


def test_a_busy_machine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(tmp_path / "tiny.onnx")
    monkeypatch.setattr(os, "getloadavg", lambda: (7.25, 0.0, 0.0))
    found = measure_profile(model, batch_sizes=(4,), workers=(1,), **QUICK)
    assert any("was not idle before (load average 7.2 in the last minute)" in note for note in found.notes)


def test_rounds_that_do_not_agree_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(tmp_path / "tiny.onnx")
    rates = iter([100.0, 101.0, 200.0, 300.0])  # of two points in round 1, then in round 2

    def at_a_rate(*arguments: Any) -> list[trial.Seen]:
        rate = next(rates)
        return [replace(one, report=at(one.report, rate)) for one in run_trial(*arguments)]

    def at(report: Report, rate: float) -> Report:
        took_s = report.rows_out / rate
        return msgspec.structs.replace(report, seconds=Seconds(total=took_s, predict=took_s))

    monkeypatch.setattr(measuring, "run_trial", at_a_rate)
    found = measure_profile(model, batch_sizes=(4, 8), workers=(1,), seconds=0.1, rounds=2)
    assert [point.rows_per_s for point in found.points] == [150.0, 200.5]  # medians
    assert any("the rounds of 2 of 2 points differ by a factor of more than 1.2" in note for note in found.notes)


@pytest.fixture
def s3(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The store of `root` on an S3 server."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    request(address, "POST", "/moto-api/reset")
    request(address, "PUT", "/sky")
    for path in (root / "sky").rglob("*.*"):
        request(address, "PUT", f"/sky/{path.relative_to(root / 'sky')}", path.read_bytes())
    yield address
    server.stop()


@pytest.mark.parametrize("cut", [False, True])
def test_fetching_from_a_server_is_measured(
    s3: str, asked: dict[str, Any], cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cut:
        monkeypatch.setattr(measuring, "CUT_BYTES", 4 * 1335)
    found = measure_profile(asked, store=s3, batch_sizes=(4,), workers=(1,), **QUICK)
    assert any("fetching from one partition" in note for note in found.notes) == cut
    assert found.s_per_mb > 0.05  # a request to this server takes milliseconds, and a partition has 10 kB


NUMBERS: list[tuple[dict[str, Any], str]] = [
    ({"batch_sizes": ()}, "batch size: got none"),
    ({"batch_sizes": (16, 0)}, "batch size: got 0; expected 1 to 1,000,000"),
    ({"batch_sizes": (10**9,)}, "batch size: got 1e+09"),
    ({"batch_sizes": (500_000,)}, "batch size 500000: is 619.9 MiB of rows at once; expected at most"),
    ({"threads": (0,)}, "threads: got 0; expected 1 to 256"),
    ({"workers": (-1,)}, "workers: got -1"),
    ({"workers": (10_000,)}, f"workers: got 10000; expected 1 to {16 * usable_cores()}"),
    ({"batch_sizes": tuple(range(1, 300))}, "expected at most 200"),
    ({"seconds": 0}, "seconds: got 0; expected 0.05 to 3,600"),
    ({"seconds": float("nan")}, "seconds: got nan"),
    ({"seconds": float("inf")}, "seconds: got inf"),
    ({"rounds": 0}, "rounds: got 0; expected 1 to 100"),
]


@pytest.mark.parametrize(("changes", "message"), NUMBERS, ids=[message for _, message in NUMBERS])
def test_numbers_that_cannot_be_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str, no_worker: None
) -> None:
    with pytest.raises(InputError) as caught:
        measure_profile(tiny_model(tmp_path / "tiny.onnx"), **changes)
    assert message in str(caught.value)


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be started."""

    def refuse(*_: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(Ground, "engine", refuse)


Broken = Callable[[Path], tuple[Any, str | None]]


def any_size(folder: Path) -> tuple[Any, str | None]:
    graph = "(float[n,5,h,w] image) => (float[n,5,h,w] z) { z = Identity(image) }"
    (folder / "any.onnx").write_bytes(parsed_model(graph))
    return folder / "any.onnx", None


def flat_image(folder: Path) -> tuple[Any, str | None]:
    (folder / "flat.onnx").write_bytes(parsed_model("(float[n,5] image) => (float[n,5] z) { z = Identity(image) }"))
    return folder / "flat.onnx", None


def damaged(folder: Path) -> tuple[Any, str | None]:
    (folder / "bad.onnx").write_bytes(b"not a model")
    return folder / "bad.onnx", None


REFUSED: dict[str, tuple[Broken, type[SkyfanError], str]] = {
    "unknown model": (lambda _: ("nothing", None), ModelError, "no model 'nothing' ships with skyfan"),
    "no such file": (lambda _: ("./none.onnx", None), ModelError, "there is no such file, nor <bucket>/<key>"),
    "not in the store": (lambda _: ("sky/none.onnx", None), ModelError, "there is no such file, nor <bucket>/<key>"),
    "not ONNX": (damaged, ModelError, "cannot be loaded as ONNX"),
    "any size": (any_size, ModelError, "takes any size, so that no rows can be made for it"),
    "no partition has it": (flat_image, PartitionError, "expected (rows, bands, height, width)"),
    "two models": (lambda _: ("photoz-sim-2", "photoz-sim-2"), InputError, "expected one model, or a payload"),
    "no payload": (lambda folder: (folder / "none.json", None), InputError, "cannot be read"),
    "half a payload": (lambda _: ({"bucket": "sky"}, None), InputError, "missing 'data_bucket'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_measured_is_refused_before_any_work(
    case: str, tmp_path: Path, root: Path, no_worker: None
) -> None:
    make, kind, message = REFUSED[case]
    source, model = make(tmp_path)
    with pytest.raises(kind) as caught:
        measure_profile(source, store=root, model=model)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_partitions_of_another_shape_are_refused(root: Path, asked: dict[str, Any], no_worker: None) -> None:
    content = make_rows(4)
    content["image"] = content["image"][..., :-1].copy()
    write_partition(root / "sky" / "odd" / "1.safetensors", arrays=content)
    with pytest.raises(PartitionError, match=r"image has the shape \(4, 5, 8, 7\); expected \(any, 5, 8, 8\)"):
        measure_profile(asked | {"data_prefix": "odd"}, store=root)


def test_a_store_in_memory_is_refused(asked: dict[str, Any], no_worker: None) -> None:
    with pytest.raises(InputError, match="its content is this process's alone"):
        measure_profile(asked, store="memory://x")


def failing(batch: int) -> bytes:
    """A model that cannot take more rows at once than `batch`, nor is given them while nothing is measured."""
    graph = f"<int64[2] most = {{{batch}, 5}}> {{ z = Expand(magnitude, most) }}"
    return parsed_model(f"(float[n,5] magnitude) => (float[n,5] z) {graph}")


def test_a_model_that_fails_ends_it(tmp_path: Path) -> None:
    (tmp_path / "failing.onnx").write_bytes(failing(3))
    with pytest.raises(RunFailedError, match="failed on a batch of 4 rows") as caught:
        measure_profile(tmp_path / "failing.onnx", batch_sizes=(4,), workers=(1,), **QUICK)
    assert caught.value.exit_code == 2


def test_a_way_whose_worker_dies_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(tmp_path / "tiny.onnx")

    def dying(ground: Ground, workers: int, tasks: list[Task], *rest: float) -> list[trial.Seen]:
        if tasks[0].batch_size == 8:
            raise WorkerError("the worker process 1 was ended by SIGKILL, as when memory runs out")
        return run_trial(ground, workers, tasks, *rest)

    monkeypatch.setattr(measuring, "run_trial", dying)
    found = measure_profile(model, batch_sizes=(4, 8), workers=(1,), seconds=0.1, rounds=2)
    assert [point.batch_size for point in found.points] == [4]
    assert found.notes[-1].startswith("batch size 8, 1 thread, 1 worker: not measured: the worker process 1 was ended")
    with pytest.raises(RunFailedError, match="nothing could be measured; batch size 8"):
        measure_profile(model, batch_sizes=(8,), workers=(1,), **QUICK)


def ground_of(root: Path, asked: dict[str, Any], tmp_path: Path) -> tuple[Ground, Task]:
    sample = take_sample(asked, root, None, tmp_path / "scratch")
    ref = sample.cut(5)
    task = Task(0, "profile", "out", "profile", (ref,), sample.model, batch_size=2)
    return Ground(sample.scratch, sample.scratch), task


def test_a_trial_does_what_a_run_does(root: Path, asked: dict[str, Any], tmp_path: Path) -> None:
    ground, task = ground_of(root, asked, tmp_path)
    seen = run_trial(ground, 2, [task], seconds=0.5, timeout_s=60)
    assert len({one.report.worker for one in seen}) == 2
    assert sum(not one.warm for one in seen) == 2
    assert any(one.warm for one in seen)
    assert all(one.report.rows_out == 5 and one.report.batches == 3 and one.around_s > 0 for one in seen)
    parts = sorted(path.name for path in (tmp_path / "scratch" / "profile" / "out" / "predictions").iterdir())
    assert parts[0] == "part-00000.parquet"
    assert len(parts) <= 2 * trial.RANKS_A_WORKER


def test_a_worker_that_is_killed_ends_its_trial(root: Path, asked: dict[str, Any], tmp_path: Path) -> None:
    ground, task = ground_of(root, asked, tmp_path)
    with ground.engine(1, 60) as engine:
        engine.submit(0, 1, msgspec.json.encode(task))
        (first,) = engine.wait(None)
        pid = int(trial.report_of(first).worker.rpartition(":")[2])
        os.kill(pid, signal.SIGSTOP)  # so that it is in the middle of its task when it dies
        engine.submit(1, 1, msgspec.json.encode(task))
        os.kill(pid, signal.SIGKILL)
        outcomes = engine.wait(None)
    with pytest.raises(WorkerError, match="SIGKILL"):
        trial.report_of(outcomes[0])


def test_a_partition_that_changed_ends_its_trial(root: Path, asked: dict[str, Any], tmp_path: Path) -> None:
    ground, task = ground_of(root, asked, tmp_path)
    gone = msgspec.structs.replace(task, partitions=(PartitionRef("rows/none.safetensors", 1),))
    with pytest.raises(RunFailedError, match="is not there any more") as caught:
        run_trial(ground, 1, [gone], seconds=0.1, timeout_s=60)
    assert caught.value.exit_code == 2


def test_ways_are_every_combination_once() -> None:
    assert plan_ways((2, 1, 2), (1,), (1, 3)) == [Way(1, 1, 1), Way(1, 1, 2), Way(1, 3, 1), Way(1, 3, 2)]
    cores = usable_cores()
    assert plan_ways((1,), (cores,), None) == [Way(cores, 1, 1)]
    assert {way.workers for way in plan_ways((1,), (1,), None)} == {1, cores}
    assert Way(1, cores, 1).crowding == 1
    assert Way(3, cores, 1).crowding == 3
    assert str(Way(2, 1, 16)) == "batch size 16, 2 threads, 1 worker"


def test_a_sample_cuts_real_rows(root: Path, asked: dict[str, Any], tmp_path: Path) -> None:
    sample = take_sample(asked, root, None, tmp_path / "scratch")
    whole = root / "sky" / "25MB" / "1.safetensors"
    assert sample.rows == 7
    assert sample.model == resolve_model(skyfan.plan(asked, store=root).payload, Store(str(root)).bucket("sky"))
    ref = sample.cut(7)
    assert sample.cut(7) is ref
    same = (tmp_path / "scratch" / "profile" / ref.key).read_bytes()
    tensors = 7 * (5 * 64 * 4 + 5 * 4 + 4 + 8 + 8 + 8)
    assert same[-tensors:] != whole.read_bytes()[-tensors:] or len(same) == ref.bytes
    assert ref.bytes == len(same)


def test_a_run_gives_its_profile(finished: skyfan.Run) -> None:
    found = profile_of_run(finished)
    assert (found.origin, found.data, found.notes) == ("reports", "sky/25MB", ())
    assert found.points[0].batch_size == 4


def test_a_run_that_is_not_complete_says_so(finished: skyfan.Run, root: Path) -> None:
    (root / "sky" / "results" / "one" / "reports" / "00003.json").unlink()
    assert profile_of_run(finished).notes == ("the run is not complete: of the 3 tasks of 4 that are done",)


def test_importing_a_profile_imports_nothing_that_runs_a_model() -> None:
    code = "import sys, skyfan.profiling.profile; print('onnxruntime' in sys.modules, 'arro3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
