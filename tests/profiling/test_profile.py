"""A profile: what reports tell, which point answers a question, and what is refused as one."""

import json
import math
import statistics
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

import skyfan
from skyfan.errors import InputError
from skyfan.estimating.bill import MB_BYTES, Speed
from skyfan.host import describe_host, usable_cores
from skyfan.partitions import PartitionRef
from skyfan.profiling.profile import (
    Point,
    Profile,
    check_target,
    decode_profile,
    load_profile,
    profile_of_reports,
    save_profile,
)
from skyfan.profiling.rates import rates_of, side_by_side, spread_of
from skyfan.task import ModelRef, Report, Seconds

MODEL = ModelRef("models/tiny.onnx", "ab" * 32)


def report(**changes: Any) -> Report:
    """A task of 100 rows and 2 MiB: 1 s by rows, 0.02 s by MiB, 0.03 s besides, in a worker that was up."""
    base = Report(
        rank=0,
        status="ok",
        attempt=1,
        partitions=(PartitionRef("a/1.safetensors", 2 * MB_BYTES, 100, "cd" * 32),),
        rows_in=100,
        rows_out=100,
        model=MODEL,
        batch_size=32,
        seconds=Seconds(total=1.05, open=0.004, hash=0.016, read=0.1, predict=0.8, write=0.1),
        peak_memory_mb=120.0,
        started_at="2026-11-24T12:00:00.000+00:00",
        ended_at="2026-11-24T12:00:01.050+00:00",
        worker="host:1",
        machine="One, 4 cores",
        versions={"skyfan": "1"},
    )
    return structs.replace(base, **changes)


def cold(**changes: Any) -> Report:
    """The same as the first of its worker, which took 0.7 s to its first batch, and 0.3 s to load the model."""
    seconds = Seconds(total=1.35, model=0.3, open=0.004, hash=0.016, read=0.1, predict=0.8, write=0.1)
    return report(**({"seconds": seconds, "first_prediction_s": 0.7, "peak_memory_mb": 130.0} | changes))


def point(**changes: Any) -> Point:
    base = Point(batch_size=32, threads=1, workers=1, rows_per_s=100.0, peak_memory_mb=100.0, rows=1000)
    return structs.replace(base, **changes)


def profile(*points: Point, **changes: Any) -> Profile:
    base = Profile(
        model=MODEL,
        machine="One, 4 cores",
        cores=4,
        origin="measured",
        measured_at="2026-11-24T12:00:00.000+00:00",
        row_bytes=20_520.0,
        s_per_mb=0.01,
        s_per_task=0.03,
        s_per_cold_start=0.4,
        spread=0.05,
        points=points or (point(),),
    )
    return structs.replace(base, **changes)


def test_reports_give_the_seconds_by_what_they_grow_with() -> None:
    rates = rates_of([cold(), report(), report()])
    assert rates.s_per_row == pytest.approx(0.01)
    assert rates.s_per_mb == pytest.approx(0.01)
    assert rates.s_per_task == pytest.approx(0.03)
    assert rates.s_to_load == pytest.approx(0.3)
    assert rates.row_bytes == pytest.approx(2 * MB_BYTES / 100)
    assert rates_of([report()]).s_to_load is None


def test_reports_give_a_profile() -> None:
    found = profile_of_reports([cold(), report(), report(batch_size=64), report(threads=2)], data="sky/a")
    assert [(each.threads, each.batch_size) for each in found.points] == [(1, 32), (1, 64), (2, 32)]
    first = found.points[0]
    assert first.rows_per_s == pytest.approx(100)
    assert first.peak_memory_mb == 130.0  # of cold tasks too
    assert first.rows == 100  # the cold task tells nothing of the speed where another does
    assert (found.origin, found.data, found.machine, found.cores) == ("reports", "sky/a", "One, 4 cores", 0)
    assert found.s_per_task == pytest.approx(0.03)
    # 0.7 s, less 0.02 s to open and hash, less a batch of 32 rows at 0.01 s
    assert found.s_per_cold_start == pytest.approx(0.7 - 0.02 - 0.32)
    assert found.versions == {"skyfan": "1"}
    assert found.notes == ()


def test_a_first_batch_is_never_larger_than_its_task() -> None:
    first = cold(batch_size=512, first_prediction_s=2.0)
    assert profile_of_reports([first]).s_per_cold_start == pytest.approx(2.0 - 0.02 - 1.0)


def test_this_machine_has_known_cores() -> None:
    assert profile_of_reports([cold(machine=describe_host())]).cores == usable_cores()


def test_several_machines_and_reports_left_out_are_said() -> None:
    found = profile_of_reports([cold(), report(machine="Two, 8 cores"), report(status="failed"), report(rows_out=0)])
    assert found.machine == "One, 4 cores + Two, 8 cores"
    left_out, mixed = found.notes
    assert "2 of 4 reports are left out" in left_out
    assert "of several machines, whose speeds are mixed: One, 4 cores + Two, 8 cores" in mixed


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ([], "got 0 reports of 0 rows"),
        ([report(status="failed")], "expected tasks that are done and were timed"),
        ([report()], "none of 1 task was the first of its worker"),
        ([cold(), report(model=ModelRef("b.onnx", "cd"))], r"of the models b\.onnx, models/tiny\.onnx; expected those"),
        ([cold(model=None)], "of the models none; expected those of one model"),
    ],
)
def test_reports_that_tell_too_little_are_refused(reports: list[Report], message: str) -> None:
    with pytest.raises(InputError, match=message):
        profile_of_reports(reports)


def test_workers_side_by_side_are_counted_by_machine() -> None:
    def at(worker: str, start: int, end: int) -> Report:
        return report(worker=worker, started_at=f"2026-11-24T12:00:0{start}", ended_at=f"2026-11-24T12:00:0{end}")

    one_after_the_other = [at("a:1", 0, 1), at("a:2", 1, 2)]
    assert side_by_side(one_after_the_other) == 1
    assert side_by_side([*one_after_the_other, at("a:3", 0, 3)]) == 2
    assert side_by_side([at("a:1", 0, 2), at("b:1", 0, 2)]) == 1
    on_aws = [structs.replace(at(f"a:{n}", 0, 2), machine="AWS Lambda arm64, 1769 MB") for n in range(3)]
    assert side_by_side(on_aws) == 1


def test_the_spread_is_of_tasks_that_were_up() -> None:
    seconds = [1.0, 1.1, 1.3]
    group = [report(seconds=Seconds(total=each, predict=0.9)) for each in seconds]
    expected = statistics.stdev(math.log(each) for each in seconds)
    assert spread_of([[*group, cold(seconds=Seconds(total=9.0, predict=9.0))]]) == pytest.approx(expected)
    twice_as_slow = [report(seconds=Seconds(total=2 * each, predict=0.9)) for each in seconds]
    assert spread_of([group, twice_as_slow]) == pytest.approx(expected)  # groups differ, tasks within them do not more
    assert spread_of([[report()], []]) == 0.0


def test_the_point_that_was_measured_is_found_and_another_says_so() -> None:
    found = profile(
        point(batch_size=16), point(batch_size=64), point(batch_size=64, workers=2), point(batch_size=128, threads=2)
    )
    assert found.point(64) == found.points[1]
    assert found.point(64).unlike(64) == ""
    near = found.point(100)
    assert near == found.points[1]
    assert near.unlike(100) == "measured with batch size 64, not 100"
    assert found.point(32).batch_size == 64  # as near as 16: the larger never promises too little memory
    assert found.point(16, workers=2) == found.points[2]  # workers count more than batch size
    other = found.point(16, threads=4, workers=1)
    assert other == found.points[3]
    assert other.unlike(16, 4, 1) == "measured with batch size 128, not 16, threads 2, not 4"


@pytest.mark.parametrize(
    ("name", "asked"), [("batch_size", {"batch_size": 0}), ("threads", {"batch_size": 1, "threads": -1})]
)
def test_a_point_of_nothing_is_refused(name: str, asked: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"{name}: got"):
        profile().point(**asked)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=8, unique=True), st.integers(1, 10_000))
def test_no_measured_batch_size_is_nearer(sizes: list[int], asked: int) -> None:
    found = profile(*(point(batch_size=size) for size in sizes)).point(asked)
    assert abs(math.log(found.batch_size / asked)) <= min(abs(math.log(size / asked)) for size in sizes) + 1e-9
    assert (found.unlike(asked) == "") == (asked in sizes)


def test_what_is_best() -> None:
    small, fast, large = (
        point(batch_size=16, rows_per_s=97.0, peak_memory_mb=100.0),
        point(batch_size=64, rows_per_s=100.0, peak_memory_mb=180.0),
        point(batch_size=8, rows_per_s=60.0, peak_memory_mb=90.0),
    )
    found = profile(small, fast, large)
    assert (found.fastest, found.smallest, found.thrifty()) == (fast, large, small)
    side_by_side_ = point(workers=2, rows_per_s=80.0)
    assert profile(small, fast, side_by_side_).fastest == side_by_side_
    assert side_by_side_.rows_per_s_workers_sum == 160.0


def test_the_speed_is_that_of_the_estimate() -> None:
    found = profile(point(rows_per_s=250.0))
    expected = Speed(s_per_row=0.004, s_per_mb=0.01, s_per_task=0.03, s_per_cold_start=0.4)
    assert found.speed(found.points[0]) == expected


def test_a_profile_comes_back_as_it_was() -> None:
    found = profile(point(), point(batch_size=64), versions={"numpy": "2"}, notes=("random",))
    assert decode_profile(found.encode(), "p.json") == found


def spoilt(**changes: Any) -> bytes:
    return msgspec.json.encode(json.loads(profile().encode()) | changes)


GOOD_POINT = json.loads(msgspec.json.encode(point()))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "p.json: is not a profile"),
        (b"[1]", "p.json: is not a profile"),
        (b"{}", "missing required field `schema`"),
        (b"[" * 100_000, "p.json: is not a profile"),
        (profile().encode()[:-20], "p.json: is not a profile"),
        (spoilt(schema=2), "is a profile of schema 2; expected 1: make it anew with 'skyfan profile --out'"),
        (spoilt(points=[]), "has 0 points"),
        (spoilt(points=[{}]), "missing required field"),
        (spoilt(points=[GOOD_POINT | {"rows_per_s": 0}]), "a point has a batch size, threads, workers"),
        (spoilt(points=[GOOD_POINT | {"rows_per_s": 1e-300}]), "rows_per_s below 0.001"),
        (spoilt(points=[GOOD_POINT | {"batch_size": 0}]), "a point has a batch size, threads, workers"),
        (spoilt(points=[GOOD_POINT | {"peak_memory_mb": -1}]), "peak_memory_mb is -1; expected 0 or more"),
        (spoilt(s_per_mb=-0.1), "s_per_mb is -0.1; expected 0 or more"),
        (spoilt(cores=10**400), "cores is 1e+15; expected 0 or more, and less than 1e+15"),
        (spoilt(row_bytes=0.0), "row_bytes is 0; expected 1 or more"),
        (spoilt(row_bytes=1e-300), "row_bytes is 1e-300; expected 1 or more"),
        (spoilt(spread="much"), "p.json: is not a profile"),
        (spoilt(machine="\x1b[2J"), "cannot be printed"),
        (spoilt(notes=["x" * 501]), "longer than 500 characters"),
        (spoilt(versions={"a\nb": "1"}), "cannot be printed"),
        (profile().encode().replace(b"0.05", b"1e999"), "p.json: is not a profile"),
    ],
)
def test_what_is_no_profile_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_profile(data, "p.json")
    assert message in str(caught.value)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_profile_or_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        decode_profile(data, "p.json")


def test_a_profile_is_saved_and_read(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    save_profile(profile(), path)
    save_profile(profile(spread=0.1), path)  # over another profile
    assert load_profile(path).spread == 0.1
    assert [each.name for each in tmp_path.iterdir()] == ["p.json"]


def test_what_is_no_profile_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    for write in (lambda: check_target(path), lambda: save_profile(profile(), path)):
        with pytest.raises(InputError, match="is not written over: name another file, or delete it"):
            write()
    assert path.read_text() == "precious"
    with pytest.raises(InputError, match="cannot be read"):
        load_profile(tmp_path / "none.json")
    with pytest.raises(InputError, match="is no file"):
        check_target(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    with pytest.raises(InputError, match="is no file"):
        check_target(tmp_path / "dangling")
    with pytest.raises(InputError, match="there is no folder"):
        check_target(tmp_path / "none" / "p.json")


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        save_profile(profile(), tmp_path / ("n" * 300))

    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="cannot be written"):
        save_profile(profile(), tmp_path / "p.json")
    assert list(tmp_path.iterdir()) == []


def test_a_real_run_gives_a_profile(finished: skyfan.Run) -> None:
    reports = list(finished.reports())
    found = profile_of_reports(reports, data="sky/25MB")
    (only,) = found.points
    assert (only.batch_size, only.threads, only.workers) == (4, 1, 1)
    warm = [each for each in reports if each.first_prediction_s is None]
    assert only.rows == sum(each.rows_out for each in warm) > 0
    assert only.peak_memory_mb == max(each.peak_memory_mb for each in reports) > 20
    assert found.cores == usable_cores()
    assert found.row_bytes == pytest.approx(
        sum(ref.bytes for each in reports for ref in each.partitions) / 34, abs=0.01
    )
    assert 0 < found.s_per_cold_start < max(each.first_prediction_s or 0 for each in reports)
