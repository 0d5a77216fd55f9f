"""The plan: every partition in one task, in order, and only what a run may have written is read as one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planned import listing, payload
from skyfan.errors import StoreError
from skyfan.keys import natural
from skyfan.manifest import decode_manifest, encode_manifest, plan, refresh
from skyfan.partitions import PartitionRef
from skyfan.selection import select
from skyfan.task import ModelRef, ScriptRef, Task

MODEL = ModelRef("models/tiny.onnx", "0" * 64)


names = st.from_regex(r"(part-)?[0-9]{1,4}\.(pt|safetensors)", fullmatch=True)
others = st.sampled_from(["index.json", "readme.txt", "model.onnx", "1.pt.tmp", "x/payload.json"])
counts = st.none() | st.integers(1, 60)


@given(st.lists(names, min_size=1, max_size=40, unique=True), st.lists(others, unique=True), counts, counts)
def test_every_partition_is_in_one_task_in_natural_order(
    partitions: list[str], beside: list[str], file_limit: int | None, world_size: int | None
) -> None:
    asked = payload(file_limit, world_size)
    chosen, _ = select(asked, listing(*partitions, *beside), {})
    tasks = plan(asked, chosen, MODEL)
    expected = sorted((f"25MB/{name}" for name in partitions), key=natural)[:file_limit]
    assert [ref.key for task in tasks for ref in task.partitions] == expected
    assert [task.rank for task in tasks] == list(range(len(tasks)))
    sizes = [len(task.partitions) for task in tasks]
    assert len(tasks) == min(world_size or len(expected), len(expected))
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(names, min_size=1, max_size=20, unique=True), counts, counts)
def test_a_stored_plan_is_read_back(partitions: list[str], file_limit: int | None, world_size: int | None) -> None:
    asked = payload(file_limit, world_size)
    tasks = plan(asked, select(asked, listing(*partitions), {})[0], MODEL)
    assert decode_manifest(encode_manifest(tasks), "x") == tasks


def test_a_task_says_all_that_a_worker_needs() -> None:
    (task,) = plan(payload(), [PartitionRef("25MB/1.pt", 5, 3, "h")], MODEL)
    assert task == Task(0, "out", "results/one", "sky", (PartitionRef("25MB/1.pt", 5, 3, "h"),), MODEL, 7)
    assert (task.rows, task.size_bytes) == (3, 5)


def test_a_stored_plan_is_an_array_of_one_line_a_task() -> None:
    tasks = plan(payload(), select(payload(), listing("1.pt", "2.pt", "3.pt"), {})[0], MODEL)
    lines = encode_manifest(tasks).decode().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("[", "]", 5)


def test_the_rows_of_a_task_are_known_only_if_those_of_all_its_partitions_are() -> None:
    known, unknown = PartitionRef("a", 1, 3), PartitionRef("b", 1)
    (task,) = plan(payload(world_size=1), [known, unknown], MODEL)
    assert task.rows is None


garbage = st.binary() | st.sampled_from(
    [b"", b"[]", b"{}", b"[{}]", b"null", b'[{"rank": 0}]', b"[" * 100_000, b'"\xff"']
)


@given(garbage)
def test_what_is_no_plan_is_a_store_error(data: bytes) -> None:
    with pytest.raises(StoreError, match=r"out/manifest\.json: .*; run with --overwrite to plan anew"):
        decode_manifest(data, "out/manifest.json")


def spoiled(change: str) -> list[Task]:
    tasks = plan(payload(), [PartitionRef(f"25MB/{number}.pt", 5) for number in range(4)], MODEL)
    return {
        "a task less": [tasks[0], *tasks[2:]],
        "a task twice": [tasks[0], *tasks],
        "another order": tasks[::-1],
        "a partition twice": [*tasks[:3], msgspec.structs.replace(tasks[3], partitions=tasks[0].partitions)],
    }[change]


@pytest.mark.parametrize("change", ["a task less", "a task twice", "another order", "a partition twice"])
def test_a_plan_that_no_run_writes_is_refused(change: str) -> None:
    with pytest.raises(StoreError, match=r"m: a manifest .*, which no run writes; run with --overwrite to plan anew"):
        decode_manifest(encode_manifest(spoiled(change)), "m")


def test_a_task_that_is_not_done_takes_its_partitions_as_they_are_now() -> None:
    asked = payload(world_size=2)
    before = plan(asked, select(asked, listing("1.pt", "2.pt", "3.pt"), {})[0], MODEL)
    now = [PartitionRef(f"25MB/{number}.pt", 900 + number, number) for number in (1, 2, 4)]
    first, second = refresh(before, asked, now, {0})
    assert first == before[0]
    assert second.partitions == (PartitionRef("25MB/2.pt", 902, 2), PartitionRef("25MB/3.pt", 102))


def test_what_a_script_may_take_can_be_changed_until_its_task_is_done() -> None:
    code = {"script": "run.py", "s3_object_name": "code", "script_memory_mb": 100.0}
    asked = msgspec.structs.replace(payload(world_size=2), **code)
    partitions = select(asked, listing("1.pt", "2.pt"), {})[0]
    before = plan(asked, partitions, ScriptRef("code", "code/run.py", "run.py", "folder", "h"))
    assert [task.rows for task in before] == [None, None]
    more = msgspec.structs.replace(asked, script_memory_mb=200.0, task_timeout_s=5.0)
    first, second = refresh(before, more, partitions, {0})
    assert first == before[0]
    assert second.setting is not None
    assert (second.setting.limits.memory_mb, second.setting.limits.timeout_s) == (200, 5)
    assert second.setting.world_size == 2
    assert decode_manifest(encode_manifest([first, second]), "m") == [first, second]
