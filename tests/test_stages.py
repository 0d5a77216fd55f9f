"""Initialize, infer, summarize in one process: what a run keeps, does again, and refuses."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx.numpy_helper
import pyarrow as pa
import pytest

from factories import expected_z, make_rows, tiny_model, write_partition
from skyfan import stages, staging
from skyfan.errors import ClaimedError, KeyNameError, ModelError, PartitionError, SkyfanError, StoreError, SurveyError
from skyfan.keys import RunKeys
from skyfan.partitions import Index, PartitionRef
from skyfan.payload import Payload, parse_payload
from skyfan.predictions import chain_parts, read_part
from skyfan.storage import Bucket, Store
from skyfan.summary import Drive, Summary

KEYS = RunKeys("results/one")
DRIVE = Drive(started_at="", run_wall_s=1.0, map_wall_s=1.0)
ROWS = [7, 8, 9, 10]


@pytest.fixture
def payload(asked: dict[str, Any]) -> Payload:
    return parse_payload(asked)[0]


@pytest.fixture
def bucket(store: Store) -> Bucket:
    return store.bucket("sky")


def ranks(tasks: list[Any]) -> list[int]:
    return [task.rank for task in tasks]


def run(payload: Payload, store: Store, **options: Any) -> tuple[list[int], Summary]:
    """Do what an engine does, here; return the ranks that were done now, and the summary."""
    plan = stages.initialize(payload, store, **options)
    for task in plan.pending:
        try:
            stages.infer(task, store)
        except SkyfanError:
            continue
    return ranks(plan.pending), stages.summarize(payload, plan.tasks, store, DRIVE, plan.warnings)


def stored(bucket: Bucket) -> dict[str, bytes | None]:
    return {entry.key: bucket.get(entry.key) for entry in bucket.list("results")}


def other(asked: dict[str, Any], **changes: Any) -> Payload:
    return parse_payload(asked | changes)[0]


def test_every_row_is_in_the_catalogue_once(payload: Payload, store: Store, bucket: Bucket) -> None:
    done, summary = run(payload, store)
    assert done == [0, 1, 2, 3]
    assert summary.complete
    assert summary.rows_in == summary.rows_out == sum(ROWS)
    parts = [(KEYS.part(rank), bucket.get(KEYS.part(rank)) or b"") for rank in range(4)]
    table = pa.table(chain_parts(parts))
    expected = np.concatenate([expected_z(make_rows(6 + number, number)) for number in range(1, 5)])
    np.testing.assert_allclose(table["z_phot"].to_numpy(), expected, rtol=1e-5)
    assert table["row"].to_pylist() == [row for rows in ROWS for row in range(rows)]


def test_a_run_stores_what_it_says_and_nothing_else(payload: Payload, store: Store, bucket: Bucket) -> None:
    run(payload, store)
    ranked = {name(rank) for rank in range(4) for name in (KEYS.part, KEYS.report)}
    assert set(stored(bucket)) == ranked | {KEYS.payload, KEYS.manifest, KEYS.combined, KEYS.summary}


def test_a_memory_store_works_as_well(store: Store, bucket: Bucket, payload: Payload, tmp_path: Path) -> None:
    memory = Store(f"memory://{tmp_path}")
    for folder in ("25MB", "models"):
        for entry in bucket.list(folder):
            memory.bucket("sky").put(entry.key, bucket.get(entry.key) or b"")
    assert run(payload, memory)[1].complete
    run(payload, store)
    assert memory.bucket("sky").get(KEYS.part(2)) == bucket.get(KEYS.part(2))


def test_a_finished_run_is_not_done_again(payload: Payload, store: Store, bucket: Bucket) -> None:
    run(payload, store)
    before = stored(bucket)
    plan = stages.initialize(payload, store)
    assert plan.pending == []
    assert stored(bucket) == before


@pytest.mark.parametrize("rank", range(4))
@pytest.mark.parametrize("what", ["report", "part"])
def test_what_is_deleted_of_a_task_has_that_task_done_again_and_no_other(
    payload: Payload, store: Store, bucket: Bucket, rank: int, what: str
) -> None:
    run(payload, store)
    before = stored(bucket)
    bucket.delete([getattr(KEYS, what)(rank)])
    done, summary = run(payload, store)
    assert done == [rank]
    assert summary.complete
    assert {key for key in before if before[key] != bucket.get(key)} <= {KEYS.report(rank), KEYS.combined, KEYS.summary}


@pytest.mark.parametrize("what", ["payload", "manifest", "combined", "summary"])
def test_any_other_object_that_is_deleted_is_written_again_without_a_task_done_twice(
    payload: Payload, store: Store, bucket: Bucket, what: str
) -> None:
    run(payload, store)
    reports = {key: data for key, data in stored(bucket).items() if key.startswith(KEYS.reports)}
    bucket.delete([getattr(KEYS, what)])
    _, summary = run(payload, store)
    assert summary.complete
    assert bucket.get(getattr(KEYS, what)) is not None
    if what != "manifest":  # without its plan, a run does not know what its reports are of
        assert {key: bucket.get(key) for key in reports} == reports


def test_a_task_done_twice_gives_the_same_part(payload: Payload, store: Store, bucket: Bucket) -> None:
    run(payload, store)
    before = bucket.get(KEYS.part(1))
    stages.infer(stages.preview(payload, store).tasks[1], store, attempt=2)
    assert bucket.get(KEYS.part(1)) == before
    assert run(payload, store)[1].complete


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 5}, r"batch_size 4 \(asked now: 5\)"),
        ({"file_limit": 2}, r"file_limit None \(asked now: 2\)"),
        ({"data_prefix": "50MB"}, r"data_prefix '25MB' \(asked now: '50MB'\)"),
        ({"S3_object_name": "code"}, r"S3_object_name None \(asked now: 'code'\)"),
        ({"model": "models/x.onnx", "world_size": 3}, r"model .*, world_size None \(asked now: 3\)"),
    ],
)
def test_another_payload_on_the_path_is_refused_by_its_keys(
    payload: Payload, asked: dict[str, Any], store: Store, bucket: Bucket, change: dict[str, Any], said: str
) -> None:
    run(payload, store)
    before = stored(bucket)
    with pytest.raises(ClaimedError, match=rf"sky/results/one: .* another payload, with {said}; expected the same"):
        stages.initialize(other(asked, **change), store)
    assert stored(bucket) == before


def test_one_may_try_harder_on_the_same_path(payload: Payload, asked: dict[str, Any], store: Store) -> None:
    run(payload, store)
    harder = other(asked, max_attempts=9, task_timeout_s=5, max_concurrency=1, tolerated_failure_count=2)
    assert stages.initialize(harder, store).pending == []


def test_overwrite_replaces_another_run(payload: Payload, asked: dict[str, Any], store: Store, bucket: Bucket) -> None:
    run(payload, store)
    done, summary = run(other(asked, world_size=2), store, overwrite=True)
    assert done == [0, 1]
    assert summary.complete
    assert bucket.get(KEYS.part(2)) is bucket.get(KEYS.report(2)) is None


def test_overwrite_leaves_what_is_not_the_runs_own(payload: Payload, store: Store, bucket: Bucket) -> None:
    run(payload, store)
    mine = ["results/one/notes.txt", "results/one/sub/part-00000.parquet", "results/one-more/payload.json"]
    for key in mine:
        bucket.put(key, b"mine")
    run(payload, store, overwrite=True)
    assert [bucket.get(key) for key in mine] == [b"mine"] * 3


def test_overwrite_leaves_a_run_within_the_runs_folder(payload: Payload, store: Store, bucket: Bucket) -> None:
    inner = RunKeys(f"{KEYS.predictions}/inner")
    bucket.put(inner.part(0), b"another run's")
    run(payload, store)
    run(payload, store, overwrite=True)
    assert bucket.get(inner.part(0)) == b"another run's"


@pytest.mark.parametrize(
    "change", [{"data_prefix": "none"}, {"model": "models/none.onnx"}, {"model": "25MB/1.safetensors"}]
)
def test_a_run_that_cannot_be_planned_overwrites_nothing(
    payload: Payload, asked: dict[str, Any], store: Store, bucket: Bucket, change: dict[str, Any]
) -> None:
    run(payload, store)
    before = stored(bucket)
    with pytest.raises((SurveyError, ModelError)):
        stages.initialize(other(asked, **change), store, overwrite=True)
    assert stored(bucket) == before


@pytest.mark.parametrize(
    "change", [{"data_prefix": "none"}, {"model": "models/none.onnx"}, {"data_prefix": "25MB-old"}]
)
def test_a_run_that_cannot_be_planned_claims_nothing(
    asked: dict[str, Any], store: Store, bucket: Bucket, change: dict[str, Any]
) -> None:
    with pytest.raises((SurveyError, ModelError)):
        stages.initialize(other(asked, **change), store)
    assert stored(bucket) == {}


def test_a_preview_writes_nothing_at_all(payload: Payload, asked: dict[str, Any], store: Store, root: Path) -> None:
    images = np.random.default_rng(1).normal(size=(4, 5, 32, 32)).astype(np.float32)
    write_partition(root / "sky" / "50MB" / "1.safetensors", arrays=make_rows(4) | {"image": images})
    before = sorted(root.rglob("*"))
    assert len(stages.preview(payload, store).tasks) == 4
    assert len(stages.preview(other(asked, bucket="new", model="photoz-sim-2", data_prefix="50MB"), store).tasks) == 1
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 99])
def test_tasks_of_several_partitions_give_the_same_catalogue(
    asked: dict[str, Any], store: Store, bucket: Bucket, world_size: int
) -> None:
    _, summary = run(other(asked, world_size=world_size), store)
    assert summary.complete
    assert summary.tasks == min(world_size, 4)
    assert summary.rows_out == sum(ROWS)
    tables = [read_part(bucket.get(KEYS.part(rank)) or b"", "x").read_all() for rank in range(summary.tasks)]
    sources = [source for table in tables for source in table.column("source").to_pylist()]
    assert sources == [f"25MB/{number}.safetensors" for number, rows in enumerate(ROWS, 1) for _ in range(rows)]
    z_phot = np.concatenate([table.column("z_phot").to_numpy() for table in tables])
    expected = np.concatenate([expected_z(make_rows(6 + number, number)) for number in range(1, 5)])
    np.testing.assert_allclose(z_phot, expected, rtol=1e-5)


def test_a_bad_row_is_in_the_catalogue_with_its_flag(payload: Payload, store: Store, root: Path) -> None:
    rows = make_rows(7, 1)
    rows["magnitude"][3, 0] = np.nan
    write_partition(root / "sky" / "25MB" / "1.safetensors", arrays=rows)
    _, summary = run(payload, store)
    assert summary.complete
    assert (summary.rows_flagged, summary.flags) == (1, {"non_finite_magnitude": 1})


def test_a_bad_partition_fails_its_task_and_the_reason_is_stored(payload: Payload, store: Store, root: Path) -> None:
    (root / "sky" / "25MB" / "3.safetensors").write_bytes(b"not a partition")
    _, summary = run(payload, store)
    assert summary.problems[0].startswith("1 of 4 tasks failed: 2; mend")
    assert "3.safetensors is not a safetensors file" in summary.failures[0].error.message


def test_a_mended_partition_is_taken_when_the_run_goes_on(payload: Payload, store: Store, root: Path) -> None:
    path = root / "sky" / "25MB" / "3.safetensors"
    path.write_bytes(b"not a partition")
    run(payload, store)
    write_partition(path, rows=9, seed=3)
    done, summary = run(payload, store)
    assert done == [2]
    assert summary.complete
    assert "1 changed;" in summary.warnings[0]


def test_partitions_in_one_task_need_the_same_columns(asked: dict[str, Any], store: Store, root: Path) -> None:
    rows = make_rows(8, 2)
    del rows["redshift"]
    write_partition(root / "sky" / "25MB" / "2.safetensors", arrays=rows)
    (task, *_) = stages.initialize(other(asked, world_size=1), store).tasks
    with pytest.raises(PartitionError, match=r"25MB/2\.safetensors: has the columns .*; expected .*redshift"):
        stages.infer(task, store)


def test_a_partition_that_came_since_the_plan_is_a_warning_and_is_left_out(
    payload: Payload, store: Store, root: Path
) -> None:
    run(payload, store)
    write_partition(root / "sky" / "25MB" / "5.safetensors", rows=3)
    done, summary = run(payload, store)
    assert done == []
    assert (summary.complete, summary.partitions) == (True, 4)
    assert "1 partitions came, 0 went and 0 changed;" in summary.warnings[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), "is not there any more; put it back, or plan anew with --overwrite"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "has .* bytes, .* when the run was planned"),
    ],
    ids=["gone", "grown"],
)
def test_a_partition_that_changed_since_the_plan_fails_its_task(
    payload: Payload, store: Store, root: Path, change: Any, said: str
) -> None:
    task = stages.initialize(payload, store).tasks[1]
    change(root / "sky" / "25MB" / "2.safetensors")
    with pytest.raises(PartitionError, match=rf"sky/25MB/2\.safetensors: {said}"):
        stages.infer(task, store)


def test_a_model_that_changed_since_the_plan_is_an_error(
    payload: Payload, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(payload, store)
    monkeypatch.setattr(staging, "_LOADED", {})  # as in a worker that has not loaded the old one
    store.bucket("sky").delete([KEYS.report(1)])
    tiny_model(root / "sky" / "models" / "tiny.onnx", metadata={"version": "another"})
    (task,) = stages.initialize(payload, store).pending
    with pytest.raises(ModelError, match=r"model models/tiny\.onnx: its hash is .*, expected .* put the old file back"):
        stages.infer(task, store)


def test_a_model_that_does_not_fit_is_refused_before_anything_is_claimed(
    asked: dict[str, Any], store: Store, root: Path, bucket: Bucket
) -> None:
    tiny_model(root / "sky" / "models" / "other.onnx", image="cutout")
    with pytest.raises(PartitionError, match="no tensor 'cutout'"):
        stages.initialize(other(asked, model="models/other.onnx"), store)
    assert stored(bucket) == {}


@pytest.mark.parametrize("name", ["models/none.onnx", "none", "x" * 255])
def test_a_model_that_is_not_there_says_what_was_expected(asked: dict[str, Any], store: Store, name: str) -> None:
    with pytest.raises(ModelError, match=r"there is no such object in bucket 'sky'|ships with skyfan; there is"):
        stages.preview(other(asked, model=name), store)


def test_a_script_without_a_model_is_refused_for_now(asked: dict[str, Any], store: Store) -> None:
    del asked["model"]
    with pytest.raises(ModelError, match=r"'script' is 'x\.py' and there is no 'model'; this version runs ONNX models"):
        stages.preview(other(asked, script="x.py"), store)


def test_fewer_partitions_than_asked_is_a_warning_in_the_summary(asked: dict[str, Any], store: Store) -> None:
    _, summary = run(other(asked, file_limit=516), store)
    assert summary.warnings == ["file_limit is 516, but sky/25MB/ holds 4 partitions; all are taken"]
    assert summary.complete


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null"])
def test_a_damaged_plan_is_an_error_that_says_how_to_go_on(
    payload: Payload, store: Store, bucket: Bucket, data: bytes
) -> None:
    run(payload, store)
    bucket.put(KEYS.manifest, data)
    with pytest.raises(StoreError, match=r"manifest.*run with --overwrite to plan anew"):
        stages.initialize(payload, store)
    assert run(payload, store, overwrite=True)[1].complete


def test_a_damaged_claim_is_an_error_and_can_be_overwritten(payload: Payload, store: Store, bucket: Bucket) -> None:
    bucket.put(KEYS.payload, b"{")
    with pytest.raises(SkyfanError, match=r"sky/results/one/payload\.json"):
        stages.initialize(payload, store)
    assert run(payload, store, overwrite=True)[1].complete


def test_reports_of_an_abandoned_plan_do_not_spoil_the_next(payload: Payload, store: Store, root: Path) -> None:
    folder = root / "sky" / "25MB"
    good = {path: path.read_bytes() for path in folder.iterdir()}
    for path in good:
        path.write_bytes(b"not a partition")
    assert run(payload, store)[1].tasks_failed == 4
    for path, data in good.items():
        path.write_bytes(data)
    (folder / "4.safetensors").unlink()
    done, summary = run(payload, store)
    assert done == [0, 1, 2]
    assert summary.problems == []


def test_a_late_failed_attempt_does_not_undo_a_task_that_is_done(
    payload: Payload, store: Store, bucket: Bucket
) -> None:
    _, summary = run(payload, store)
    assert summary.complete
    task = stages.preview(payload, store).tasks[0]
    stages.record_failure(task, bucket, 2, StoreError("too late"))
    assert stages.preview(payload, store).pending == []


def test_parts_of_unlike_columns_are_not_one_catalogue(payload: Payload, store: Store, root: Path) -> None:
    rows = make_rows(9)
    del rows["ra"]
    write_partition(root / "sky" / "25MB" / "3.safetensors", arrays=rows)
    _, summary = run(payload, store)
    assert not summary.complete
    (problem,) = summary.problems
    assert problem.startswith("the parts of 1 task have other columns than the others: 2; they differ in ra (Float64)")


@pytest.mark.parametrize("length", [1, 60, 200])
def test_a_model_with_weights_in_another_file_is_refused(
    asked: dict[str, Any], store: Store, root: Path, length: int
) -> None:
    model = onnx.load(root / "sky" / "models" / "tiny.onnx")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(4096, np.float32), "unused"))
    weights = "w" * length + ".bin"
    onnx.save(model, root / "sky" / "ext.onnx", save_as_external_data=True, location=weights, size_threshold=1024)
    assert (root / "sky" / weights).is_file()
    with pytest.raises(ModelError, match="keeps weights in another file"):
        stages.preview(other(asked, model="ext.onnx"), store)


def test_an_empty_model_is_refused(asked: dict[str, Any], store: Store, root: Path) -> None:
    (root / "sky" / "empty.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"empty\.onnx: cannot be loaded as ONNX"):
        stages.preview(other(asked, model="empty.onnx"), store)


def test_a_task_that_a_twin_has_done_is_not_done_again(payload: Payload, store: Store, bucket: Bucket) -> None:
    _, summary = run(payload, store)
    assert summary.complete
    task = stages.preview(payload, store).tasks[0]
    before = bucket.get(KEYS.report(0))
    assert stages.infer(task, store, attempt=2).attempt == 1
    assert bucket.get(KEYS.report(0)) == before
    bucket.delete([KEYS.part(0)])
    assert stages.infer(task, store, attempt=2).attempt == 2


def test_a_resumed_run_has_no_verdict_until_it_ends(payload: Payload, store: Store, bucket: Bucket) -> None:
    run(payload, store)
    bucket.delete([KEYS.part(0)])
    stages.initialize(payload, store)
    assert bucket.get(KEYS.summary) is None


def test_a_run_sweeps_up_after_its_own_killed_writers_only(payload: Payload, store: Store, root: Path) -> None:
    run(payload, store)
    folder = root / "sky" / "results"
    left = {"one/reports/00000.json#1": False, "one/field#12": True, "one/two/reports/00000.json#1": True}
    for name in left:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    stages.initialize(payload, store)
    assert {name: (folder / name).exists() for name in left} == left


def test_no_key_of_a_plan_leaves_the_store(payload: Payload, store: Store, root: Path) -> None:
    write_partition(root.parent / "secret.safetensors", rows=7)
    task = stages.preview(payload, store).tasks[0]
    for key in ("../../secret.safetensors", str(root.parent / "secret.safetensors")):
        bad = msgspec.structs.replace(task, partitions=(msgspec.structs.replace(task.partitions[0], key=key),))
        with pytest.raises(KeyNameError):
            stages.infer(bad, store)


def test_an_incomplete_set_below_the_prefix_is_refused(store: Store, root: Path, asked: dict[str, Any]) -> None:
    below = root / "sky" / "25MB" / "new"
    below.mkdir()
    write_partition(below / "1.safetensors", rows=3)
    (below / "index.json").write_bytes(b"{}")  # somebody else's
    assert len(stages.preview(parse_payload(asked)[0], store).tasks) == 5
    (below / "index.json").write_bytes(msgspec.json.encode(Index(1, 3, False, [])))
    with pytest.raises(SurveyError, match=r"25MB/new/: its index.json says that .* has not finished writing 3 rows"):
        stages.preview(parse_payload(asked)[0], store)


def test_a_partition_that_changed_at_the_same_size_is_told_on_resume() -> None:
    before = PartitionRef("a", 10, 1, "one")
    assert stages._changed(before, PartitionRef("a", 10, 1, "two"))
    assert stages._changed(before, PartitionRef("a", 11))
    assert not stages._changed(before, PartitionRef("a", 10))
    assert not stages._changed(before, before)
