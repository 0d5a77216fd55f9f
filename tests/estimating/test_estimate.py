"""Surveys that are made up, and payloads that are only reckoned."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

import skyfan
from skyfan.cli.estimates import cost_rows, outlook_rows
from skyfan.errors import InputError
from skyfan.estimating.bill import MB_BYTES
from skyfan.estimating.estimate import Asked, estimate
from skyfan.estimating.volume import Volume
from speeds import profile

MB25 = 25 * MB_BYTES


def test_the_original_survey_is_517_partitions() -> None:
    found = Volume.imagined(row_bytes=20_520, partition_bytes=MB25, rows=659_817)
    assert (found.tasks, found.partitions, found.rows, found.rows_known) == (517, 517, 659_817, True)
    assert found.bytes_in == 659_817 * 20_520


@given(
    rows=st.integers(1, 10**9),
    row_bytes=st.floats(1, 1e5),
    partition_bytes=st.integers(10**5, 10**9),
    world_size=st.one_of(st.none(), st.integers(1, 10**6)),
)
def test_what_is_made_up_adds_up(rows: int, row_bytes: float, partition_bytes: int, world_size: int | None) -> None:
    found = Volume.imagined(row_bytes=row_bytes, partition_bytes=partition_bytes, rows=rows, world_size=world_size)
    assert found.tasks <= found.partitions <= rows
    assert found.partitions_of_a_task * found.tasks >= found.partitions
    assert found.shares[0].rows * found.tasks == pytest.approx(rows)
    assert found.largest_partition_bytes <= partition_bytes
    by_bytes = Volume.imagined(row_bytes=row_bytes, partition_bytes=partition_bytes, data_bytes=found.bytes_in + 1)
    assert by_bytes.rows == pytest.approx(rows, abs=2)
    assert not by_bytes.rows_known


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "one of --data and --rows"),
        ({"data": "1TB", "rows": 5.0}, "one of --data and --rows"),
        ({"data": "many"}, "not a size"),
        ({"rows": 0.0}, "expected 1 to"),
        ({"rows": float("nan")}, "expected 1 to"),
        ({"rows": float("inf")}, "expected 1 to"),
        ({"rows": 1e20}, "expected 1 to"),
        ({"data": "9" * 400 + "TB"}, "data: is more than 1e+20 bytes"),
        ({"data": "9" * 5000}, "data: is more than 1e+20 bytes"),
        ({"rows": 5.0, "partition_size": "9" * 400}, "partition size: is more than 1e+20 bytes"),
        ({"rows": 5.0, "partition_size": "1KB"}, "row of 20520 bytes"),
        ({"rows": 5.0, "workers": 2}, "workers: got 2"),
        ({"rows": 5.0, "engine": "local", "memory": 2048}, "memory: got 2048"),
        ({"rows": 5.0, "memory": 64}, "128 to 10240"),
        ({"rows": 5.0, "concurrency": 0}, "concurrency: got 0"),
        ({"rows": 5.0, "threads": -1}, "threads: got -1"),
        ({"rows": 5.0, "seed": -1}, "seed: got -1"),
        ({"rows": 5.0, "speed": "a", "from_run": "b/c"}, "one of --speed and --from-run"),
        ({"rows": 5.0, "speed": "absent.json"}, "absent.json"),
    ],
)
def test_what_cannot_be_made_up_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        estimate(None, Asked(**asked))


def listing(root: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_a_payload_is_reckoned_and_nothing_is_written(root: Path, asked: dict[str, Any]) -> None:
    before = listing(root)
    title, found = estimate(asked, Asked(store=root, workers=1))
    assert listing(root) == before
    assert title == "sky/results/one"
    assert (found.engine, found.tasks, found.partitions, found.workers, found.factor) == ("local", 4, 4, 1, 4.0)
    assert not found.rows_known
    assert "rows are reckoned from bytes" in " | ".join(found.basis)
    _, same = estimate(asked, Asked(store=root, engine="aws", concurrency=2))
    assert (same.engine, same.tasks, same.workers) == ("aws", 4, 2)
    assert listing(root) == before


def test_what_a_payload_cannot_be_asked(root: Path, asked: dict[str, Any]) -> None:
    for wrong in ({"data": "1TB"}, {"rows": 5.0}, {"partition_size": "25MB"}):
        with pytest.raises(InputError, match="only without a payload"):
            estimate(asked, Asked(store=root, **wrong))


def test_tasks_that_are_done_tell_the_speed_of_the_others(
    root: Path, asked: dict[str, Any], finished: skyfan.Run
) -> None:
    for report in (root / "sky" / asked["result_path"] / "reports").glob("*2.json"):
        report.unlink()
    _, found = estimate(asked, Asked(store=root, workers=1))
    assert found.tasks == 1
    assert found.factor < 4
    assert "as a run's reports have it" in found.basis[0]


def test_a_run_that_is_done_and_a_path_that_is_taken_are_reckoned_anew(
    root: Path, asked: dict[str, Any], finished: skyfan.Run
) -> None:
    _, again = estimate(asked, Asked(store=root))
    assert again.tasks == 4
    assert "all tasks are done" in again.warnings[0]
    assert "as a run's reports have it" in again.basis[0]
    _, other = estimate(asked, Asked(store=root, batch_size=2, from_run=finished.id))
    assert "another payload" in other.warnings[0]
    assert "measured with batch size 4, not 2" in " | ".join(other.basis)


number = st.one_of(st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 1.0, 9e14]), st.floats(0, 1e15, exclude_max=True))


@given(
    rate=number,
    row_bytes=number,
    seconds=st.tuples(number, number, number),
    spread=number,
    workers=st.integers(1, 10**14),
    asked=st.sampled_from([{"rows": 1000.0}, {"data": "1TB"}, {"rows": 1e14}, {"rows": 5.0, "engine": "local"}]),
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_numbers_a_profile_has_it_is_reckoned_or_refused(
    tmp_path: Path,
    rate: float,
    row_bytes: float,
    seconds: tuple[float, float, float],
    spread: float,
    workers: int,
    asked: dict[str, Any],
) -> None:
    times = dict(zip(("s_per_mb", "s_per_task", "s_per_cold_start"), seconds, strict=True))
    found = profile(row_bytes=row_bytes, spread=spread, **times)
    points = tuple(structs.replace(point, rows_per_s=rate, workers=workers) for point in found.points)
    path = tmp_path / "profile.json"
    path.write_bytes(structs.replace(found, points=points).encode())
    with suppress(InputError):
        title, known = estimate(None, Asked(speed=path, **asked))
        assert title
        outlook_rows(known), cost_rows(known)


def test_a_profile_from_a_file_and_a_region_without_prices(root: Path, asked: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(profile().encode())
    _, found = estimate(None, Asked(rows=1e6, speed=path, region="xx-nowhere-9"))
    assert "500 rows/s" in found.basis[0]
    assert any("xx-nowhere-9" in text for text in found.warnings)
    path.write_text("{}")
    with pytest.raises(InputError, match="profile"):
        estimate(asked, Asked(store=root, speed=path))
