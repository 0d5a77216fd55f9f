"""Which partitions a run works on: all that are there, and nothing that an index contradicts."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planned import listing, payload
from skyfan.errors import SurveyError
from skyfan.partitions import Index, PartitionRef, decode_index
from skyfan.selection import find_partitions, select
from skyfan.storage import Entry, Store


def index_for(entries: Sequence[Entry], *, complete: bool = True) -> Index:
    refs = tuple(
        PartitionRef(entry.key.removeprefix("25MB/"), entry.bytes, rows, f"hash of {entry.key}")
        for rows, entry in enumerate(entries, 10)
    )
    return Index(1, sum(ref.rows or 0 for ref in refs), complete, refs)


names = st.from_regex(r"(part-)?[0-9]{1,4}\.(pt|safetensors)", fullmatch=True)
others = st.sampled_from(["index.json", "readme.txt", "model.onnx", "1.pt.tmp", "x/payload.json"])
counts = st.none() | st.integers(1, 60)


@given(st.lists(names, min_size=1, max_size=20, unique=True), counts)
def test_the_order_of_the_listing_is_of_no_consequence(partitions: list[str], file_limit: int | None) -> None:
    entries = listing(*partitions)
    assert select(payload(file_limit), entries[::-1], {}) == select(payload(file_limit), entries, {})


def test_fewer_partitions_than_asked_is_a_warning() -> None:
    chosen, warnings = select(payload(file_limit=516), listing("1.pt", "2.pt"), {})
    assert len(chosen) == 2
    assert warnings == ["file_limit is 516, but sky/25MB/ holds 2 partitions; all are taken"]


@pytest.mark.parametrize("file_limit", [None, 1, 2])
def test_as_many_as_asked_is_no_warning(file_limit: int | None) -> None:
    assert select(payload(file_limit), listing("1.pt", "2.pt"), {})[1] == []


def test_no_partition_is_an_error_that_says_what_was_there() -> None:
    with pytest.raises(SurveyError, match=r"no partition below sky/25MB/: found 2 other objects; expected .*\.pt"):
        select(payload(), listing("readme.txt", "index.json"), {})


def test_the_index_gives_rows_and_hashes() -> None:
    entries = listing("10.pt", "2.pt")
    chosen, _ = select(payload(), entries, {"25MB": index_for(entries)})
    assert [(ref.key, ref.rows, ref.sha256) for ref in chosen] == [
        ("25MB/2.pt", 11, "hash of 25MB/2.pt"),
        ("25MB/10.pt", 10, "hash of 25MB/10.pt"),
    ]


@pytest.mark.parametrize("file_limit", [None, 1])
def test_a_partition_of_the_index_that_is_not_there_is_an_error_even_beyond_the_limit(file_limit: int | None) -> None:
    entries = listing("1.pt", "2.pt", "10.pt")
    with pytest.raises(SurveyError, match=r"names 3 partitions with 33 rows, but 2 of them are not there.*25MB/2\.pt"):
        select(payload(file_limit), entries[:1], {"25MB": index_for(entries)})


def test_a_partition_that_the_index_does_not_name_is_an_error() -> None:
    entries = listing("1.pt", "2.pt")
    with pytest.raises(SurveyError, match=r"25MB/2\.pt is not in the index of sky/25MB/; make the partitions again"):
        select(payload(), entries, {"25MB": index_for(entries[:1])})


def test_a_partition_of_another_size_than_the_index_says_is_an_error() -> None:
    entries = listing("1.pt", "2.pt")
    grown = [entries[0], Entry("25MB/2.pt", 999)]
    with pytest.raises(SurveyError, match=r"25MB/2\.pt has 999 bytes, the index says 101"):
        select(payload(), grown, {"25MB": index_for(entries)})


def test_an_index_that_is_not_complete_is_an_error() -> None:
    entries = listing("1.pt")
    with pytest.raises(SurveyError, match=r"has not finished writing 10 rows there, or .* wait for it"):
        select(payload(), entries, {"25MB": index_for(entries, complete=False)})


def test_an_index_of_a_hundred_thousand_partitions_is_checked_in_no_time() -> None:
    entries = listing(*(f"{number}.pt" for number in range(100_000)))
    chosen, _ = select(payload(), entries, {"25MB": index_for(entries)})
    assert len(chosen) == 100_000


def test_an_index_is_read_back() -> None:
    index = index_for(listing("1.pt", "2.pt"))
    assert decode_index(index.encode(), "x") == index


garbage = st.binary() | st.sampled_from([b"", b"[]", b"{}", b"[{}]", b"null", b"[" * 100_000, b'"\xff"'])


@given(garbage)
def test_what_is_no_index_is_a_survey_error(data: bytes) -> None:
    with pytest.raises(SurveyError, match=r"sky/index\.json: not an index .*; run 'skyfan partition' again"):
        decode_index(data, "sky/index.json")


@pytest.mark.parametrize("name", ["2.PT", "2.pt.gz", "2.safetensors.part", "x/2.Safetensors"])
def test_what_only_looks_like_a_partition_is_said(name: str) -> None:
    chosen, warnings = select(payload(), listing("1.pt", name, "1.json"), {})
    assert [ref.key for ref in chosen] == ["25MB/1.pt"]
    assert [warning.split(";")[0] for warning in warnings] == [f"25MB/{name}: looks like a partition and is not taken"]


def test_what_looks_like_nothing_of_ours_is_not_worth_a_word() -> None:
    assert select(payload(), listing("1.pt", "index.json", "script.py", "a.ptx", "b.pth", "notes"), {})[1] == []


def test_partitions_that_are_there_in_both_formats_are_said() -> None:
    chosen, warnings = select(payload(), listing("1.pt", "1.safetensors", "2.pt"), {})
    assert len(chosen) == 3
    assert [warning.split(";")[0] for warning in warnings] == ["25MB/1: is there as .safetensors and as .pt"]


def stored(root: Path, *names: str, index: Index | None = None, folder: str = "25MB") -> None:
    for number, name in enumerate(names):
        path = root / "sky" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100 + number))
    if index is not None:
        (root / "sky" / folder / "index.json").write_bytes(index.encode())


def found(root: Path) -> tuple[list[PartitionRef], list[str]]:
    return find_partitions(payload(), Store(str(root)).bucket("sky"))


def index_of_names(*names: str) -> Index:
    refs = tuple(PartitionRef(name, 100 + number, 10 + number, f"h{number}") for number, name in enumerate(names))
    return Index(1, sum(ref.rows or 0 for ref in refs), True, refs)


def test_an_index_of_a_folder_below_gives_rows_and_hashes_to_its_partitions_alone(tmp_path: Path) -> None:
    stored(tmp_path, "1.pt", "2.pt", index=index_of_names("1.pt", "2.pt"), folder="25MB/north")
    stored(tmp_path, "1.pt", folder="25MB/south")
    chosen, warnings = found(tmp_path)
    assert [(ref.key, ref.rows, ref.sha256) for ref in chosen] == [
        ("25MB/north/1.pt", 10, "h0"),
        ("25MB/north/2.pt", 11, "h1"),
        ("25MB/south/1.pt", None, None),
    ]
    assert warnings == []


def test_a_partition_that_an_index_of_a_folder_below_names_must_be_there(tmp_path: Path) -> None:
    stored(tmp_path, "1.pt", index=index_of_names("1.pt", "2.pt"), folder="25MB/north")
    with pytest.raises(SurveyError, match=r"sky/25MB/north/: .* 1 of them are not there, the first 25MB/north/2\.pt"):
        found(tmp_path)


def test_a_partition_that_an_index_above_does_not_name_is_an_error(tmp_path: Path) -> None:
    stored(tmp_path, "1.pt", index=index_of_names("1.pt"))
    stored(tmp_path, "2.pt", folder="25MB/more")
    with pytest.raises(SurveyError, match=r"25MB/more/2\.pt is not in the index of sky/25MB/"):
        found(tmp_path)


def test_a_file_that_only_has_the_name_of_an_index_is_said(tmp_path: Path) -> None:
    stored(tmp_path, "1.pt", folder="25MB/north")
    (tmp_path / "sky/25MB/north/index.json").write_text('{"pages": 3}')
    chosen, warnings = found(tmp_path)
    assert len(chosen) == 1
    assert warnings == ["sky/25MB/north/index.json: not an index of partitions; what is there is taken as it lies"]


def test_a_link_that_leads_nowhere_is_an_error_and_no_missing_partition(tmp_path: Path) -> None:
    stored(tmp_path, "1.pt", "2.pt")
    (tmp_path / "sky/25MB/3.pt").symlink_to("/gone/3.pt")
    with pytest.raises(SurveyError, match=r"25MB/3\.pt': is a link to '/gone/3\.pt', which is not there; expected"):
        found(tmp_path)


def test_a_folder_that_is_not_mounted_is_an_error(tmp_path: Path) -> None:
    stored(tmp_path, "1.pt")
    (tmp_path / "sky/25MB/disk").symlink_to("/gone")
    with pytest.raises(SurveyError, match=r"25MB/disk': is a link to '/gone'"):
        found(tmp_path)


def test_links_to_files_and_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    stored(tmp_path, "1.pt", "2.pt", folder="elsewhere")
    stored(tmp_path, "1.pt")
    (tmp_path / "sky/25MB/2.pt").symlink_to(tmp_path / "sky/elsewhere/2.pt")
    (tmp_path / "sky/25MB/all").symlink_to(tmp_path / "sky/elsewhere")
    (tmp_path / "sky/25MB/again").symlink_to(tmp_path / "sky/elsewhere")
    assert [ref.key for ref in found(tmp_path)[0]] == [
        "25MB/1.pt",
        "25MB/2.pt",
        "25MB/again/1.pt",
        "25MB/again/2.pt",
        "25MB/all/1.pt",
        "25MB/all/2.pt",
    ]


def test_a_loop_of_links_is_an_error_that_names_it(tmp_path: Path) -> None:
    stored(tmp_path, "x/1.pt")
    (tmp_path / "sky/25MB/x/up").symlink_to("..")
    with pytest.raises(SurveyError, match=r"25MB/x/up': is a link to a folder that it lies in"):
        found(tmp_path)


@pytest.mark.parametrize("name", [b"2\n.pt", b"2\xff.pt", b"2\x1b[1m.pt"])
def test_a_name_that_is_no_key_is_an_error_that_shows_it(tmp_path: Path, name: bytes) -> None:
    stored(tmp_path, "1.pt")
    (Path(os.fsdecode(os.fsencode(tmp_path / "sky/25MB") + b"/" + name))).write_bytes(b"x")
    with pytest.raises(SurveyError, match=r"\.pt': its name is not UTF-8, or holds a control character; expected"):
        found(tmp_path)
