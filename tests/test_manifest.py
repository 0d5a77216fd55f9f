"""The plan: every partition in one task, in order, and nothing planned that the index contradicts."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfan.errors import StoreError, SurveyError
from skyfan.keys import natural
from skyfan.manifest import decode_manifest, encode_manifest, plan, refresh, select
from skyfan.partitions import Index, PartitionRef, decode_index
from skyfan.payload import Payload
from skyfan.storage import Entry
from skyfan.task import ModelRef, ScriptRef, Task

MODEL = ModelRef("models/tiny.onnx", "0" * 64)


def payload(file_limit: int | None = None, world_size: int | None = None) -> Payload:
    return Payload(
        bucket="out",
        data_bucket="sky",
        data_prefix="25MB",
        result_path="results/one",
        file_limit=file_limit,
        world_size=world_size,
        batch_size=7,
    )


def listing(*names: str) -> list[Entry]:
    return [Entry(f"25MB/{name}", 100 + number) for number, name in enumerate(names)]


def index_for(entries: Sequence[Entry], *, complete: bool = True) -> Index:
    refs = tuple(
        PartitionRef(entry.key.removeprefix("25MB/"), entry.bytes, rows, f"hash of {entry.key}")
        for rows, entry in enumerate(entries, 10)
    )
    return Index(1, sum(ref.rows or 0 for ref in refs), complete, refs)


names = st.from_regex(r"(part-)?[0-9]{1,4}\.(pt|safetensors)", fullmatch=True)
others = st.sampled_from(["index.json", "readme.txt", "model.onnx", "1.pt.tmp", "x/payload.json"])
counts = st.none() | st.integers(1, 60)


@given(st.lists(names, min_size=1, max_size=40, unique=True), st.lists(others, unique=True), counts, counts)
def test_every_partition_is_in_one_task_in_natural_order(
    partitions: list[str], beside: list[str], file_limit: int | None, world_size: int | None
) -> None:
    asked = payload(file_limit, world_size)
    chosen, _ = select(asked, listing(*partitions, *beside), None)
    tasks = plan(asked, chosen, MODEL)
    expected = sorted((f"25MB/{name}" for name in partitions), key=natural)[:file_limit]
    assert [ref.key for task in tasks for ref in task.partitions] == expected
    assert [task.rank for task in tasks] == list(range(len(tasks)))
    sizes = [len(task.partitions) for task in tasks]
    assert len(tasks) == min(world_size or len(expected), len(expected))
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(names, min_size=1, max_size=20, unique=True), counts)
def test_the_order_of_the_listing_is_of_no_consequence(partitions: list[str], file_limit: int | None) -> None:
    entries = listing(*partitions)
    assert select(payload(file_limit), entries[::-1], None) == select(payload(file_limit), entries, None)


@given(st.lists(names, min_size=1, max_size=20, unique=True), counts, counts)
def test_a_stored_plan_is_read_back(partitions: list[str], file_limit: int | None, world_size: int | None) -> None:
    asked = payload(file_limit, world_size)
    tasks = plan(asked, select(asked, listing(*partitions), None)[0], MODEL)
    assert decode_manifest(encode_manifest(tasks), "x") == tasks


def test_a_task_says_all_that_a_worker_needs() -> None:
    (task,) = plan(payload(), [PartitionRef("25MB/1.pt", 5, 3, "h")], MODEL)
    assert task == Task(0, "out", "results/one", "sky", (PartitionRef("25MB/1.pt", 5, 3, "h"),), MODEL, 7)
    assert (task.rows, task.size_bytes) == (3, 5)


def test_a_stored_plan_is_an_array_of_one_line_a_task() -> None:
    tasks = plan(payload(), select(payload(), listing("1.pt", "2.pt", "3.pt"), None)[0], MODEL)
    lines = encode_manifest(tasks).decode().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("[", "]", 5)


def test_fewer_partitions_than_asked_is_a_warning() -> None:
    chosen, warnings = select(payload(file_limit=516), listing("1.pt", "2.pt"), None)
    assert len(chosen) == 2
    assert warnings == ["file_limit is 516, but sky/25MB/ holds 2 partitions; all are taken"]


@pytest.mark.parametrize("file_limit", [None, 1, 2])
def test_as_many_as_asked_is_no_warning(file_limit: int | None) -> None:
    assert select(payload(file_limit), listing("1.pt", "2.pt"), None)[1] == []


def test_no_partition_is_an_error_that_says_what_was_there() -> None:
    with pytest.raises(SurveyError, match=r"no partition below sky/25MB/: found 2 other objects; expected .*\.pt"):
        select(payload(), listing("readme.txt", "index.json"), None)


def test_the_index_gives_rows_and_hashes() -> None:
    entries = listing("10.pt", "2.pt")
    chosen, _ = select(payload(), entries, index_for(entries))
    assert [(ref.key, ref.rows, ref.sha256) for ref in chosen] == [
        ("25MB/2.pt", 11, "hash of 25MB/2.pt"),
        ("25MB/10.pt", 10, "hash of 25MB/10.pt"),
    ]


def test_the_rows_of_a_task_are_known_only_if_those_of_all_its_partitions_are() -> None:
    known, unknown = PartitionRef("a", 1, 3), PartitionRef("b", 1)
    (task,) = plan(payload(world_size=1), [known, unknown], MODEL)
    assert task.rows is None


@pytest.mark.parametrize("file_limit", [None, 1])
def test_a_partition_of_the_index_that_is_not_there_is_an_error_even_beyond_the_limit(file_limit: int | None) -> None:
    entries = listing("1.pt", "2.pt", "10.pt")
    with pytest.raises(SurveyError, match=r"names 3 partitions with 33 rows, but 2 of them are not there.*25MB/2\.pt"):
        select(payload(file_limit), entries[:1], index_for(entries))


def test_a_partition_that_the_index_does_not_name_is_an_error() -> None:
    entries = listing("1.pt", "2.pt")
    with pytest.raises(SurveyError, match=r"25MB/2\.pt is not in the index of sky/25MB/; make the partitions again"):
        select(payload(), entries, index_for(entries[:1]))


def test_a_partition_of_another_size_than_the_index_says_is_an_error() -> None:
    entries = listing("1.pt", "2.pt")
    grown = [entries[0], Entry("25MB/2.pt", 999)]
    with pytest.raises(SurveyError, match=r"25MB/2\.pt has 999 bytes, the index says 101"):
        select(payload(), grown, index_for(entries))


def test_an_index_that_is_not_complete_is_an_error() -> None:
    entries = listing("1.pt")
    with pytest.raises(SurveyError, match=r"has not finished writing 10 rows there, or .* wait for it"):
        select(payload(), entries, index_for(entries, complete=False))


def test_an_index_of_a_hundred_thousand_partitions_is_checked_in_no_time() -> None:
    entries = listing(*(f"{number}.pt" for number in range(100_000)))
    chosen, _ = select(payload(), entries, index_for(entries))
    assert len(chosen) == 100_000


def test_an_index_is_read_back() -> None:
    index = index_for(listing("1.pt", "2.pt"))
    assert decode_index(index.encode(), "x") == index


garbage = st.binary() | st.sampled_from(
    [b"", b"[]", b"{}", b"[{}]", b"null", b'[{"rank": 0}]', b"[" * 100_000, b'"\xff"']
)


@given(garbage)
def test_what_is_no_plan_is_a_store_error(data: bytes) -> None:
    with pytest.raises(StoreError, match=r"out/manifest\.json: .*; run with --overwrite to plan anew"):
        decode_manifest(data, "out/manifest.json")


@given(garbage)
def test_what_is_no_index_is_a_survey_error(data: bytes) -> None:
    with pytest.raises(SurveyError, match=r"sky/index\.json: not an index .*; run 'skyfan partition' again"):
        decode_index(data, "sky/index.json")


def test_a_task_that_is_not_done_takes_its_partitions_as_they_are_now() -> None:
    asked = payload(world_size=2)
    before = plan(asked, select(asked, listing("1.pt", "2.pt", "3.pt"), None)[0], MODEL)
    now = [PartitionRef(f"25MB/{number}.pt", 900 + number, number) for number in (1, 2, 4)]
    first, second = refresh(before, asked, now, {0})
    assert first == before[0]
    assert second.partitions == (PartitionRef("25MB/2.pt", 902, 2), PartitionRef("25MB/3.pt", 102))


def test_what_a_script_may_take_can_be_changed_until_its_task_is_done() -> None:
    code = {"script": "run.py", "s3_object_name": "code", "script_memory_mb": 100.0}
    asked = msgspec.structs.replace(payload(world_size=2), **code)
    partitions = select(asked, listing("1.pt", "2.pt"), None)[0]
    before = plan(asked, partitions, ScriptRef("code", "code/run.py", "run.py", "folder", "h"))
    assert [task.rows for task in before] == [None, None]
    more = msgspec.structs.replace(asked, script_memory_mb=200.0, task_timeout_s=5.0)
    first, second = refresh(before, more, partitions, {0})
    assert first == before[0]
    assert second.setting is not None
    assert (second.setting.limits.memory_mb, second.setting.limits.timeout_s) == (200, 5)
    assert second.setting.world_size == 2
    assert decode_manifest(encode_manifest([first, second]), "m") == [first, second]
