"""The verdict: complete only if every task is proven, and otherwise exactly what is wrong."""

import dataclasses
import gc
import json
from typing import Any

import msgspec
import numpy as np
import pytest

from skyfan.combined import Combined
from skyfan.errors import PartitionError, StoreError
from skyfan.keys import RunKeys
from skyfan.measure import Meter
from skyfan.partitions import PartitionRef
from skyfan.payload import Payload
from skyfan.photoz.sums import measure
from skyfan.reports import MAX_LISTED, Collected, Failed, collect, describe, failed_report, names_of
from skyfan.standing import MAX_SAID, stand
from skyfan.storage import Bucket, Store
from skyfan.summary import Drive, Summary, decode_summary, judge
from skyfan.tally import SUMS_AT_ONCE, Tally
from skyfan.task import ModelRef, PartRef, Report, Seconds, Task, decode_report

KEYS = RunKeys("results/one")
MODEL = ModelRef("models/tiny.onnx", "0" * 64)
PAYLOAD = Payload(bucket="sky", data_bucket="sky", data_prefix="25MB", result_path="results/one", batch_size=4)
DRIVE = Drive(started_at="", run_wall_s=4.0, map_wall_s=2.0, workers=2, tasks=3, rows=30)
TASKS = [
    Task(rank, "sky", "results/one", "sky", (PartitionRef(f"25MB/{rank}.pt", 100, 10),), MODEL, 4) for rank in range(3)
]


def good(task: Task, **changes: Any) -> Report:
    """Return the report of a task done, or one that differs from it."""
    content = f"part of task {task.rank}".encode()
    report = Report(
        rank=task.rank,
        status="ok",
        attempt=1,
        partitions=tuple(PartitionRef(ref.key, ref.bytes, ref.rows, "hash") for ref in task.partitions),
        rows_in=10,
        rows_out=10,
        part=PartRef(KEYS.part(task.rank), len(content), 10, "hash"),
        model=MODEL,
        batch_size=4,
        batches=3,
        seconds=Seconds(total=2.0, predict=1.5),
        peak_memory_mb=100.0 + task.rank,
        worker=f"host:{task.rank}",
        versions={"skyfan": "1"},
    )
    return msgspec.structs.replace(report, **changes)


@pytest.fixture
def bucket(tmp_path: Any) -> Bucket:
    """The bucket of a run with three tasks, all done."""
    bucket = Store(f"memory://{tmp_path}").bucket("sky")
    for task in TASKS:
        bucket.put(KEYS.part(task.rank), f"part of task {task.rank}".encode())
        bucket.put(KEYS.report(task.rank), good(task).encode())
    return bucket


def verdict(bucket: Bucket, tasks: list[Task] = TASKS) -> Summary:
    return judged(bucket, tasks, DRIVE, ["a warning"])


def judged(bucket: Bucket, tasks: list[Task], drive: Drive, warnings: list[str]) -> Summary:
    tally = Tally()
    return judge(PAYLOAD, tasks, collect(bucket, KEYS, tasks, tally.add), tally, drive, warnings=warnings)


def combined(bucket: Bucket) -> list[dict[str, Any]]:
    records = Combined(PAYLOAD.result_path)
    collect(bucket, KEYS, TASKS, records.add)
    return json.loads(records.encode())  # type: ignore[no-any-return]


NOT_DONE = "1 of 3 tasks without a valid report or part (task 1); run the payload again: it does only what is missing"


def problems(bucket: Bucket) -> list[str]:
    summary = verdict(bucket)
    assert summary.complete == (not summary.problems)
    return summary.problems


def test_all_done_is_complete(bucket: Bucket) -> None:
    summary = verdict(bucket)
    assert summary.complete
    assert summary.problems == []
    assert (summary.tasks, summary.tasks_ok, summary.tasks_failed, summary.tasks_missing) == (3, 3, 0, 0)
    assert (summary.rows_expected, summary.rows_in, summary.rows_out) == (30, 30, 30)
    assert summary.warnings == ["a warning"]


def test_no_task_at_all_is_not_complete(bucket: Bucket) -> None:
    empty = Collected(done={}, failed=[], failures={}, missing=[], surplus=[], kinds={})
    assert not judge(PAYLOAD, [], empty, Tally(), DRIVE, warnings=[]).complete


@pytest.mark.parametrize("key", [KEYS.report(1), KEYS.part(1)], ids=["report", "part"])
def test_a_missing_report_or_part_is_a_missing_task(bucket: Bucket, key: str) -> None:
    bucket.delete([key])
    assert problems(bucket) == [NOT_DONE]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"rank": 1}', b"\xff"], ids=repr)
def test_a_report_that_cannot_be_read_is_none(bucket: Bucket, content: bytes) -> None:
    bucket.put(KEYS.report(1), content)
    assert decode_report(content) is None
    assert problems(bucket) == [NOT_DONE]


def test_a_part_of_another_size_is_a_missing_task(bucket: Bucket) -> None:
    bucket.put(KEYS.part(1), b"longer than what the task wrote")
    assert problems(bucket) == [NOT_DONE]


OTHERS = {
    "of another rank": {"rank": 2},
    "of another model": {"model": ModelRef(MODEL.name, "1" * 64)},
    "of another partition": {"partitions": (PartitionRef("25MB/9.pt", 100, 10, "hash"),)},
    "of a partition of another size": {"partitions": (PartitionRef("25MB/1.pt", 101, 10, "hash"),)},
    "of two partitions": {"partitions": (PartitionRef("25MB/1.pt", 100, 5), PartitionRef("25MB/2.pt", 100, 5))},
    "with fewer rows out than in": {"rows_out": 9},
    "with fewer rows than the index says": {"rows_in": 9, "rows_out": 9, "part": PartRef(KEYS.part(1), 14, 9, "")},
    "with fewer rows in its part": {"part": PartRef(KEYS.part(1), 14, 9, "hash")},
    "with another task's part": {"part": PartRef(KEYS.part(2), 14, 10, "hash")},
    "without a part": {"part": None},
}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_a_report_that_does_not_answer_its_task_is_none(bucket: Bucket, changes: dict[str, Any]) -> None:
    bucket.put(KEYS.report(1), good(TASKS[1], **changes).encode())
    assert problems(bucket) == [NOT_DONE]


def test_rows_that_no_index_tells_need_not_be_known(bucket: Bucket) -> None:
    unknown = [
        msgspec.structs.replace(task, partitions=tuple(PartitionRef(ref.key, ref.bytes) for ref in task.partitions))
        for task in TASKS
    ]
    summary = verdict(bucket, unknown)
    assert summary.complete
    assert summary.rows_expected is None


def test_a_failed_task_is_listed_with_its_error(bucket: Bucket) -> None:
    error = PartitionError("25MB/1.pt: holds no rows")
    bucket.delete([KEYS.report(1)])
    bucket.put(KEYS.failure(1), failed_report(TASKS[1], 3, error, Meter()).encode())
    summary = verdict(bucket)
    assert summary.problems[0].startswith("1 of 3 tasks failed (task 1); mend what its message says and run")
    (failure,) = summary.failures
    assert (failure.rank, failure.attempts, failure.partitions) == (1, 3, ("25MB/1.pt",))
    assert (failure.error.kind, failure.error.message) == ("PartitionError", "25MB/1.pt: holds no rows")
    assert summary.rows_out == 20


@pytest.mark.parametrize("key", [KEYS.part(3), KEYS.report(3), "results/one/predictions/notes.txt"])
def test_what_belongs_to_no_task_is_surplus(bucket: Bucket, key: str) -> None:
    bucket.put(key, b"x")
    summary = verdict(bucket)
    assert summary.problems == [f"{key}: belongs to no task of the run; delete it and run the payload again"]
    assert summary.surplus == [key]


def test_several_tasks_and_objects_are_told_as_several(bucket: Bucket) -> None:
    bucket.delete([KEYS.report(0), KEYS.report(1)])
    for number in (4, 5):
        bucket.put(KEYS.part(number), b"x")
    missing, surplus = verdict(bucket).problems
    assert missing.startswith("2 of 3 tasks without a valid report or part (tasks 0, 1); run the payload again")
    assert surplus.endswith(
        "part-00004.parquet and 1 more: belong to no task of the run; delete them and run the payload again"
    )


def test_a_run_beside_this_one_is_not_surplus(bucket: Bucket) -> None:
    bucket.put("results/one-more/predictions/part-00000.parquet", b"x")
    bucket.put("results/one/notes.txt", b"x")
    assert problems(bucket) == []


def test_everything_that_is_wrong_is_said(bucket: Bucket) -> None:
    bucket.put(KEYS.failure(0), failed_report(TASKS[0], 1, ValueError("x"), Meter()).encode())
    bucket.delete([KEYS.report(0), KEYS.report(1)])
    bucket.put(KEYS.part(7), b"x")
    assert len(problems(bucket)) == 3


def test_figures_are_named_for_what_they_are(bucket: Bucket) -> None:
    summary = verdict(bucket)
    assert summary.rows_per_s_map_wall == 30 / 2.0
    assert summary.rows_per_s_workers_sum == DRIVE.workers * 30 / 6.0
    assert summary.worker_seconds.total == 6.0
    assert summary.worker_seconds.predict == 4.5
    assert (summary.worker_peak_memory_mb.min, summary.worker_peak_memory_mb.max) == (100.0, 102.0)
    assert (summary.bytes_in, summary.bytes_out) == (300, 3 * len("part of task 0"))


def test_a_run_that_mapped_nothing_has_a_rate_of_zero(bucket: Bucket) -> None:
    idle = Drive(started_at="", run_wall_s=1.0, map_wall_s=0.0)
    assert judged(bucket, TASKS, idle, []).rows_per_s_map_wall == 0.0


def test_a_summary_is_read_back(bucket: Bucket) -> None:
    summary = verdict(bucket)
    assert decode_summary(summary.encode()) == summary


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b"[" * 100_000], ids=lambda data: str(data[:5]))
def test_what_is_no_summary_is_none(data: bytes) -> None:
    assert decode_summary(data) is None


def test_a_failed_attempt_never_undoes_a_task_that_is_done(bucket: Bucket) -> None:
    bucket.put(KEYS.failure(1), failed_report(TASKS[1], 2, ValueError("late"), Meter()).encode())
    assert problems(bucket) == []


def test_a_file_systems_own_files_are_not_surplus(bucket: Bucket) -> None:
    bucket.put("results/one/predictions/.DS_Store", b"x")
    assert problems(bucket) == []


def test_percentiles_are_those_of_the_nearest_rank(bucket: Bucket) -> None:
    tasks = [msgspec.structs.replace(TASKS[0], rank=rank) for rank in range(20)]
    for task in tasks:
        content = f"part of task {task.rank}".encode()
        part = PartRef(KEYS.part(task.rank), len(content), 10, "hash")
        bucket.put(KEYS.part(task.rank), content)
        bucket.put(KEYS.report(task.rank), good(task, part=part, peak_memory_mb=float(task.rank + 1)).encode())
    memory = verdict(bucket, tasks).worker_peak_memory_mb
    assert (memory.min, memory.median, memory.p95, memory.max) == (1.0, 10.5, 19.0, 20.0)


SEED_KEYS = {
    "total_cpu_time (seconds)",
    "total_cpu_memory (MB)",
    "total_process_memory (MB)",
    "execution_time (seconds/batch)",
    "num_batches",
    "batch_size",
    "device",
    "throughput_bps",
    "sample_persec",
    "result_path",
    "data_path",
}


def test_combined_data_has_a_record_a_task_with_the_original_keys(bucket: Bucket) -> None:
    records = combined(bucket)
    assert [record["rank"] for record in records] == [0, 1, 2]
    assert all(record.keys() >= SEED_KEYS for record in records)
    record = records[1]
    assert (record["num_batches"], record["batch_size"], record["device"]) == (3, 4, "cpu")
    assert (record["result_path"], record["data_path"]) == ("results/one", "25MB/1.pt")
    assert record["total_cpu_time (seconds)"] == 2.0
    assert record["execution_time (seconds/batch)"] == 0.5
    assert (record["throughput_bps"], record["sample_persec"]) == (8 * 100 / 2.0, 10 / 2.0)


def test_combined_data_lists_the_partitions_of_a_task_that_has_several(bucket: Bucket) -> None:
    both = (PartitionRef("a", 1, 5), PartitionRef("b", 1, 5))
    records = Combined(PAYLOAD.result_path)
    records.add(good(TASKS[0], partitions=both))
    assert json.loads(records.encode())[0]["data_path"] == ["a", "b"]


def test_combined_data_leaves_out_what_is_not_done(bucket: Bucket) -> None:
    bucket.delete([KEYS.part(1)])
    assert [record["rank"] for record in combined(bucket)] == [0, 2]


def test_any_error_is_described_as_what_it_was() -> None:
    assert describe(StoreError("s: down")).may_pass
    assert not describe(PartitionError("p: bad")).may_pass
    assert describe(MemoryError()).may_pass
    unknown = describe(ZeroDivisionError("by zero"))
    assert (unknown.message, unknown.may_pass) == ("ZeroDivisionError: by zero", False)


def test_many_ranks_are_counted_rather_than_listed() -> None:
    assert names_of([3, 1, 2]) == "1, 2, 3"
    assert names_of(range(100)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 90 more"


def test_a_collection_cannot_be_changed(bucket: Bucket) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        collect(bucket, KEYS, TASKS).missing = []  # type: ignore[misc]


def reports_in_memory() -> int:
    # not isinstance: some libraries' objects warn when they are asked for their class
    return sum(type(thing) is Report for thing in gc.get_objects())


def test_reports_are_seen_one_by_one_and_not_kept(bucket: Bucket) -> None:
    alive: list[int] = []

    def see(report: Report) -> None:
        alive.append(reports_in_memory())

    tasks = [msgspec.structs.replace(TASKS[0], rank=rank) for rank in range(50)]
    for task in tasks:
        content = f"part of task {task.rank}".encode()
        part = PartRef(KEYS.part(task.rank), len(content), 10, "hash")
        bucket.put(KEYS.part(task.rank), content)
        bucket.put(KEYS.report(task.rank), good(task, part=part, science=measure([0.1], [0.1])).encode())
    assert len(collect(bucket, KEYS, tasks, see).done) == len(alive) == 50
    assert alive[-1] <= alive[0] + 1


def test_of_failed_tasks_little_is_kept(bucket: Bucket) -> None:
    tasks = [msgspec.structs.replace(TASKS[0], rank=rank) for rank in range(MAX_LISTED + 50)]
    bucket.delete([KEYS.report(task.rank) for task in TASKS])
    for task in tasks:
        bucket.put(KEYS.failure(task.rank), failed_report(task, 2, ValueError("x" * 200), Meter()).encode())
    before = reports_in_memory()
    found = collect(bucket, KEYS, tasks)
    assert reports_in_memory() <= before
    assert (found.failed, found.missing) == (list(range(MAX_LISTED + 50)), [])
    assert list(found.failures) == list(range(MAX_LISTED))
    assert found.failures[0] == Failed(2, ("25MB/0.pt",), describe(ValueError("x" * 200)))
    summary = verdict(bucket, tasks)
    assert (summary.tasks_failed, len(summary.failures)) == (MAX_LISTED + 50, MAX_LISTED)
    said = stand(PAYLOAD, tasks, bucket, KEYS).problems
    assert [text.startswith("task ") for text in said].count(True) == MAX_SAID


def test_sums_of_many_tasks_are_those_of_one(bucket: Bucket) -> None:
    z = np.random.default_rng(1).uniform(0.02, 0.3, (SUMS_AT_ONCE + 5, 8))
    tally = Tally()
    for rows in z:
        tally.add(good(TASKS[0], science=measure(rows + 0.01, rows)))
    whole = measure((z + 0.01).ravel(), z.ravel())
    assert tally.science is not None
    assert (tally.science.rows, tally.science.dz_counts) == (whole.rows, whole.dz_counts)
    assert tally.science.dz_sum == pytest.approx(whole.dz_sum)
