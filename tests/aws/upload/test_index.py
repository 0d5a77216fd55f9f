"""A set of partitions: its index comes last, guards it until then, and keeps others out."""

from pathlib import Path

import pytest

from aws.upload.bucket import content, failing, send, stored, written
from skyfan.aws.session import Cloud
from skyfan.errors import InputError, SurveyError
from skyfan.partitions import Index, decode_index


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
