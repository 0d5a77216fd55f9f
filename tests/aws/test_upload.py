"""Uploads to emulators of S3: what is there afterwards, what is said when something is wrong, and that doing it again
goes on.
"""

import hashlib
import os
import signal
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aws import emulator
from aws.states import serve
from s3 import request
from skyfan.aws import sending
from skyfan.aws import upload as uploading
from skyfan.aws.session import Cloud
from skyfan.aws.upload import Uploaded, upload
from skyfan.errors import AwsError, AwsRefusedError, InputError, KeyNameError, RunStoppedError, SurveyError
from skyfan.partitions import Index, PartitionRef, decode_index

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with serve() as machine:
        yield machine.address


@pytest.fixture(scope="module")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve an S3 that checks checksums, also those of parts."""
    pytest.importorskip("ministack")
    with emulator.ministack(tmp_path_factory.mktemp("ministack")) as found:
        yield found.address


@pytest.fixture(params=["moto", "ministack"])
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    return connected(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture
def checking(ministack: str, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """An S3 that checks what it is told."""
    return connected(ministack, monkeypatch)


def connected(address: str, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_ENDPOINT_URL": address,
    }.items():
        monkeypatch.setenv(name, value)
    cloud = Cloud("us-east-1")
    s3 = cloud.client("s3")
    s3.meta.events.register("after-call.s3.HeadObject", _with_number_of_parts)
    if "sky" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        for key in stored(cloud):
            s3.delete_object(Bucket="sky", Key=key)
        for left in s3.list_multipart_uploads(Bucket="sky").get("Uploads", []):
            s3.abort_multipart_upload(Bucket="sky", Key=left["Key"], UploadId=left["UploadId"])
    else:
        request(address, "PUT", "/sky")
    return cloud


def _with_number_of_parts(parsed: dict[str, Any], **_: Any) -> None:
    """Say of how many parts a checksum is, as S3 does; moto forgets it."""
    said, tag = parsed.get("ChecksumSHA256"), parsed.get("ETag", "").strip('"')
    if said and "-" in tag and "-" not in said:
        parsed["ChecksumSHA256"] = f"{said}-{tag.rsplit('-', 1)[1]}"


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """Three partitions and their index."""
    folder = tmp_path / "25MB"
    folder.mkdir()
    refs = []
    for number in (1, 2, 10):
        data = bytes([number]) * (1000 * number)
        (folder / f"{number}.safetensors").write_bytes(data)
        refs.append(PartitionRef(f"{number}.safetensors", len(data), number, hashlib.sha256(data).hexdigest()))
    (folder / "index.json").write_bytes(Index(1, 13, True, tuple(refs)).encode())
    return folder


def send(cloud: Cloud, source: Path, prefix: str = "surveys/25MB", **options: Any) -> Uploaded:
    options.setdefault("progress", lambda done, total: None)
    return upload(cloud, source, "sky", prefix, **options)


def stored(cloud: Cloud) -> list[str]:
    return [item["Key"] for item in cloud.client("s3").list_objects_v2(Bucket="sky").get("Contents", [])]


def content(cloud: Cloud, key: str) -> bytes:
    data: bytes = cloud.client("s3").get_object(Bucket="sky", Key=key)["Body"].read()
    return data


def written(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by every key that is written."""
    keys: list[str] = []
    events = cloud.client("s3").meta.events
    for operation in ("PutObject", "CompleteMultipartUpload", "DeleteObject"):
        events.register(
            f"provide-client-params.s3.{operation}",
            lambda params, model, **_: keys.append(f"{model.name} {params['Key'].rsplit('/', 1)[-1]}"),
        )
    return keys


def failing(cloud: Cloud, operation: str, when: Callable[[dict[str, Any]], bool], do: Callable[[], None]) -> None:
    """Do something whenever such a request is about to be made."""

    def look(params: dict[str, Any], **_: Any) -> None:
        if when(params):
            do()

    cloud.client("s3").meta.events.register(f"provide-client-params.s3.{operation}", look)


def test_a_folder_is_there_as_it_was_and_a_second_time_sends_nothing(cloud: Cloud, survey: Path) -> None:
    (survey / "models").mkdir()
    (survey / "models" / "a.onnx").write_bytes(b"")
    told: list[tuple[int, int]] = []
    first = send(cloud, survey, progress=lambda done, total: told.append((done, total)))
    total = sum(path.stat().st_size for path in survey.rglob("*") if path.is_file())
    assert (first.files, first.skipped, first.bytes, first.bytes_sent) == (5, 0, total, total)
    assert (first.bucket, first.prefix) == ("sky", "surveys/25MB")
    for path in survey.rglob("*"):
        if path.is_file():
            assert content(cloud, f"surveys/25MB/{path.relative_to(survey)}") == path.read_bytes()
    assert told[-1] == (total, total)
    assert told == sorted(told)
    again = send(cloud, survey)
    assert (again.files, again.skipped, again.bytes_sent) == (5, 5, 0)


def test_a_file_keeps_its_name(cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "a model.onnx").write_bytes(b"weights")
    send(cloud, tmp_path / "a model.onnx", "models")
    assert stored(cloud) == ["models/a model.onnx"]


def test_s3_holds_the_sha_256_of_what_was_sent(checking: Cloud, survey: Path) -> None:
    send(checking, survey)
    head = checking.client("s3").head_object(Bucket="sky", Key="surveys/25MB/2.safetensors", ChecksumMode="ENABLED")
    digest = hashlib.sha256((survey / "2.safetensors").read_bytes()).digest()
    assert head["ChecksumSHA256"] == b64encode(digest).decode()


def test_the_index_comes_last_and_until_then_says_so(
    cloud: Cloud, survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = written(cloud, monkeypatch)
    marks = []

    def look() -> None:
        marks.append(decode_index(content(cloud, "surveys/25MB/index.json"), "index").complete)

    failing(cloud, "PutObject", lambda params: params["Key"].endswith("safetensors"), look)
    send(cloud, survey, workers=2)
    assert [keys[0], keys[-1]] == ["PutObject index.json"] * 2
    assert len(keys) == 5
    assert marks == [False] * 3
    assert decode_index(content(cloud, "surveys/25MB/index.json"), "index").complete


def test_partitions_without_an_index_are_guarded_too(
    cloud: Cloud, survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (survey / "index.json").unlink()
    keys = written(cloud, monkeypatch)
    send(cloud, survey)
    assert (keys[0], keys[-1], len(keys)) == ("PutObject index.json", "DeleteObject index.json", 5)
    assert "surveys/25MB/index.json" not in stored(cloud)


def test_nested_partitions_without_an_index_are_guarded_at_the_root_too(
    cloud: Cloud, survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (survey / "index.json").unlink()
    (survey / "night" / "one").mkdir(parents=True)
    (survey / "2.safetensors").rename(survey / "night" / "one" / "2.safetensors")
    (survey / "10.safetensors").rename(survey / "night" / "10.safetensors")
    (survey / "1.safetensors").unlink()
    keys = written(cloud, monkeypatch)
    marked: list[set[str]] = []
    folders = {"surveys/25MB/index.json", "surveys/25MB/night/index.json", "surveys/25MB/night/one/index.json"}

    def look() -> None:
        indexes = {key for key in stored(cloud) if key.endswith("index.json")}
        marked.append({key for key in indexes if not decode_index(content(cloud, key), key).complete})

    failing(cloud, "PutObject", lambda params: params["Key"].endswith("safetensors"), look)
    send(cloud, survey)
    assert marked == [folders] * 2
    assert keys[-3:] == ["DeleteObject index.json"] * 3
    assert not folders & set(stored(cloud))


@pytest.mark.parametrize("overwrite", [False, True])
def test_partitions_of_another_set_are_not_mixed_in(
    cloud: Cloud, survey: Path, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (survey / "index.json").unlink()
    send(cloud, survey)
    for name in ("1", "10"):  # a smaller set, made anew
        (survey / f"{name}.safetensors").unlink()
    cloud.client("s3").put_object(Bucket="sky", Key="surveys/25MB/night/3.pt", Body=b"old")
    before, keys = stored(cloud), written(cloud, monkeypatch)
    with pytest.raises(
        InputError,
        match=r"s3://sky/surveys/25MB/1\.safetensors, s3://sky/surveys/25MB/10\.safetensors, "
        r"s3://sky/surveys/25MB/night/3\.pt: partitions that are not part of this upload.*nothing was sent; .*"
        r"choose another prefix, or delete them",
    ):
        send(cloud, survey, overwrite=overwrite)
    assert keys == []
    assert stored(cloud) == before
    for key in ("surveys/25MB/1.safetensors", "surveys/25MB/10.safetensors", "surveys/25MB/night/3.pt"):
        cloud.client("s3").delete_object(Bucket="sky", Key=key)
    assert send(cloud, survey, overwrite=overwrite).skipped == 1


def test_an_index_excludes_what_it_does_not_name(cloud: Cloud, survey: Path, tmp_path: Path) -> None:
    cloud.client("s3").put_object(Bucket="sky", Key="surveys/25MB/11.safetensors", Body=b"old")
    assert send(cloud, survey).files == 4
    (tmp_path / "above").mkdir()
    survey.rename(tmp_path / "above" / "25MB")
    cloud.client("s3").put_object(Bucket="sky", Key="surveys/5MB/1.pt", Body=b"another's")
    with pytest.raises(InputError, match=r"s3://sky/surveys/5MB/1\.pt: partitions that are not part of this upload"):
        send(cloud, tmp_path / "above", "surveys")


def test_a_file_by_itself_joins_what_is_there(cloud: Cloud, survey: Path) -> None:
    (survey / "index.json").unlink()
    send(cloud, survey)
    (survey / "11.safetensors").write_bytes(b"more")
    assert send(cloud, survey / "11.safetensors").files == 1


def test_a_partition_that_is_lost_there_is_sent_again_under_guard(
    cloud: Cloud, survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(cloud, survey)
    cloud.client("s3").delete_object(Bucket="sky", Key="surveys/25MB/2.safetensors")
    keys = written(cloud, monkeypatch)
    again = send(cloud, survey)
    assert keys == ["PutObject index.json", "PutObject 2.safetensors", "PutObject index.json"]
    assert (again.files, again.skipped) == (4, 2)


@pytest.mark.parametrize("length", [2000, 1999])
def test_another_content_is_refused_before_anything_is_sent(
    cloud: Cloud, survey: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = cloud.client("s3")
    s3.put_object(Bucket="sky", Key="surveys/25MB/2.safetensors", Body=b"x" * length)
    keys = written(cloud, monkeypatch)
    with pytest.raises(InputError, match=r"s3://sky/surveys/25MB/2\.safetensors: is there, of another content.*--over"):
        send(cloud, survey)
    assert keys == []
    assert send(cloud, survey, overwrite=True).skipped == 0
    assert content(cloud, "surveys/25MB/2.safetensors") == (survey / "2.safetensors").read_bytes()


def test_what_others_stored_without_a_sha_256_is_read_for_it(cloud: Cloud, survey: Path) -> None:
    data = (survey / "2.safetensors").read_bytes()
    cloud.client("s3").put_object(Bucket="sky", Key="surveys/25MB/2.safetensors", Body=data, ChecksumAlgorithm="CRC32")
    assert send(cloud, survey).skipped == 1


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (sending, uploading):
        monkeypatch.setattr(module, "PART_BYTES", 5 * MIB)
    path = tmp_path / "large.onnx"
    path.write_bytes(b"".join(bytes([number]) * (5 * MIB) for number in range(3)) + b"the rest")
    return path


def test_a_large_file_goes_in_parts(cloud: Cloud, large: Path) -> None:
    told: list[tuple[int, int]] = []
    sent = send(cloud, large, "models", progress=lambda done, total: told.append((done, total)))
    assert (sent.files, sent.bytes_sent) == (1, 15 * MIB + 8)
    assert told[-1] == (15 * MIB + 8, 15 * MIB + 8)
    assert content(cloud, "models/large.onnx") == large.read_bytes()
    assert send(cloud, large, "models").skipped == 1


def test_the_parts_checksums_are_s3s(checking: Cloud, large: Path) -> None:
    send(checking, large, "models")
    head = checking.client("s3").head_object(Bucket="sky", Key="models/large.onnx", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"].endswith("-4")
    data = bytearray(large.read_bytes())
    data[0] += 1
    large.write_bytes(data)
    with pytest.raises(InputError, match="of another content"):
        send(checking, large, "models")


def test_parts_of_another_size_are_the_same_content(moto: str, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = connected(moto, monkeypatch)
    send(cloud, large, "models")
    for module in (sending, uploading):
        monkeypatch.setattr(module, "PART_BYTES", 7 * MIB)
    assert send(cloud, large, "models").skipped == 1


def test_parts_that_are_there_are_not_sent_again(checking: Cloud, large: Path) -> None:
    broken = [True]

    def fail() -> None:
        if broken[0]:
            raise AwsError("the line is cut")

    failing(checking, "UploadPart", lambda params: params["PartNumber"] == 3, fail)
    with pytest.raises(AwsError, match=r"the line is cut; 1 file of 1 are left, 15\.0 MiB; do the same again"):
        send(checking, large, "models", workers=1)
    broken[0] = False
    again = send(checking, large, "models", workers=1)
    assert again.bytes_sent == 5 * MIB + 8
    assert content(checking, "models/large.onnx") == large.read_bytes()


def test_what_changes_on_the_way_is_not_taken(checking: Cloud, survey: Path) -> None:
    path = survey / "10.safetensors"

    def change() -> None:
        path.write_bytes(b"y" * 10_000)

    failing(checking, "PutObject", lambda params: params["Key"].endswith("/10.safetensors"), change)
    with pytest.raises(InputError, match=r"10\.safetensors: was changed meanwhile.*are left.*do the same again"):
        send(checking, survey)
    assert "surveys/25MB/10.safetensors" not in stored(checking)
    assert not decode_index(content(checking, "surveys/25MB/index.json"), "index").complete


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"y"), lambda path: path.unlink()])
def test_what_shrinks_or_vanishes_on_the_way_ends_it_at_once(
    cloud: Cloud, survey: Path, spoil: Callable[[Path], None]
) -> None:
    path = survey / "10.safetensors"
    failing(cloud, "PutObject", lambda params: params["Key"].endswith("/10.safetensors"), lambda: spoil(path))
    started = time.monotonic()
    with pytest.raises(InputError, match=r"10\.safetensors: (was changed meanwhile|cannot be read \(No such file)"):
        send(cloud, survey)
    assert time.monotonic() - started < 10


def test_ctrl_c_says_what_is_left_and_doing_it_again_goes_on(cloud: Cloud, survey: Path) -> None:
    once, main = iter([True]), threading.get_ident()

    def interrupt() -> None:
        if next(once, False):
            signal.pthread_kill(main, signal.SIGINT)

    def later() -> None:
        threading.Thread(target=interrupt).start()
        time.sleep(0.3)

    failing(cloud, "PutObject", lambda params: params["Key"].endswith("/10.safetensors"), later)
    with pytest.raises(RunStoppedError, match=r"upload: interrupted; \d files? of 4 are left, .*it goes on") as caught:
        send(cloud, survey, workers=1)
    assert caught.value.exit_code == 130
    assert not decode_index(content(cloud, "surveys/25MB/index.json"), "index").complete
    assert send(cloud, survey).skipped == 2
    assert decode_index(content(cloud, "surveys/25MB/index.json"), "index").complete


def test_an_index_that_does_not_fit_is_refused(cloud: Cloud, survey: Path) -> None:
    (survey / "3.safetensors").write_bytes(b"surplus")
    with pytest.raises(SurveyError, match=r"3\.safetensors: is not what index\.json says"):
        send(cloud, survey)
    (survey / "3.safetensors").unlink()
    (survey / "2.safetensors").write_bytes(b"z" * 2000)
    with pytest.raises(SurveyError, match=r"2\.safetensors: is not what its index\.json says: its SHA-256 is"):
        send(cloud, survey)
    (survey / "index.json").write_bytes(Index(1, 0, False, ()).encode())
    with pytest.raises(SurveyError, match="has not finished here"):
        send(cloud, survey)


def test_what_is_no_file_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    with pytest.raises(InputError, match=r"x: cannot be read \(No such file"):
        send(cloud, folder)
    folder.mkdir()
    with pytest.raises(InputError, match="holds no file"):
        send(cloud, folder)
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="pipe: is neither a file nor a folder"):
        send(cloud, folder)
    (folder / "pipe").unlink()
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="link: is a symbolic link"):
        send(cloud, folder)
    (folder / "link").unlink()
    (folder / "a#1").write_bytes(b"")
    with pytest.raises(KeyNameError, match="ends with a colon, a bar"):
        send(cloud, folder)


def test_names_and_numbers_are_checked(cloud: Cloud, survey: Path) -> None:
    with pytest.raises(InputError, match="0 workers; expected 1 to 64"):
        send(cloud, survey, workers=0)
    with pytest.raises(KeyNameError, match=r"prefix: '\.\./x'"):
        send(cloud, survey, "../x")
    with pytest.raises(KeyNameError, match="bucket: 'a/b' holds a slash"):
        upload(cloud, survey, "a/b", "surveys", progress=lambda done, total: None)


def test_a_bucket_that_is_not_there_or_elsewhere(cloud: Cloud, survey: Path) -> None:
    with pytest.raises(InputError, match="bucket nowhere: there is none"):
        upload(cloud, survey, "nowhere", "surveys", progress=lambda done, total: None)
    name = f"far-{time.monotonic_ns()}"
    far = Cloud("eu-west-1")
    far.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    with pytest.raises(InputError, match=f"bucket {name}: lies in eu-west-1; expected the stack's region, us-east-1"):
        upload(cloud, survey, name, "surveys", progress=lambda done, total: None)


def test_no_permission(moto: str, monkeypatch: pytest.MonkeyPatch, survey: Path) -> None:
    cloud = connected(moto, monkeypatch)
    request(moto, "POST", "/moto-api/reset-auth", b"0")
    try:
        with pytest.raises(AwsRefusedError, match="bucket sky: AWS does not know these credentials"):
            send(cloud, survey)
    finally:
        request(moto, "POST", "/moto-api/reset-auth", b"inf")


def test_a_token_that_expires_on_the_way(cloud: Cloud, survey: Path) -> None:
    from botocore.exceptions import ClientError

    def expire() -> None:
        raise ClientError(
            {"Error": {"Code": "ExpiredToken", "Message": "The provided token has expired."}}, "PutObject"
        )

    failing(cloud, "PutObject", lambda params: params["Key"].endswith("/10.safetensors"), expire)
    with pytest.raises(AwsRefusedError, match=r"10\.safetensors: your credentials have expired.*are left"):
        send(cloud, survey)


def test_memory_is_bounded(checking: Cloud, tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(24 * MIB)
    tracemalloc.start()
    send(checking, path, "models", workers=4)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 12 * MIB
