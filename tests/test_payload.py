"""A payload is checked once, at the edge, and says what is wrong with it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skyfan.errors import KeyNameError, PayloadError
from skyfan.payload import EFFORT, Payload, decode_object, differing_keys, load_payload, parse_payload

EXAMPLES = sorted((Path(__file__).parents[1] / "examples" / "payloads").glob("*.json"))
KEYS = [item.encode_name for item in msgspec.structs.fields(Payload)]
LEAST = {"bucket": "sky", "data_bucket": "data", "data_prefix": "25MB", "result_path": "results/one"}
TOO_LONG_TO_PRINT = 10**5000


def parsed(**keys: Any) -> Payload:
    return parse_payload(LEAST | keys)[0]


def refusal(raw: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> str:
    with pytest.raises(PayloadError) as caught:
        parse_payload(raw, overrides)
    return str(caught.value)


def test_there_are_eight_examples() -> None:
    assert len(EXAMPLES) == 8


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_payload_of_the_original_system_is_taken_as_it_is(path: Path) -> None:
    raw = json.loads(path.read_text())
    payload, warnings = load_payload(path)
    assert payload.file_limit == int(raw["file_limit"])
    assert payload.batch_size == 256
    assert payload.script == raw["script"]
    assert payload.s3_object_name == "Anomaly Detection"
    misspelt = "result path" in raw
    assert payload.result_path == raw["result path" if misspelt else "result_path"]
    assert warnings == (["payload key 'result path' is taken for 'result_path'"] if misspelt else [])


def test_what_is_not_given_has_its_default() -> None:
    payload = parsed()
    assert (payload.batch_size, payload.max_attempts, payload.task_timeout_s) == (32, 3, 900.0)
    assert payload.file_limit is payload.world_size is payload.model is None


@pytest.mark.parametrize(
    ("key", "nearest"), [("batchsize", "batch_size"), ("Data Prefix", "data_prefix"), ("modle", "model")]
)
def test_an_unknown_key_names_the_nearest_known_one(key: str, nearest: str) -> None:
    assert f"unknown key {key!r}; did you mean {nearest!r}?" in refusal(LEAST | {key: "x"})


def test_an_unknown_key_like_no_other_lists_the_known_ones() -> None:
    message = refusal(LEAST | {"qqq": 1})
    assert all(key in message for key in KEYS)


@pytest.mark.parametrize("key", sorted(LEAST))
def test_a_missing_key_is_named(key: str) -> None:
    message = refusal({name: value for name, value in LEAST.items() if name != key})
    assert f"missing {key!r}; required are bucket, data_bucket, data_prefix, result_path" in message


def test_every_missing_key_is_named_at_once() -> None:
    assert "missing 'bucket', 'data_bucket', 'data_prefix', 'result_path'" in refusal({})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("bucket", 5, "key 'bucket' 5: expected str, got int"),
        ("data_prefix", None, "key 'data_prefix' None: expected str, got null"),
        ("batch_size", "many", "key 'batch_size' 'many': expected int, got str"),
        ("batch_size", "", "key 'batch_size' '': expected int, got str"),
        ("batch_size", 2.5, "key 'batch_size' 2.5: expected int, got float"),
        ("batch_size", True, "key 'batch_size' True: expected int, got bool"),
        ("batch_size", 0, "key 'batch_size' 0: expected int >= 1"),
        ("file_limit", -3, "key 'file_limit' -3: expected int >= 1"),
        ("file_limit", [1], "key 'file_limit' [1]: expected int | null, got array"),
        ("task_timeout_s", 0, "key 'task_timeout_s' 0: expected float > 0"),
        ("tolerated_failure_percentage", "101", "expected float <= 100"),
        ("object_type", "disk", "key 'object_type' 'disk': expected one of folder, file"),
        ("model", {"a": 1}, "key 'model' {'a': 1}: expected str | null, got object"),
    ],
)
def test_a_wrong_type_or_value_says_what_was_got_and_expected(key: str, value: Any, said: str) -> None:
    assert said in refusal(LEAST | {key: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "nan", "Infinity", 10**400, "9" * 5000])
@pytest.mark.parametrize("key", ["batch_size", "file_limit", "task_timeout_s", "tolerated_failure_percentage"])
def test_no_number_of_a_payload_can_be_endless_or_none_at_all(key: str, value: Any) -> None:
    refusal(LEAST | {key: value})


@pytest.mark.parametrize("value", [TOO_LONG_TO_PRINT, "x" * 100_000, [["y"] * 10_000]], ids=["digits", "text", "list"])
def test_a_huge_value_does_not_fill_the_screen(value: Any) -> None:
    assert len(refusal(LEAST | {"batch_size": value})) < 300


def test_a_huge_unknown_key_does_not_fill_the_screen() -> None:
    assert len(refusal(LEAST | {"x" * 100_000: 1})) < 600


@pytest.mark.parametrize(
    ("text", "number"), [("129", 129), (" 7 ", 7), ("1e3", 1000.0), ("0.5", 0.5)], ids=["129", "7", "1e3", "0.5"]
)
def test_numbers_may_be_given_as_text(text: str, number: float) -> None:
    assert parsed(task_timeout_s=text).task_timeout_s == number


@pytest.mark.parametrize("text", ["1_000", "٣", "0x10", "1 000"])
def test_text_that_only_python_takes_for_a_number_is_refused(text: str) -> None:
    refusal(LEAST | {"batch_size": text})


@pytest.mark.parametrize("path", ["results/one/", "results/one"])
def test_one_slash_at_the_end_of_a_folder_is_dropped(path: str) -> None:
    assert parsed(result_path=path, data_prefix="25MB/").result_path == "results/one"


@pytest.mark.parametrize(
    "value", ["", "/", "/abs", "a//b", "a/../b", "..", ".", "a/./b", "a\nb", "a\0b", "a\\b", "\ud800", "a//", "x" * 256]
)
@pytest.mark.parametrize("key", ["data_prefix", "result_path", "model", "S3_object_name"])
def test_a_path_that_could_leave_its_folder_is_refused_by_its_key(key: str, value: str) -> None:
    with pytest.raises(KeyNameError, match=f"payload key '{key}'"):
        parsed(**{key: value})


@pytest.mark.parametrize("key", ["bucket", "data_bucket"])
def test_a_bucket_is_one_name(key: str) -> None:
    with pytest.raises(KeyNameError, match="holds a slash"):
        parsed(**{key: "a/b"})


@pytest.mark.parametrize("script", ["../x.py", "/srv/../x.py", "//x.py", "\ud800.py", ""])
def test_a_script_may_be_absolute_but_not_climb(script: str) -> None:
    assert parsed(script="/srv/a b/x.py").script == "/srv/a b/x.py"
    with pytest.raises(KeyNameError, match="payload key 'script'"):
        parsed(script=script)


@pytest.mark.parametrize("order", [("result_path", "result path"), ("result path", "result_path")])
def test_a_key_given_under_both_its_names_is_refused(order: tuple[str, str]) -> None:
    raw = {key: value for key, value in LEAST.items() if key != "result_path"} | dict.fromkeys(order, "r")
    assert "'result_path' is given twice, once as 'result path'; keep one" in refusal(raw)


def test_overrides_replace_keys_and_none_does_not() -> None:
    payload, _ = parse_payload(LEAST | {"batch_size": 8}, {"batch_size": 16, "model": None, "data_prefix": "50MB"})
    assert (payload.batch_size, payload.model, payload.data_prefix) == (16, None, "50MB")


def test_overrides_can_give_what_is_missing() -> None:
    assert parse_payload({}, LEAST)[0] == parsed()


def test_an_unknown_override_is_refused_like_an_unknown_key() -> None:
    assert "unknown key 'batch_sise'; did you mean 'batch_size'?" in refusal(LEAST, {"batch_sise": 8})


def test_a_key_that_is_no_text_is_refused() -> None:
    assert "unknown key" in refusal(LEAST | {5: "x"})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"bucket": 1' + b"0" * 5000 + b"}", "not JSON"),
        ('{"bucket": "x"}'.encode("utf-16"), "not JSON"),
        (b'{"bucket": "x", "bucket": "y"}', "the key 'bucket' is given twice"),
        (b'{"x": {"a": 1, "a": 1}}', "the key 'a' is given twice"),
        (b"[{}, {}]", "a list of 2 items; expected one object: put each into a file of its own"),
        (b"3", "got int; expected one object with the keys bucket, data_bucket, data_prefix, result_path"),
        (b"null", "got NoneType"),
    ],
)
def test_what_is_not_one_json_object_says_what_it_is(text: bytes, said: str) -> None:
    with pytest.raises(PayloadError) as caught:
        decode_object(text, "x.json")
    assert said in str(caught.value)
    assert "payload x.json" in str(caught.value)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "payload.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(LEAST).encode())
    assert load_payload(path)[0] == parsed()


@pytest.mark.parametrize("name", ["absent.json", ".", "x" * 300])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(PayloadError, match=r"cannot be read \(.+\); expected a JSON file"):
        load_payload(tmp_path / name)


def test_how_hard_to_try_is_no_difference() -> None:
    effort = {"max_concurrency": 1, "max_attempts": 9, "task_timeout_s": 5.0}
    tolerance = {"tolerated_failure_count": 2, "tolerated_failure_percentage": 10.0}
    limits = {"script_memory_mb": 100.0, "script_processes": 9, "script_disk_mb": 100.0}
    assert effort.keys() | tolerance.keys() | limits.keys() == EFFORT
    assert differing_keys(parsed(), parsed(**effort, **tolerance, **limits)) == []


OTHERS = {
    "bucket": "x",
    "data_bucket": "x",
    "data_prefix": "x",
    "result_path": "x",
    "model": "x",
    "file_limit": 5,
    "world_size": 5,
    "batch_size": 5,
    "threads": 2,
    "script": "x",
    "S3_object_name": "x",
    "object_type": "file",
}


@pytest.mark.parametrize("key", sorted(set(KEYS) - EFFORT))
def test_any_other_key_is_a_difference(key: str) -> None:
    assert differing_keys(parsed(), parsed(**{key: OTHERS[key]})) == [key]


def test_a_default_given_is_no_difference() -> None:
    assert differing_keys(parsed(), parsed(batch_size="32", object_type="folder", model=None)) == []


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["5", "nan", "a/b"])
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
objects = st.dictionaries(st.sampled_from([*KEYS, "result path"]) | st.text(), anything)
likely = st.fixed_dictionaries(
    {key: st.text("ab/. \ud800é", min_size=1, max_size=4) for key in LEAST},
    optional={key: st.integers(-1, 9) | st.floats() | st.sampled_from(["3", "x.onnx", None]) for key in KEYS[4:]},
)


@given(st.one_of(objects, likely, st.builds(lambda one, two: one | two, likely, objects)))
@example(LEAST | {"task_timeout_s": 5e-324, "tolerated_failure_percentage": 100})
@example(LEAST | {"script": "\udfff"})
@example(LEAST | {"batch_size": TOO_LONG_TO_PRINT})
def test_any_object_is_a_payload_that_survives_storing_or_an_error_of_one_line(raw: dict[str, Any]) -> None:
    try:
        payload, _ = parse_payload(raw)
    except (PayloadError, KeyNameError) as error:
        assert "\n" not in str(error)  # noqa: PT017  most are refused, some are not
        return
    stored = payload.encode()
    assert parse_payload(decode_object(stored, "x"))[0] == payload
    assert parse_payload(payload.to_mapping())[0] == payload


@given(st.binary() | anything.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_object_or_a_payload_error(data: bytes) -> None:
    with suppress(PayloadError):
        assert isinstance(decode_object(data, "x"), dict)
