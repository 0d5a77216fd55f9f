"""Which results of the original system are whole: nothing passes for a run of which something is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.results import given_records, one, record, records, write
from skyfan.bench import wholeness
from skyfan.bench.importing import import_results

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
    (records(41, batch_size=...), "damaged", "41 of 41 records have no 'batch_size'"),
    (records(1), "partial", "1 partition, expected 41"),
    ([*records(40), record(41, **{"total_cpu_time (seconds)": float("nan")})], "damaged", "is NaN; expected a number"),
    ([*records(40), record(41, **{"total_cpu_memory (MB)": -3})], "damaged", "is -3; expected a number above 0"),
    ([*records(40), record(41, **{"total_cpu_memory (MB)": "1780"})], "damaged", "is a text; expected a number"),
    ([*records(40), record(41, **{"total_cpu_memory (MB)": True})], "damaged", "is true or false; expected a number"),
    ([*records(40), record(41, batch_size=0)], "damaged", "'batch_size' is 0; expected a whole number"),
    ([*records(40), record(41, batch_size=2.5)], "damaged", "'batch_size' is 2.5"),
    ([*records(41), "a text"], "damaged", "1 of 42 records: a text; expected an object"),
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


def test_a_number_given_does_not_excuse_wrong_partitions(tmp_path: Path) -> None:
    path = write(tmp_path, "x", records(4, result_path="x"))
    for first, verdict in ((1, "complete"), (2, "mixed"), (101, "mixed")):
        beside(path, data_map={str(rank): f"25MB/{rank}.pt" for rank in range(first, first + 4)})
        run = one(tmp_path, expect=4)
        assert run.verdict == verdict, first
    assert "4 data_paths that the data_map of its payload.json does not have" in run.measurement.problem


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


def test_the_fullest_runs_must_be_two_and_not_where_a_listing_ended() -> None:
    assert wholeness.fullest_of_repeats([("a", 41), ("a", 41), ("a", 8), ("b", 41)]) == {"a": 41}
    assert wholeness.fullest_of_repeats([("a", 1000), ("a", 1000), ("a", 900)]) == {}
