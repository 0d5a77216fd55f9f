"""A run's catalogue: every row is in it once, with its flags, and nothing else is stored."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from factories import expected_z, make_rows, write_partition
from skyfan import stages
from skyfan.errors import PartitionError
from skyfan.payload import Payload
from skyfan.predictions import chain_parts, read_part
from skyfan.storage import Bucket, Store
from stages.runs import KEYS, ROWS, other, run, stored


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
    assert summary.problems[0].startswith("1 of 4 tasks failed (task 2); mend")
    assert "3.safetensors is not a safetensors file" in summary.failures[0].error.message


def test_partitions_in_one_task_need_the_same_columns(asked: dict[str, Any], store: Store, root: Path) -> None:
    rows = make_rows(8, 2)
    del rows["redshift"]
    write_partition(root / "sky" / "25MB" / "2.safetensors", arrays=rows)
    (task, *_) = stages.initialize(other(asked, world_size=1), store).tasks
    with pytest.raises(PartitionError, match=r"25MB/2\.safetensors: has the columns .*; expected .*redshift"):
        stages.infer(task, store)


def test_parts_of_unlike_columns_are_not_one_catalogue(payload: Payload, store: Store, root: Path) -> None:
    rows = make_rows(9)
    del rows["ra"]
    write_partition(root / "sky" / "25MB" / "3.safetensors", arrays=rows)
    _, summary = run(payload, store)
    assert not summary.complete
    (problem,) = summary.problems
    assert problem.startswith("the parts of 1 task have other columns than the others (task 2); they differ in ra (")


def test_fewer_partitions_than_asked_is_a_warning_in_the_summary(asked: dict[str, Any], store: Store) -> None:
    _, summary = run(other(asked, file_limit=516), store)
    assert summary.warnings == ["file_limit is 516, but sky/25MB/ holds 4 partitions; all are taken"]
    assert summary.complete
