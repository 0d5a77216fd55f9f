"""A report is the answer to a task only if it is of what was planned."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from factories import write_partition
from skyfan import stages
from skyfan.keys import RunKeys
from skyfan.partitions import Index, PartitionRef
from skyfan.payload import Payload, parse_payload
from skyfan.reports import collect
from skyfan.storage import Store
from skyfan.summary import Drive
from skyfan.task import ModelRef, PartRef, Report, Task
from skyfan.verification import verify_run

KEYS = RunKeys("results/one")
MODEL = ModelRef("models/tiny.onnx", "0" * 64)
READ = PartitionRef("25MB/1.pt", 100, 10, "hash")
PLANNED = Task(0, "sky", "results/one", "sky", (READ,), MODEL, 4, threads=2)
REPORT = Report(
    rank=0,
    status="ok",
    attempt=1,
    partitions=(READ,),
    rows_in=10,
    rows_out=10,
    part=PartRef(KEYS.part(0), 1, 10, "part"),
    model=MODEL,
    batch_size=4,
    threads=2,
)


def planned(*refs: PartitionRef) -> Task:
    return msgspec.structs.replace(PLANNED, partitions=refs)


@pytest.mark.parametrize(
    "ref",
    [
        READ,
        PartitionRef("25MB/1.pt", 100),
        PartitionRef("25MB/1.pt", 100, 10),
        PartitionRef("25MB/1.pt", 100, None, "hash"),
    ],
)
def test_what_is_not_known_beforehand_may_be_anything(ref: PartitionRef) -> None:
    assert REPORT.answers(planned(ref))


@pytest.mark.parametrize(
    "ref",
    [
        PartitionRef("25MB/2.pt", 100, 10, "hash"),
        PartitionRef("25MB/1.pt", 101, 10, "hash"),
        PartitionRef("25MB/1.pt", 100, 11, "hash"),
        PartitionRef("25MB/1.pt", 100, 10, "other"),
        PartitionRef("25MB/1.pt", 100, None, "other"),
    ],
    ids=["key", "bytes", "rows", "hash", "hash alone"],
)
def test_a_report_of_another_partition_is_no_answer(ref: PartitionRef) -> None:
    assert not REPORT.answers(planned(ref))


def test_rows_that_agree_in_all_but_not_by_partition_are_no_answer() -> None:
    one, two = PartitionRef("25MB/1.pt", 100, 4, "hash"), PartitionRef("25MB/2.pt", 100, 6, "hash")
    report = msgspec.structs.replace(REPORT, partitions=(one, two))
    assert report.answers(planned(one, two))
    assert not report.answers(planned(msgspec.structs.replace(one, rows=6), msgspec.structs.replace(two, rows=4)))
    assert not report.answers(planned(one))
    assert not report.answers(planned(one, two, READ))


@pytest.mark.parametrize("changes", [{"batch_size": 8}, {"threads": 1}], ids=str)
def test_a_report_of_other_batches_or_threads_is_no_answer(changes: dict[str, int]) -> None:
    assert not msgspec.structs.replace(REPORT, **changes).answers(PLANNED)


def write_index(root: Path) -> None:
    """Write the index of the partitions as they are."""
    files = sorted((root / "sky" / "25MB").glob("*.safetensors"))
    refs = [
        PartitionRef(file.name, file.stat().st_size, None, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in files
    ]
    refs = [msgspec.structs.replace(ref, rows=7 + number) for number, ref in enumerate(refs)]
    (root / "sky" / "25MB" / "index.json").write_bytes(Index(1, 34, complete=True, partitions=tuple(refs)).encode())


def infer_all(payload: Payload, store: Store, **options: Any) -> list[Task]:
    plan = stages.initialize(payload, store, **options)
    for task in plan.tasks:
        stages.infer(task, store)
    return plan.tasks


@pytest.fixture
def payload(asked: dict[str, Any]) -> Payload:
    return parse_payload(asked)[0]


def test_what_a_leftover_worker_stores_of_a_mended_partition_is_done_anew(
    payload: Payload, store: Store, root: Path
) -> None:
    bucket, mended = store.bucket("sky"), root / "sky" / "25MB" / "1.safetensors"
    write_index(root)
    infer_all(payload, store)
    late = {key: bucket.get(key) or b"" for key in (KEYS.part(0), KEYS.report(0))}
    write_partition(mended, rows=7, seed=99)
    write_index(root)
    tasks = stages.initialize(payload, store, overwrite=True).tasks
    for key, data in late.items():  # a worker of the first run ends only now
        bucket.put(key, data)
    assert 0 not in collect(bucket, KEYS, tasks).done
    assert not verify_run(payload, tasks, bucket, KEYS).complete
    infer_all(payload, store)
    assert verify_run(payload, tasks, bucket, KEYS).tasks_proven == len(tasks)
    assert stages.infer(tasks[0], store).partitions[0].sha256 == hashlib.sha256(mended.read_bytes()).hexdigest()


def test_what_a_leftover_worker_stores_over_the_new_report_is_found_out(
    payload: Payload, store: Store, root: Path
) -> None:
    bucket = store.bucket("sky")
    write_index(root)
    infer_all(payload, store)
    late = {key: bucket.get(key) or b"" for key in (KEYS.part(0), KEYS.report(0))}
    write_partition(root / "sky" / "25MB" / "1.safetensors", rows=7, seed=99)
    write_index(root)
    tasks = infer_all(payload, store, overwrite=True)
    for key, data in late.items():
        bucket.put(key, data)
    summary = stages.summarize(payload, tasks, store, Drive(started_at="", run_wall_s=1.0, map_wall_s=1.0), [])
    assert summary.problems == [
        "1 of 4 tasks without a valid report or part (task 0); run the payload again: it does only what is missing"
    ]
