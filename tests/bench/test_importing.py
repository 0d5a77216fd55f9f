"""Results of the original system: which are whole, what they say, and that no file does harm."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import skyfan
from bench.results import SEED, record, records, write, write_seed
from skyfan.bench import wholeness
from skyfan.bench.importing import Imported, import_results
from skyfan.bench.pathnames import LEAST_FILES, Named, read_path
from skyfan.bench.records import MAX_BYTES
from skyfan.cost import seed_cost_usd
from skyfan.errors import InputError

PLACE = "result-partition-25MB/1GB/1"


def one(root: Path, **options: Any) -> Imported:
    (run,) = import_results(root, **options).runs
    return run


def given_records(root: Path, content: Any, place: str = PLACE) -> Imported:
    write(root, place, content)
    return one(root)


def test_a_whole_run(tmp_path: Path) -> None:
    run = given_records(tmp_path, records(41))
    found = run.measurement
    assert (run.verdict, run.records, run.notes, found.problem) == ("complete", 41, (), "")
    assert (found.origin, found.run, found.complete) == ("imported", f"{PLACE}/combined_data.json", True)
    assert (found.tasks, found.partitions, found.workers, found.repeat) == (41, 41, 41, 1)
    assert (found.partition_mb, found.bytes_in, found.batch_size, found.data) == (25, 41 * 25 * 1024**2, 256, "25MB")
    assert found.seed_avg_runtime_s == pytest.approx(6.0)
    assert found.seed_memory_mb == pytest.approx(1780.0)
    assert found.seed_cost_usd == pytest.approx(float(seed_cost_usd(41, 6.0, 1780.0)))
    assert found.seed_throughput_gb_s == pytest.approx(41 * 25 / 1024 / 6.0)


def test_what_its_records_do_not_say_is_not_known(tmp_path: Path) -> None:
    """The profiler's sum is no task's seconds, batches times batch size is only the most that the rows can be."""
    found = given_records(tmp_path, records(41)).measurement
    assert found.rows is None
    assert {name for name in found.__struct_fields__ if name.endswith(("_wall_s", "_p50", "_p95", "_max"))} == {
        name
        for name in found.__struct_fields__
        if name.endswith(("_wall_s", "_p50", "_p95", "_max")) and getattr(found, name) is None
    }
    assert (found.task_s_mean, found.cost_usd, found.predict_s, found.threads) == (None, None, None, None)


def test_the_originals_table_is_what_its_results_give(tmp_path: Path) -> None:
    write_seed(tmp_path)
    found = import_results(tmp_path)
    assert found.complete
    by_size = {(run.measurement.partition_mb, run.measurement.tasks): run.measurement for run in found.runs}
    for row in SEED:
        run = by_size[row["partition_mb"], int(row["file_limit"])]
        assert run.seed_avg_runtime_s == pytest.approx(row["avg_runtime_s"])
        assert run.seed_cost_usd == pytest.approx(row["cost_usd"], abs=2e-4)
        assert run.seed_throughput_gb_s == pytest.approx(row["throughput_printed"], rel=5e-4)


REPEATED = [*records(40), record(40)]
PARTIAL = "40 partitions, expected 41 by 1 GB of 25 MB partitions: the others are lost"
FAULTS = [
    (records(40), "partial", PARTIAL),
    (records(8), "partial", "8 partitions, expected 41"),
    (records(43), "mixed", "43 partitions, expected 41"),
    (REPEATED, "mixed", "1 data_path more than once"),
    (records(1000), "truncated", "exactly 1,000 records, expected 41"),
    ([*records(40), record(41, batch_size=128)], "mixed", "2 different batch sizes"),
    ([*records(40), record(41, device="cuda")], "mixed", "2 different devices"),
    ([*records(40), record(41, result_path="other/1GB/1")], "mixed", "2 different result_paths"),
    ([*records(40), record(41, folder="50MB")], "mixed", "2 different folders of data"),
    ([*records(41), record(data_path=None)], "damaged", "1 record without a data_path"),
    ([*records(40), record(41, **{"total_cpu_time (seconds)": ...})], "damaged", "1 of 41 records has no 'total_cpu"),
    ([*records(40), record(41, **{"total_cpu_time (seconds)": float("nan")})], "damaged", "is NaN; expected a number"),
    ([*records(40), record(41, **{"total_cpu_memory (MB)": -3})], "damaged", "is -3; expected a number above 0"),
    ([*records(40), record(41, **{"total_cpu_memory (MB)": "1780"})], "damaged", "is a text; expected a number"),
    ([*records(40), record(41, **{"total_cpu_memory (MB)": True})], "damaged", "is true or false; expected a number"),
    ([*records(40), record(41, batch_size=0)], "damaged", "'batch_size' is 0; expected a whole number"),
    ([*records(40), record(41, batch_size=2.5)], "damaged", "'batch_size' is 2.5"),
    ([*records(41), "a text"], "damaged", "1 of 42 records is a text; expected an object"),
    ([*records(40), record(41, data_path=[1])], "partial", "'data_path' is a list"),
    ({"0": record()}, "unreadable", "is an object; expected a list of records"),
    ([], "unreadable", "is an empty list"),
    ("", "unreadable", "not JSON"),
    (json.dumps(records(41))[:-50], "unreadable", "not JSON"),
    ("[" * 200_000, "unreadable", "nested too deeply"),
    ("[" + "9" * 10_000 + "]", "unreadable", "not JSON"),
]


@pytest.mark.parametrize(("content", "verdict", "problem"), FAULTS, ids=[f"{v}-{p[:30]}" for _, v, p in FAULTS])
def test_a_run_that_is_not_whole_says_so_and_gives_no_figure(
    content: Any, verdict: str, problem: str, tmp_path: Path
) -> None:
    run = given_records(tmp_path, content)
    assert run.verdict == verdict
    assert problem in run.measurement.problem
    assert not run.measurement.complete
    figures = [name for name in run.measurement.__struct_fields__ if name.startswith("seed_")]
    assert [getattr(run.measurement, name) for name in figures] == [None] * 4
    assert not import_results(tmp_path).complete


def test_a_thousand_records_are_right_where_the_data_say_so(tmp_path: Path) -> None:
    """24.42 GB are 1,000.2 partitions of 25 MB; of 1 TB a thousand are where the listing ended."""
    right = records(1000, result_path="scaling/result-partition-25MB/24.42GB/1")
    assert given_records(tmp_path / "right", right, "result-partition-25MB/24.42GB/1").verdict == "complete"
    cut = records(1000, result_path="scaling/result-partition-100MB/1TB/1", folder="100MB")
    run = given_records(tmp_path / "cut", cut, "result-partition-100MB/1TB/1")
    assert run.verdict == "truncated"
    assert "expected 10,485 or 10,486" in run.measurement.problem
    assert given_records(tmp_path / "unknown", records(1000, result_path="x"), "x").verdict == "truncated"


def test_a_payload_beside_says_how_many(tmp_path: Path) -> None:
    folder = write(tmp_path, "some/run", records(40, result_path="some/run")).parent
    assert one(tmp_path).verdict == "unclear"
    for content, verdict in (
        ({"file_limit": "41"}, "partial"),
        ({"file_limit": 40}, "complete"),
        ({"world_size": "40"}, "complete"),
        ({"file_limit": 99, "world_size": "40"}, "partial"),
        ({"file_limit": 40, "world_size": 39}, "mixed"),
        ({"data_map": {str(rank): f"25MB/{rank}.pt" for rank in range(1, 41)}}, "complete"),
        ({"data_map": {str(rank): f"25MB/{rank}.pt" for rank in range(40)}}, "partial"),
        ({"file_limit": 99, "data_map": {str(rank): f"25MB/{rank}.pt" for rank in range(1, 41)}}, "partial"),
        ({"file_limit": True}, "unclear"),
        ("no JSON", "unclear"),
        ([40], "unclear"),
    ):
        (folder / "payload.json").write_text(content if isinstance(content, str) else json.dumps(content))
        assert one(tmp_path).verdict == verdict, content
    assert one(tmp_path, expect=40).verdict == "complete"
    assert one(tmp_path, expect=41).verdict == "partial"


def beside(path: Path, name: str = "payload.json", **content: Any) -> None:
    (path.parent / name).write_text(json.dumps(content))


def test_a_payload_does_not_silence_the_path(tmp_path: Path) -> None:
    place = "result-partition-25MB/12.6GB/1"
    beside(write(tmp_path, place, records(41, result_path=place)), world_size=41, file_limit=516)
    run = one(tmp_path)
    assert run.verdict == "partial"
    assert "41 partitions, expected 516 by file_limit" in run.measurement.problem
    assert "expected 516 or 517 by 12.6 GB of 25 MB partitions" in run.measurement.problem
    assert (run.measurement.tasks, run.measurement.partitions) == (41, 516)


def test_the_map_of_a_payload_may_have_lists_and_nulls(tmp_path: Path) -> None:
    path = write(
        tmp_path, "x", [record(data_path=["25MB/1.pt", "25MB/2.pt"], result_path="x"), record(3, result_path="x")]
    )
    for data_map, verdict in (
        ({"0": ["25MB/1.pt", "25MB/2.pt"], "1": "25MB/3.pt"}, "complete"),
        ({"0": ["25MB/1.pt", "25MB/2.pt"], "1": ["25MB/3.pt", "25MB/4.pt"]}, "partial"),
        ({"0": ["25MB/1.pt", "25MB/2.pt"], "1": []}, "mixed"),
        ({"0": ["25MB/1.pt", "25MB/2.pt"], "1": "25MB/3.pt", "2": None}, "partial"),
        ({"0": {"no": "path"}, "1": "\ud800"}, "complete"),
    ):
        beside(path, data_map=data_map)
        assert one(tmp_path).verdict == verdict, data_map


@pytest.mark.parametrize(
    ("payload", "verdict"),
    [
        ({}, "truncated"),
        ({"data_map": 1000}, "truncated"),
        ({"data_map": 1000, "world_size": 1000}, "truncated"),
        ({"data_map": 1000, "file_limit": 2000}, "truncated"),
        ({"data_map": 1000, "file_limit": 1000}, "complete"),
        ({"data_map": 1200}, "truncated"),
    ],
)
def test_a_map_from_the_listing_that_ended_is_no_evidence(payload: Any, verdict: str, tmp_path: Path) -> None:
    path = write(tmp_path, "x", records(1000, result_path="x"))
    mapped = {str(rank): f"25MB/{rank}.pt" for rank in range(1, payload.get("data_map", 0) + 1)}
    beside(path, **(payload | {"data_map": mapped}))
    assert one(tmp_path).verdict == verdict
    assert one(tmp_path, expect=1000).verdict == "complete"


def test_text_that_is_no_text_and_times_that_are_none_end_no_import(tmp_path: Path) -> None:
    odd = records(41, device="\ud800cpu", folder="\udfff25MB")
    write(tmp_path, "result-partition-25MB/1GB/1", odd)
    write(tmp_path, "result-partition-25MB/1GB/2", records(41, **{"total_cpu_time (seconds)": 1e-10}))
    write(tmp_path, "result-partition-25MB/1GB/3", records(41, **{"total_cpu_time (seconds)": 1e-9}))
    first, second, third = import_results(tmp_path).runs
    assert first.measurement.machine == "not known, device ?cpu"
    assert first.measurement.data == "?25MB"
    assert second.verdict == "damaged"
    assert "is 1e-10; expected 1e-09 or more" in second.measurement.problem
    assert third.verdict == "complete"


def test_a_rate_that_is_null_is_not_known(tmp_path: Path) -> None:
    run = given_records(tmp_path, records(41, throughput_bps=None))
    assert (run.verdict, len(run.notes)) == ("complete", 1)
    assert "'throughput_bps' (41)" in run.notes[0]


def test_folders_above_the_place_given_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who keeps results below 100MB/8GB has not said that they are of 8 GB."""
    above = tmp_path / "result-partition-100MB" / "8GB"
    write(above / "results", "x", records(41, result_path="x"))
    assert one(above / "results").measurement.repeat == 1
    assert one(above / "results").verdict == "unclear"
    monkeypatch.chdir(above / "results")
    assert one(Path()).verdict == "unclear"
    monkeypatch.chdir(above.parent)
    assert "expected 327 or 328 by 8 GB of 25 MB partitions" in one(Path("8GB/results")).measurement.problem


def test_repeats_tell_of_each_other(tmp_path: Path) -> None:
    """The average over three runs of which one lost 122 of 130 workers: only its neighbours show that."""
    for repeat, count in ((1, 130), (2, 8), (3, 130)):
        write(tmp_path, f"Batches/256/{repeat}", records(count, result_path=f"Batches/256/{repeat}"))
    first, second, third = import_results(tmp_path).runs
    assert [run.verdict for run in (first, second, third)] == ["complete", "partial", "complete"]
    assert "8 records, expected 130 by the fullest runs beside it" in second.measurement.problem
    assert "only the runs beside it say how many records" in first.notes[0]


def test_one_run_of_which_nothing_tells_is_not_called_complete(tmp_path: Path) -> None:
    run = given_records(tmp_path, records(41, result_path="x"), "x")
    assert (run.verdict, run.measurement.complete) == ("unclear", False)
    assert "nothing says how many there must be" in run.measurement.problem


def test_records_are_believed_before_the_path_and_it_is_said(tmp_path: Path) -> None:
    content = records(21, folder="50MB", batch_size=128, result_path="scaling/result-partition-50MB/1GB/3")
    run = given_records(tmp_path, content, "result-partition-25MB/1GB/Batches/64/2")
    assert (run.verdict, run.measurement.partition_mb, run.measurement.batch_size) == ("complete", 50, 128)
    assert run.measurement.repeat == 3
    said = " ".join(run.notes)
    assert "batch size: the path says 64, the records 128; the records are believed" in said
    assert "partition size: the path says 25 MB, the records 50 MB" in said


def test_a_key_that_nothing_needs_may_be_absent_and_it_is_said(tmp_path: Path) -> None:
    run = given_records(tmp_path, records(41, throughput_bps=...))
    assert run.verdict == "complete"
    assert run.notes == ("keys that some records lack, and nothing here needs: 'throughput_bps' (41)",)


def test_several_files_of_a_worker_are_several_partitions(tmp_path: Path) -> None:
    content = [record(data_path=[f"25MB/{2 * rank}.pt", f"25MB/{2 * rank + 1}.pt"]) for rank in range(20)]
    run = given_records(tmp_path, [*content, record(data_path=["25MB/99.pt"])])
    assert (run.verdict, run.measurement.tasks, run.measurement.partitions) == ("complete", 21, 41)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("result-partition-25MB/1GB/1", Named(partition_mb=25, data_gb=1, repeat=1)),
        ("scaling/result-partition-25MB/12.6GB/2", Named(partition_mb=25, data_gb=12.6, repeat=2)),
        ("result-partition-100MB/1TB/3", Named(partition_mb=100, data_gb=1024, repeat=3)),
        ("a/result-partition-25MB/1GB/Batches/128/1", Named(partition_mb=25, data_gb=1, batch_size=128, repeat=1)),
        ("Batches/512", Named(batch_size=512)),
        ("batch-64/2", Named(batch_size=64, repeat=2)),
        ("25MB", Named(partition_mb=25)),
        ("result-partition-25MB/500MB/1", Named(partition_mb=25, data_gb=500 / 1024, repeat=1)),
        ("8GB-disk/25MB-old/notes", Named()),
        ("", Named()),
        ("0MB/0GB/\u0663", Named()),
    ],
)
def test_names_of_folders(path: str, named: Named) -> None:
    assert read_path(path) == named


@pytest.mark.parametrize(("size", "files"), LEAST_FILES.items())
def test_files_of_the_originals_runs(size: tuple[float, float], files: int) -> None:
    least, most = Named(data_gb=size[0], partition_mb=size[1]).files or (0, 0)
    assert least == files <= most <= files + 1


@given(st.text(max_size=60))
def test_any_path_is_read(path: str) -> None:
    assert isinstance(read_path(path), Named)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*record(), "rank", "rows"]), inner),
    max_leaves=20,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(JSON, max_size=4), text=st.binary(max_size=40))
def test_anything_in_a_file_is_a_verdict_and_never_a_crash(content: list[Any], text: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, PLACE, content)
    assert one(tmp_path).verdict != "complete"
    path.write_bytes(text)
    assert one(tmp_path).verdict == "unreadable"


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, PLACE, records(1))
    os.truncate(path, MAX_BYTES + 1)
    assert "is larger than 32 MiB" in one(tmp_path).measurement.problem


def test_links_that_leave_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", "secret", records(41))
    write(tmp_path / "tree", PLACE, records(41))
    other = tmp_path / "tree" / "other"
    other.mkdir()
    (other / "combined_data.json").symlink_to(outside)
    (tmp_path / "tree" / "linked").symlink_to(outside.parent, target_is_directory=True)
    found = import_results(tmp_path / "tree")
    assert [run.measurement.run for run in found.runs] == [f"{PLACE}/combined_data.json"]
    assert sorted(found.skipped) == [
        "linked: a link to a folder is not followed",
        "other/combined_data.json: a link that leaves the folder is not followed",
    ]


def test_a_pipe_or_a_folder_of_that_name_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, PLACE, records(41))
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "combined_data.json")
    (tmp_path / "folder" / "combined_data.json").mkdir(parents=True)
    found = import_results(tmp_path)
    assert (len(found.runs), found.skipped) == (1, ("pipe/combined_data.json: not a file",))


def test_names_that_cannot_be_printed_are_shown_with_question_marks(tmp_path: Path) -> None:
    write(tmp_path, "a\n\x1b[31m\u202eb", records(1))
    assert one(tmp_path).measurement.run == "a??[31m?b/combined_data.json"


def test_single_files_are_read_with_the_names_above_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, PLACE, records(41))
    monkeypatch.chdir(path.parent)
    run = one(Path("combined_data.json"))
    assert (run.verdict, run.measurement.run) == ("complete", "combined_data.json")


def test_order_is_natural(tmp_path: Path) -> None:
    for repeat in (10, 2, 1):
        write(tmp_path, f"result-partition-25MB/1GB/{repeat}", records(41))
    assert [run.measurement.run.split("/")[2] for run in import_results(tmp_path).runs] == ["1", "2", "10"]


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_nothing_found_is_an_error(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected (a folder of results|results of the original system)"):
        import_results(tmp_path / place)


def test_expect_must_be_a_number_of_records(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expect: got 0"):
        import_results(tmp_path, expect=0)


Edit = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.fixture
def ours(finished: skyfan.Run, root: Path, tmp_path: Path) -> Path:
    """What one of skyfan's own runs leaves, without its reports and parts."""
    folder = tmp_path / "ours"
    folder.mkdir()
    for name in ("combined_data.json", "summary.json"):
        shutil.copy(root / "sky" / "results" / "one" / name, folder / name)
    return folder


def test_skyfans_own_results_say_more(ours: Path, finished: skyfan.Run) -> None:
    run = one(ours)
    summary = finished.summary
    assert summary is not None
    assert (run.verdict, run.measurement.problem) == ("complete", "")
    assert run.measurement.rows == summary.rows_out == 34
    assert run.measurement.bytes_in == summary.bytes_in
    assert run.measurement.task_s_p50 == pytest.approx(summary.task_seconds.median, abs=1e-3)
    assert run.measurement.peak_memory_mb_max == summary.worker_peak_memory_mb.max
    assert run.measurement.run_wall_s is None


@pytest.mark.parametrize(
    ("edit", "verdict", "problem"),
    [
        (lambda items: items[:-1], "partial", "3 records, expected 4 by its summary.json"),
        (lambda items: [items[0], *items[2:]], "partial", "1 rank below 3 without a record"),
        (lambda items: [items[0], *items[:3]], "mixed", "1 rank more than once"),
    ],
)
def test_skyfans_own_results_that_are_not_whole(edit: Edit, verdict: str, problem: str, ours: Path) -> None:
    path = ours / "combined_data.json"
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    run = one(ours)
    assert run.verdict == verdict
    assert problem in run.measurement.problem


def test_a_run_that_its_summary_does_not_call_complete_is_not(ours: Path) -> None:
    path = ours / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"complete": False, "problems": ["a row is\nlost", "other"]}))
    run = one(ours)
    assert (run.verdict, run.measurement.complete) == ("partial", False)
    assert run.measurement.problem.endswith("not complete: a row is?lost")


@pytest.mark.parametrize(
    ("payload", "verdict"),
    [
        ({"file_limit": 9}, "unclear"),
        ({"world_size": 9}, "unclear"),
        ({"file_limit": 4}, "complete"),
        ({"world_size": 4}, "complete"),
        ({"file_limit": 3}, "mixed"),
    ],
)
def test_skyfans_payload_says_only_the_most(payload: Any, verdict: str, ours: Path) -> None:
    (ours / "summary.json").unlink()
    (ours / "payload.json").write_text(json.dumps(payload))
    assert one(ours).verdict == verdict


def test_the_fullest_runs_must_be_two_and_not_where_a_listing_ended() -> None:
    assert wholeness.fullest_of_repeats([("a", 41), ("a", 41), ("a", 8), ("b", 41)]) == {"a": 41}
    assert wholeness.fullest_of_repeats([("a", 1000), ("a", 1000), ("a", 900)]) == {}
