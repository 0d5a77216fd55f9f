"""The code of script tasks: what a payload may name, and what reaches a worker."""

from pathlib import Path
from typing import Any

import pytest

from skyfan import script_code
from skyfan.errors import CodeError, PayloadError
from skyfan.payload import parse_payload
from skyfan.script_code import give_code, resolve_script, stage_code
from skyfan.storage import Bucket, Store
from skyfan.task import ScriptRef


@pytest.fixture(autouse=True)
def _nothing_staged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_code, "_STAGED", {})


SEED = "/tmp/Anomaly Detection/Inference/inference.py"


@pytest.fixture
def bucket(store: Store) -> Bucket:
    found = store.bucket("sky")
    found.put("Anomaly Detection/Inference/inference.py", b"print('hello')")
    found.put("Anomaly Detection/blocks/network.py", b"WIDTH = 192")
    found.put("one.py", b"print('one')")
    return found


def resolve(bucket: Bucket, asked: dict[str, Any], **changes: Any) -> ScriptRef:
    given = asked | {"S3_object_name": "Anomaly Detection", "script": SEED} | changes
    del given["model"]
    return resolve_script(parse_payload(given)[0], bucket)


@pytest.mark.parametrize("script", [SEED, "Inference/inference.py", "Anomaly Detection/Inference/inference.py"])
def test_a_script_is_named_as_in_the_original_system_or_by_its_place_in_the_folder(
    bucket: Bucket, asked: dict[str, Any], script: str
) -> None:
    ref = resolve(bucket, asked, script=script)
    assert (ref.folder, ref.file) == ("Anomaly Detection", "Anomaly Detection/Inference/inference.py")
    assert ref.said == script


@pytest.mark.parametrize("script", ["/tmp/one.py", "one.py"])
def test_the_code_may_be_one_file(bucket: Bucket, asked: dict[str, Any], script: str) -> None:
    ref = resolve(bucket, asked, S3_object_name="one.py", object_type="file", script=script)
    assert (ref.file, sorted(path.name for path in stage_code(ref, bucket).iterdir())) == ("one.py", ["one.py"])


@pytest.mark.parametrize(
    "script", ["/etc/passwd", "/tmp/other/run.py", "/tmp/Anomaly Detection", "/tmp/Anomaly Detection-old/run.py"]
)
def test_a_script_outside_of_the_code_is_refused(bucket: Bucket, asked: dict[str, Any], script: str) -> None:
    with pytest.raises((PayloadError, CodeError), match="expected"):
        resolve(bucket, asked, script=script)


@pytest.mark.parametrize("script", ["../secret.py", "/tmp/Anomaly Detection/../secret.py", "Inference/../../x.py"])
def test_a_script_that_climbs_out_of_the_code_is_refused(bucket: Bucket, asked: dict[str, Any], script: str) -> None:
    with pytest.raises(Exception, match=r"'\.\.' segment"):
        resolve(bucket, asked, script=script)


def test_a_script_without_code_is_refused(bucket: Bucket, asked: dict[str, Any]) -> None:
    with pytest.raises(PayloadError, match="no 'S3_object_name'"):
        resolve(bucket, asked, S3_object_name=None)


def test_a_script_that_is_not_in_the_code_is_named(bucket: Bucket, asked: dict[str, Any]) -> None:
    with pytest.raises(
        CodeError, match=r"no such file among the 2 .* as in 'Anomaly Detection/Inference/inference\.py'"
    ):
        resolve(bucket, asked, script="/tmp/Anomaly Detection/Inference/infrence.py")


@pytest.mark.parametrize(("name", "object_type"), [("nothing", "folder"), ("Anomaly Detection", "file")])
def test_code_that_is_not_there_is_refused(bucket: Bucket, asked: dict[str, Any], name: str, object_type: str) -> None:
    script = f"/tmp/{name}/x.py" if object_type == "folder" else f"/tmp/{name}"
    with pytest.raises(CodeError, match=f"there is no such {object_type}"):
        resolve(bucket, asked, S3_object_name=name, object_type=object_type, script=script)


def test_an_empty_folder_as_a_console_leaves_it_is_no_code(asked: dict[str, Any]) -> None:
    bucket = Store("memory://empty-folder").bucket("sky")
    with pytest.raises(CodeError, match="there is no such folder"):
        resolve(bucket, asked)


def test_every_file_reaches_the_worker_and_its_hash_is_of_all_of_them(bucket: Bucket, asked: dict[str, Any]) -> None:
    ref = resolve(bucket, asked)
    root = stage_code(ref, bucket)
    assert (root / "Anomaly Detection" / "blocks" / "network.py").read_bytes() == b"WIDTH = 192"
    bucket.put("Anomaly Detection/blocks/network.py", b"WIDTH = 384")
    assert resolve(bucket, asked).sha256 != ref.sha256
    assert stage_code(ref, bucket) == root, "fetched once a process"


def test_code_that_was_changed_since_the_run_was_planned_is_refused(bucket: Bucket, asked: dict[str, Any]) -> None:
    ref = resolve(bucket, asked)
    bucket.put("Anomaly Detection/blocks/network.py", b"WIDTH = 999")
    with pytest.raises(CodeError, match="as when the run was planned"):
        stage_code(ref, bucket)


def test_a_renamed_file_is_other_code(bucket: Bucket, asked: dict[str, Any]) -> None:
    before = resolve(bucket, asked).sha256
    bucket.put("Anomaly Detection/blocks/net.py", b"WIDTH = 192")
    bucket.delete(["Anomaly Detection/blocks/network.py"])
    assert resolve(bucket, asked).sha256 != before


def test_what_a_task_changes_in_its_code_no_other_task_sees(
    bucket: Bucket, asked: dict[str, Any], tmp_path: Path
) -> None:
    ref = resolve(bucket, asked)
    for name in ("one", "two"):
        give_code(ref, bucket, tmp_path / name)
        file = tmp_path / name / ref.file
        assert file.read_bytes() == b"print('hello')"
        file.write_bytes(b"spoilt")


def test_a_name_that_would_leave_the_folder_is_refused(asked: dict[str, Any]) -> None:
    class Hostile(Bucket):
        def list(self, prefix: str) -> Any:
            from skyfan.storage import Entry

            return [Entry(f"{prefix}/../../outside.py", 3), Entry(f"{prefix}/run.py", 3)]

    found = Store("memory://hostile").bucket("sky")
    bucket = Hostile("sky", "memory://hostile/sky", found._backend, None)
    with pytest.raises(CodeError, match=r"'\.\.' segment"):
        resolve(bucket, asked)


def test_a_link_out_of_the_code_is_refused_and_named(bucket: Bucket, asked: dict[str, Any], root: Path) -> None:
    code = root / "sky" / "Anomaly Detection"
    (root / "secret.txt").write_text("x")
    (code / "weights.pt").symlink_to(root / "secret.txt")
    with pytest.raises(CodeError, match=r"weights\.pt: is a link out of the code"):
        resolve(bucket, asked)


@pytest.mark.parametrize("target", ["/etc", "."])
def test_a_link_to_a_folder_is_refused(bucket: Bucket, asked: dict[str, Any], root: Path, target: str) -> None:
    (root / "sky" / "Anomaly Detection" / "more").symlink_to(target)
    with pytest.raises(CodeError, match="is a link to a folder"):
        resolve(bucket, asked)


def test_a_link_within_the_code_is_a_file_of_it(bucket: Bucket, asked: dict[str, Any], root: Path) -> None:
    (root / "sky" / "Anomaly Detection" / "same.py").symlink_to("blocks/network.py")
    found = stage_code(resolve(bucket, asked), bucket) / "Anomaly Detection" / "same.py"
    assert found.read_bytes() == b"WIDTH = 192"
    assert not found.is_symlink()


def test_large_files_are_fetched_one_by_one(bucket: Bucket, asked: dict[str, Any]) -> None:
    for number in range(3):
        bucket.put(f"Anomaly Detection/weights-{number}.pt", bytes([number]) * (script_code.SMALL_BYTES + 1))
    root = stage_code(resolve(bucket, asked), bucket) / "Anomaly Detection"
    assert [(root / f"weights-{number}.pt").read_bytes()[0] for number in range(3)] == [0, 1, 2]


def test_a_file_and_a_folder_of_one_name_cannot_be_laid_out(asked: dict[str, Any]) -> None:
    bucket = Store("memory://both").bucket("sky")
    for key in ("code/a.py", "code/lib", "code/lib/b.py"):
        bucket.put(key, key.encode())
    ref = resolve(bucket, asked, S3_object_name="code", script="/tmp/code/a.py")
    with pytest.raises(CodeError, match="not both"):
        stage_code(ref, bucket)
