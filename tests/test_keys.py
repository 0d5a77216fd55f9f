"""Stored names: none leads out of its folder, and what is built is read back."""

import itertools
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skyfan.errors import KeyNameError
from skyfan.keys import (
    MAX_KEY_BYTES,
    RunKeys,
    check_bucket,
    check_key,
    check_prefix,
    index_of,
    natural,
    partition_of,
    rank_of,
)
from skyfan.storage import Store

nasty = st.lists(st.sampled_from(["..", ".", "/", "//", "a", "é", " ", "%2e%2e", "%2F", "\\", "\0", "~", "#1", "?"]))
texts = st.text(max_size=20) | nasty.map("".join)


@given(texts)
@example("../x")
@example("a/../../x")
@example("/etc/passwd")
@example("a/..")
@example("\ud800")
def test_a_key_that_is_let_through_stays_in_its_folder(text: str) -> None:
    root = Path("/srv/store/sky")
    try:
        key = check_key(text, "key")
    except KeyNameError:
        return
    path = (root / key).resolve()
    assert root in path.parents
    assert path.relative_to(root).as_posix() == key, "one name must mean one file"
    key.encode()


@given(texts.filter(lambda text: not text.endswith("#1")))
@example("%2e%2e/x")
@example("a%2F..%2Fb")
@example("a#b?c=d")
def test_the_storage_library_puts_a_key_where_its_name_says(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    try:
        check_key(text, "key")
    except KeyNameError:
        return
    root = tmp_path_factory.mktemp("store")
    bucket = Store(str(root)).bucket("sky", create="bucket")
    bucket.put(text, b"x")
    written = [path for path in root.rglob("*") if path.is_file()]
    assert written == [root / "sky" / text]
    assert bucket.local_path(text) == root / "sky" / text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("/a", "is absolute"),
        ("a/../b", r"has an empty, '\.' or '\.\.' segment"),
        ("./a", r"has an empty, '\.' or '\.\.' segment"),
        ("a//b", r"has an empty, '\.' or '\.\.' segment"),
        ("a/", r"has an empty, '\.' or '\.\.' segment"),
        ("a\\b", "holds a backslash"),
        ("a\nb", "holds a control character"),
        ("a\x85b", "holds a control character"),
        ("a\u2028b", "holds a control character"),
        ("a/" * 600 + "b", "is longer than 1024 bytes"),
        ("é" * 128, "has a name longer than 255 bytes"),
    ],
)
def test_a_refused_key_says_why_and_what_is_expected(text: str, fault: str) -> None:
    with pytest.raises(KeyNameError, match=f"^what: .*{fault}; expected names joined by single slashes") as caught:
        check_key(text, "what")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["25MB/1.pt", "a b/c d", "ü/é", "100%/x#y?", "...", "a..b", ".hidden", "x" * 255])
def test_a_key_of_the_field_is_taken_as_it_is(text: str) -> None:
    assert check_key(text, "key") == text


def test_the_longest_key_is_that_of_s3() -> None:
    longest = "/".join(["x" * 127] * 8)
    assert len(longest) == MAX_KEY_BYTES - 1
    assert check_key(longest + "x", "key") == longest + "x"


def test_a_prefix_may_end_in_one_slash() -> None:
    assert check_prefix("a/b/", "prefix") == check_prefix("a/b", "prefix") == "a/b"


@pytest.mark.parametrize("text", ["/", "//", "a//", "", "../"])
def test_a_prefix_that_is_no_folder_is_refused(text: str) -> None:
    with pytest.raises(KeyNameError):
        check_prefix(text, "prefix")


@pytest.mark.parametrize("text", ["a/b", "", "..", "/"])
def test_a_bucket_is_one_plain_name(text: str) -> None:
    with pytest.raises(KeyNameError):
        check_bucket(text, "bucket")


@given(st.integers(0, 10**9))
@example(99_999)
@example(100_000)
def test_a_rank_is_read_back_from_the_names_that_it_gives(rank: int) -> None:
    keys = RunKeys("results/one")
    assert rank_of(keys.part(rank)) == rank_of(keys.report(rank)) == rank


def test_ranks_below_100000_sort_as_text_does() -> None:
    keys = [RunKeys("r").part(rank) for rank in (0, 9, 10, 99_999)]
    assert keys == sorted(keys)
    assert keys[0] == "r/predictions/part-00000.parquet"
    assert RunKeys("r").report(42) == "r/reports/00042.json"


@pytest.mark.parametrize(
    "key",
    [
        "r/reports/42.json",
        "r/part-00001.parquet#1",
        "r/part-\u0660\u0660\u0660\u0660\u0661.parquet",
        "r/summary.json",
        "part-00001",
        "x00001.json",
    ],
)
def test_any_other_name_has_no_rank(key: str) -> None:
    assert rank_of(key) is None


def test_a_run_has_no_two_names_alike_and_all_below_its_path() -> None:
    keys = RunKeys("a/b")
    names = [keys.payload, keys.lease(1), keys.manifest, keys.pending, keys.combined, keys.summary, keys.part(1)]
    names += [keys.report(1), keys.failure(1)]
    assert len(set(names)) == len(names)
    assert all(name.startswith("a/b/") and check_key(name, "key") and keys.owns(name) for name in names)
    assert keys.map_results.startswith("a/b/")
    assert keys.map_results not in keys.folders


def test_the_index_and_the_partitions_lie_in_the_prefix() -> None:
    assert index_of("surveys/25MB") == "surveys/25MB/index.json"
    assert partition_of("surveys/25MB", 12, ".pt") == "surveys/25MB/12.pt"


def test_two_comes_before_ten() -> None:
    keys = ["s/10.pt", "s/9.pt", "s/1.pt", "s/2.pt", "r/100.pt", "s/2b.pt", "s/02.pt"]
    assert sorted(keys, key=natural) == ["r/100.pt", "s/1.pt", "s/02.pt", "s/2.pt", "s/2b.pt", "s/9.pt", "s/10.pt"]


names = st.text("019aB/.-٣é ", max_size=8)


@given(names, names)
@example("1", "01")
@example("a1b", "a1")
def test_distinct_keys_never_tie(one: str, two: str) -> None:
    first, second = natural(one), natural(two)
    assert (first == second) == (one == two)
    assert (first < second) + (second < first) == (one != two)


@given(st.lists(names, min_size=3, max_size=5))
def test_the_order_does_not_depend_on_where_one_starts(keys: list[str]) -> None:
    expected = sorted(keys, key=natural)
    assert all(sorted(order, key=natural) == expected for order in itertools.permutations(keys))


@given(st.integers(0, 10**30), st.integers(0, 10**30))
def test_numbers_are_compared_as_numbers(one: int, two: int) -> None:
    if one != two:
        assert (natural(f"s/{one}.pt") < natural(f"s/{two}.pt")) == (one < two)
