"""Files of results as they are found in folders: which of them are read, and that none does harm."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.results import PLACE, one, record, records, write
from skyfan.bench.importing import import_results
from skyfan.bench.records import MAX_BYTES
from skyfan.errors import InputError

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


def test_order_is_natural(tmp_path: Path) -> None:
    for repeat in (10, 2, 1):
        write(tmp_path, f"result-partition-25MB/1GB/{repeat}", records(41))
    assert [run.measurement.run.split("/")[2] for run in import_results(tmp_path).runs] == ["1", "2", "10"]


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_nothing_found_is_an_error(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected (a folder of results|results of the original system)"):
        import_results(tmp_path / place)
