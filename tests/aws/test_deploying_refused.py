"""What a deployment refuses before it changes anything: packages, values, and buckets."""

import zipfile
from pathlib import Path

import pytest

from aws.accounts import enter, put
from aws.deployments import ELF, Seen, write_zip
from aws.emulator import ministack
from skyfan.aws import archive
from skyfan.aws.deploying import deploy
from skyfan.aws.session import Cloud
from skyfan.aws.stack import find_stack
from skyfan.errors import InputError


def test_packages_that_are_none(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as content:
        content.writestr("app.py", "")
    for name, message in (
        ("absent", "cannot be read as a package"),
        ("text", "cannot be read as a package"),
        ("other.zip", "has no skyfan/aws/handlers.py; expected a zip that 'skyfan aws package --architecture arm64'"),
    ):
        with pytest.raises(InputError, match=message):
            archive.read_archive(tmp_path / name, "arm64")
    assert archive.read_archive(package, "arm64").version == "0.1.0"
    assert archive.read_archive(write_zip(package, **{"a.so": ELF}), "x86_64").architecture == "x86_64"
    monkeypatch.setattr(archive, "LIMIT_BYTES", 10)
    with pytest.raises(InputError, match="MiB unzipped; expected at most"):
        archive.read_archive(package, "x86_64")


def test_a_value_that_the_template_refuses(cloud: Cloud, package: Path) -> None:
    with pytest.raises(InputError, match=r"stack value: .*InferMemory.*; expected settings that the template takes"):
        deploy(cloud, "value", {"InferMemory": "64"}, package=package, watch=Seen())
    assert find_stack(cloud, "value") is None


@pytest.mark.parametrize(
    ("account", "region", "message"),
    [
        (
            "999999999999",
            "us-east-1",
            "lies in account 999999999999, .*expected one in account 123456789012, region us-",
        ),
        ("123456789012", "eu-west-1", "region eu-west-1; expected one in account 123456789012, region us-east-1"),
        ("public", "us-east-1", "is no image of ECR; expected its URI with a tag or digest"),
    ],
    ids=["account", "region", "registry"],
)
def test_an_image_that_the_stack_cannot_use(
    moto: Cloud, package: Path, account: str, region: str, message: str
) -> None:
    image = f"{account}.dkr.ecr.{region}.amazonaws.com/scripts:1"
    with pytest.raises(InputError, match=message):
        deploy(moto, "image", {"ScriptImage": image}, package=package, watch=Seen())
    assert find_stack(moto, "image") is None


def test_an_absent_bucket(moto: Cloud, package: Path) -> None:
    with pytest.raises(InputError, match=r"bucket nowhere: there is none; expected one that exists: .*--data-bucket"):
        deploy(moto, "absent", {"DataBucket": "nowhere"}, package=package, watch=Seen())


def test_a_bucket_in_another_region(moto: Cloud, package: Path) -> None:
    moto.client("s3").create_bucket(Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for settings in ({"Bucket": "far"}, {"DataBucket": "far"}, {"CodeBucket": "far"}):
        with pytest.raises(InputError, match=r"bucket far: is in region eu-west-1; expected us-east-1.*: name another"):
            deploy(moto, "regions", settings, package=package, watch=Seen())
    assert find_stack(moto, "regions") is None


def test_a_bucket_of_another_account(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ministack")
    with ministack(tmp_path) as emulator:  # without credentials to check, the key is the account's number
        put(enter({**emulator.environment, "AWS_ACCESS_KEY_ID": "999999999999"}, monkeypatch), "taken")
        cloud = enter({**emulator.environment, "AWS_ACCESS_KEY_ID": "111111111111"}, monkeypatch)
        for settings, option in (({"CodeBucket": "taken"}, "--code-bucket"), ({"Bucket": "taken"}, "--bucket")):
            with pytest.raises(InputError, match=rf"bucket taken: belongs to another account.*with {option}"):
                deploy(cloud, "accounts", settings, package=package, watch=Seen())
        assert find_stack(cloud, "accounts") is None
