"""One behaviour of every kind of store."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from s3 import listening
from skyfan.errors import InputError, KeyNameError, StoreAbsentError, StoreError
from skyfan.storage import DEFAULT_STORE, Bucket, Entry, Store, resolve_store

ODD_KEYS = ["a b/c d.pt", "ü/é 😀.pt", "100%/p%20q.pt", "h#1/x#y.pt", "q?x=1/y&z.pt", "a+b/~c.pt", "[x]/{y}*:|.pt"]


def test_what_is_put_is_got(bucket: Bucket) -> None:
    bucket.put("a/b.json", b"content")
    assert bucket.get("a/b.json") == b"content"


def test_an_empty_object_is_an_object(bucket: Bucket) -> None:
    bucket.put("a/empty", b"")
    assert bucket.get("a/empty") == b""
    assert bucket.list("a") == [Entry("a/empty", 0)]


def test_a_put_replaces_what_was_there(bucket: Bucket) -> None:
    bucket.put("a", b"longer than the next")
    bucket.put("a", b"short")
    assert bucket.get("a") == b"short"


def test_an_object_may_be_put_in_pieces(bucket: Bucket) -> None:
    pieces = [b"head", memoryview(bytes(6 * 2**20)), b"tail"]
    bucket.put("a/large", pieces)
    assert bucket.head("a/large") == Entry("a/large", 6 * 2**20 + 8)
    assert bucket.get("a/large") == b"".join(pieces)


def test_what_is_not_there_is_none(bucket: Bucket) -> None:
    assert bucket.get("no/such") is None
    assert bucket.head("no/such") is None
    assert bucket.blob("no/such") is None
    assert bucket.ranged_blob("no/such") is None
    assert bucket.list("no") == []


def test_an_object_is_created_once(bucket: Bucket) -> None:
    assert bucket.create("a/claim", b"first")
    assert not bucket.create("a/claim", b"second")
    assert bucket.get("a/claim") == b"first"


def test_of_many_who_create_at_once_one_does(bucket: Bucket) -> None:
    start = threading.Barrier(12)

    def create(number: int) -> bool:
        start.wait()
        return bucket.create("a/claim", str(number).encode())

    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(create, range(12)))
    assert won.count(True) == 1
    assert bucket.get("a/claim") == str(won.index(True)).encode()


def test_a_listing_is_of_a_folder_and_not_of_names_that_begin_alike(bucket: Bucket) -> None:
    for key in ("25MB/1.pt", "25MB/x/2.pt", "25MB-old/3.pt", "25MB", "25MBx", "other/25MB/4.pt"):
        if not (key == "25MB" and bucket.local_path(key)):  # a folder cannot hold a file and a folder of one name
            bucket.put(key, key.encode())
    assert sorted(bucket.list("25MB")) == [Entry("25MB/1.pt", 9), Entry("25MB/x/2.pt", 11)]


def test_a_listing_has_all_its_pages(bucket: Bucket) -> None:
    keys = {f"many/{number}" for number in range(1100)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: bucket.put(key, b"x"), keys))
    assert {entry.key for entry in bucket.list("many")} == keys
    bucket.delete(sorted(keys)[:1050])
    assert len(bucket.list("many")) == 50


def test_many_objects_are_got_in_the_order_asked(bucket: Bucket) -> None:
    for number in range(40):
        bucket.put(f"r/{number}", str(number).encode())
    asked = [f"r/{number}" for number in (39, 3, 99, 7)]
    assert list(bucket.get_many(asked)) == [b"39", b"3", None, b"7"]


def test_what_is_deleted_is_gone_and_deleting_it_again_is_no_error(bucket: Bucket) -> None:
    bucket.put("a/1", b"x")
    bucket.put("a/2", b"x")
    bucket.delete(["a/1", "a/none"])
    bucket.delete(["a/1"])
    bucket.delete([])
    assert bucket.list("a") == [Entry("a/2", 1)]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_is_the_same_to_every_operation(bucket: Bucket, key: str) -> None:
    content = key.encode()
    bucket.put(key, content)
    assert bucket.get(key) == content
    assert bucket.head(key) == Entry(key, len(content))
    assert bucket.list(key.split("/", maxsplit=1)[0]) == [Entry(key, len(content))]
    blob = bucket.blob(key)
    assert blob is not None
    assert bytes(blob.view(0, blob.size)) == content
    assert not bucket.create(key, b"")
    bucket.delete([key])
    assert bucket.get(key) is None


@pytest.mark.parametrize("ranged", [True, False], ids=["ranged", "whole"])
def test_a_blob_gives_any_of_its_bytes(bucket: Bucket, ranged: bool) -> None:
    content = bytes(range(256)) * 10
    bucket.put("a/data.pt", content)
    blob = bucket.ranged_blob("a/data.pt") if ranged else bucket.blob("a/data.pt")
    assert blob is not None
    assert blob.size == len(content)
    for start, stop in ((0, 1), (0, len(content)), (700, 1300), (len(content) - 1, len(content)), (5, 5)):
        assert bytes(blob.view(start, stop)) == content[start:stop]
    assert blob.name.endswith("sky/a/data.pt"), "messages say where it lies"


def test_a_blob_of_an_empty_object_is_empty(bucket: Bucket) -> None:
    bucket.put("a/empty.pt", b"")
    for blob in (bucket.blob("a/empty.pt"), bucket.ranged_blob("a/empty.pt")):
        assert blob is not None
        assert (blob.size, bytes(blob.view(0, 0))) == (0, b"")


@pytest.mark.parametrize("name", ["", "a/b", "..", "/"])
def test_a_bucket_of_no_name_is_refused(any_store: Store, name: str) -> None:
    with pytest.raises(KeyNameError):
        any_store.bucket(name)


@pytest.mark.parametrize("any_store", ["folder", "s3"], indirect=True)
@pytest.mark.parametrize(
    "use",
    [
        lambda bucket: bucket.get("x"),
        lambda bucket: bucket.put("x", b""),
        lambda bucket: bucket.create("x", b""),
        lambda bucket: bucket.list("x"),
        lambda bucket: bucket.blob("x"),
    ],
    ids=["get", "put", "create", "list", "blob"],
)
def test_a_bucket_that_is_not_there_is_said_so(any_store: Store, use: object) -> None:
    with pytest.raises(StoreAbsentError, match=r"none.*there is no"):
        use(any_store.bucket("none"))  # type: ignore[operator]


def test_only_a_folder_can_be_seen_as_files(bucket: Bucket, any_store: Store) -> None:
    path = bucket.local_path("a/b")
    assert (path is not None) == (any_store.url.startswith("/"))


def test_a_folder_that_is_not_there_is_no_store_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreAbsentError, match=r"store: there is no folder .*/none; expected one; name another with"):
        Store(str(tmp_path / "none")).bucket("sky", create="bucket")
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_on_paper_is_empty_and_nowhere(tmp_path: Path) -> None:
    bucket = Store(str(tmp_path)).bucket("sky", create="on paper")
    assert bucket.get("x") is None
    assert bucket.list("x") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", ["nothing", "bucket", "store"])
@pytest.mark.parametrize("where", ["file", "file/within"])
def test_a_file_is_no_store(tmp_path: Path, where: str, create: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreAbsentError, match="there is no folder"):
        Store(str(tmp_path / where)).bucket("sky", create=create)  # type: ignore[arg-type]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_may_be_given_as_a_file_address(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    Store(str(folder)).bucket("sky", create="store").put("x", b"1")
    assert Store(folder.as_uri()).bucket("sky").get("x") == b"1"


def test_a_sweep_takes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    bucket = Store(str(tmp_path)).bucket("sky", create="bucket")
    names = (
        "run/a.json#1",
        "run/other#7",
        "run/b/a.json#2",
        "run/keep#this",
        "run/a.json",
        "other/a.json#1",
        "run/x#1/in",
    )
    for name in names:
        path = tmp_path / "sky" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    bucket.sweep("run", lambda key: key == "run/a.json")
    left = {path.relative_to(tmp_path / "sky").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*names} - {"run/a.json#1"}


def test_the_store_is_the_argument_then_the_variable_then_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_store(None) == DEFAULT_STORE
    monkeypatch.setenv("SKYFAN_STORE", "s3://")
    assert resolve_store(None) == "s3://"
    assert resolve_store("here") == "here"


@pytest.mark.parametrize(
    ("url", "said"),
    [("ftp://x", "has the scheme 'ftp'; expected a folder"), ("s3://sky", "names a bucket; expected s3:// alone")],
)
def test_an_address_that_is_none_says_what_is_expected(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Store(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://someone:hush@sky",
        "ftp://someone:hush@h/x",
        "http://h:9/?X-Amz-Signature=hush",
        "http://h:9/#hush",
        "http://someone:hush@h:9",
        "http://hush@[",
    ],
)
def test_no_message_shows_what_may_be_a_secret(url: str) -> None:
    with pytest.raises(InputError) as caught:
        Store(url).bucket("sky")
    assert "hush" not in str(caught.value)


BAD_ENDPOINTS = [
    "http://",
    "http://[",
    "http://a b:3",
    "http://127.0.0.1:99999",
    "http://ü:1",
    "http://h:1?x",
    "http://h:0",
]


@pytest.mark.parametrize("url", BAD_ENDPOINTS)
def test_a_server_address_that_is_none_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError, match=r"is no server's address; expected http\(s\)://HOST:PORT"):
        Store(url).bucket("sky")


@pytest.mark.parametrize("value", [*BAD_ENDPOINTS, "127.0.0.1:9000", "localhost"])
def test_so_is_one_in_the_environment(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", value)
    with pytest.raises(InputError, match="is no server's address"):
        Store("s3://").bucket("sky")


@pytest.mark.parametrize("name", ["A B", "ü", "a?b", "a%b", "x", "y" * 64, "-a"])
def test_a_bucket_name_that_no_server_takes_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match=r"no server has a bucket of that name; expected 2 to 63 letters"):
        Store("http://127.0.0.1:9").bucket(name)


def test_a_refused_connection_is_an_error_that_may_pass_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    with pytest.raises(
        StoreError, match=r"s3://sky/x: the store failed: .*127\.0\.0\.1:9.*; see that it can be"
    ) as caught:
        Store("http://127.0.0.1:9").bucket("sky").get("x")
    assert caught.value.may_pass


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_servers_address_may_end_in_a_slash(s3: str, slash: str) -> None:
    bucket = Store(f"{s3}{slash}").bucket("sky")
    bucket.put("a/x", b"1")
    assert bucket.list("a") == [Entry("a/x", 1)]


def test_credentials_of_a_profile_are_found_as_boto3_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text(
        "[survey]\naws_access_key_id = of-a-profile\naws_secret_access_key = secret\n"
    )
    (tmp_path / "config").write_text("[profile survey]\nregion = eu-north-1\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "survey")
    with listening() as (address, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert Store("s3://").bucket("sky").get("a") == b"{}"
    assert "Credential=of-a-profile/" in seen[0]["authorization"]
    assert "/eu-north-1/s3/" in seen[0]["authorization"]
