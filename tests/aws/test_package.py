"""The deployment package: what is in it, that it is always the same, and that it runs under Lambda's own client."""

import dataclasses
import json
import platform
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skyfan
from aws import probe
from aws.events import EXECUTION
from aws.runtime_api import Answer, RuntimeApi, running
from factories import BANDS, make_rows, write_partition
from skyfan import models
from skyfan.aws import package
from skyfan.aws.handlers import REPORTING_S
from skyfan.aws.package import Package, build
from skyfan.aws.wheels import fetch_wheels, resolve_cache
from skyfan.errors import InputError, SkyfanError
from skyfan.measure import utc_now

PYTHON = "3.13"
RUNTIME = ["awslambdaric==4.2.2", "simplejson==4.3.0", "snapshot-restore-py==1.0.0"]
"""What lies in /var/runtime of Lambda: its client, and what that imports."""
ELF_MACHINE = {"arm64": 183, "x86_64": 62}
UNWANTED = {"boto3", "botocore", "click", "dask", "flatbuffers", "google", "packaging", "pip", "rich", "sympy", "torch"}
LAMBDA_LIMIT_BYTES = 250 * 2**20

Built = Callable[[str], Package]
Function = Callable[[str], AbstractContextManager[RuntimeApi]]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The package of an architecture, built when it is first asked for; the wheels are kept from session to session."""
    made: dict[str, Package] = {}

    def get(architecture: str) -> Package:
        if architecture not in made:
            out = tmp_path_factory.mktemp("package") / f"{architecture}.zip"
            made[architecture] = online(lambda: build(out, architecture, PYTHON))
        return made[architecture]

    return get


@pytest.fixture(scope="session")
def architecture() -> str:
    """Of this machine, as Lambda names it."""
    return {"aarch64": "arm64"}.get(platform.machine(), platform.machine())


@pytest.fixture(scope="session")
def tree(built: Built, architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this machine's architecture, unzipped as Lambda does."""
    if architecture not in ELF_MACHINE or platform.system() != "Linux":
        pytest.skip(f"Lambda does not run on {platform.system()} {architecture}")
    folder = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(built(architecture).path) as content:
        content.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def runtime(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lambda's runtime client, and our probe beside it."""
    folder = tmp_path_factory.mktemp("runtime")
    for wheel in online(lambda: fetch_wheels(RUNTIME, architecture, PYTHON)):
        with zipfile.ZipFile(wheel) as content:
            content.extractall(folder)
    shutil.copy(probe.__file__, folder)
    return folder


@pytest.fixture(scope="session")
def python() -> Path:
    """An interpreter of Lambda's version, without packages of its own."""
    name = f"python{PYTHON}"
    found = [*(Path.home() / ".pyenv" / "versions").glob(f"{PYTHON}.*/bin/{name}"), shutil.which(name)]
    for path in filter(None, found):
        asked = subprocess.run([path, "-c", "import numpy"], capture_output=True, text=True, check=False)
        if "ModuleNotFoundError" in asked.stderr:
            return Path(path)
    pytest.skip(f"there is no {name} without packages here")


def online(work: Callable[[], Any]) -> Any:
    """Skip where the package index is out of reach and nothing is kept; any other failure is one."""
    try:
        return work()
    except SkyfanError as error:
        if "cannot be reached" in str(error):
            pytest.skip(str(error))
        raise


def names(built_package: Package) -> list[str]:
    with zipfile.ZipFile(built_package.path) as content:
        return content.namelist()


def copy_wheels(cache: Path) -> None:
    """Copy the wheels of the package for arm64, with times of their own."""
    for folder in (resolve_cache(None) / "wheels").glob(f"arm64-{PYTHON}-*"):
        shutil.copytree(folder, cache / "wheels" / folder.name, copy_function=shutil.copy)


@pytest.mark.parametrize("target", ["arm64", "x86_64"])
def test_sizes(built: Built, target: str) -> None:
    found = built(target)
    with zipfile.ZipFile(found.path) as content:
        unzipped = sum(member.file_size for member in content.infolist())
    assert unzipped == found.unzipped_bytes <= package.LIMIT_BYTES < LAMBDA_LIMIT_BYTES
    assert found.path.stat().st_size == found.size_bytes


@pytest.mark.parametrize("target", ["arm64", "x86_64"])
def test_contents(built: Built, target: str) -> None:
    found = names(built(target))
    parts = [Path(name).parts for name in found]
    assert found == sorted(set(found))
    assert not [name for name in found if name.startswith("/") or ".." in Path(name).parts or "\\" in name]
    assert not UNWANTED.intersection(path[0] for path in parts)
    assert not [path for path in parts if {"tests", "testing", "include", "__pycache__"}.intersection(path)]
    assert not [name for name in found if re.search(r"\.(pyc|pyi|pyx|pxd|h|a|c|whl)$|(^|/)RECORD$", name)]
    assert f"skyfan/models/{models.DEFAULT}.onnx" in found
    assert "skyfan/stages.py" in found


@pytest.mark.parametrize("target", ["arm64", "x86_64"])
def test_libraries_are_of_the_architecture(built: Built, target: str) -> None:
    with zipfile.ZipFile(built(target).path) as content:
        libraries = [name for name in content.namelist() if re.search(r"\.so(\.\d+)*$", name)]
        for name in libraries:
            header = content.open(name).read(20)
            assert header[:4] == b"\x7fELF"
            assert int.from_bytes(header[18:20], "little") == ELF_MACHINE[target], name
    assert len(libraries) > 10


def test_two_builds_are_the_same(built: Built, tmp_path: Path) -> None:
    first = built("arm64")
    copy_wheels(tmp_path)
    again = build(tmp_path / "again.zip", "arm64", PYTHON, cache=tmp_path)
    assert again.path.read_bytes() == first.path.read_bytes()
    assert dataclasses.replace(again, path=first.path) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.zip", "wheels"]


def test_has_the_versions_installed_here(built: Built) -> None:
    found = built("arm64")
    assert found.versions["skyfan"] == skyfan.__version__
    assert found.versions["numpy"] == np.__version__
    for name, version in found.versions.items():
        if name != "skyfan":
            assert f"{name.replace('-', '_')}-{version}.dist-info/METADATA" in names(found)


@pytest.fixture
def function(tree: Path, runtime: Path, python: Path, root: Path) -> Function:
    """Start a function of the package, or of the probe, that works on the test's store."""
    return lambda handler: running(
        handler, python=python, task_root=tree, runtime=runtime, environment={"SKYFAN_STORE": str(root)}
    )


def execute(function: Function, asked: dict[str, Any], root: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Do what the state machine does; return Summarize's answer, and those of the probe to every task."""
    with function("skyfan.aws.handlers.initialize") as api:
        begun = said(api.invoke({"request": {"payload": asked}, "execution": EXECUTION}))
    tasks = json.loads((root / begun["bucket"] / begun["pending_key"]).read_text())
    told = {name: begun[name] for name in ("started_at", "max_attempts", "script")} | {"retry_count": 0}
    with function("probe.infer") as api:
        answers = [said(api.invoke({**told, "task": task})) for task in tasks]
    with function("skyfan.aws.handlers.summarize") as api:
        return said(api.invoke({"begun": begun, "map_ended_at": utc_now()})), answers


def said(answer: Answer) -> dict[str, Any]:
    assert answer.ok, answer.body
    found: dict[str, Any] = answer.body
    return found


def test_runs_under_lambdas_client(
    function: Function, built: Built, tree: Path, runtime: Path, root: Path, asked: dict[str, Any]
) -> None:
    verdict, answers = execute(function, asked, root)
    assert verdict["status"] == "complete"
    assert verdict["rows_out"] == 7 + 8 + 9 + 10

    files = {name: Path(file) for name, file in answers[-1]["files"].items() if not name.startswith("__")}
    assert not UNWANTED.intersection(name.split(".")[0] for name in files)
    for name, file in files.items():
        in_library = f"python{PYTHON}" in file.parts and "site-packages" not in file.parts
        assert file.is_relative_to(tree) or file.is_relative_to(runtime) or in_library, f"{name} came from {file}"

    of_tree = [file.relative_to(tree).as_posix() for file in files.values() if file.is_relative_to(tree)]
    assert len(of_tree) > 100
    for target, machine in (("arm64", "aarch64"), ("x86_64", "x86_64")):
        there = set(names(built(target)))
        assert not [name for name in of_tree if re.sub(r"[^-]+(?=-linux-gnu\.so$)", machine, name) not in there]


def test_runs_the_shipped_model(function: Function, root: Path, asked: dict[str, Any]) -> None:
    rows = make_rows(5)
    rows["image"] = np.random.default_rng(1).normal(size=(5, BANDS, 32, 32)).astype(np.float32)
    write_partition(root / "sky" / "large" / "1.safetensors", arrays=rows)
    del asked["model"]
    verdict, _ = execute(function, {**asked, "data_prefix": "large"}, root)
    assert verdict["status"] == "complete"
    assert verdict["rows_out"] == 5


def test_a_script_runs_under_lambdas_client(
    tree: Path, runtime: Path, python: Path, root: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    """As in the image for scripts, but for its libraries; Lambda's own client says how much time is left."""
    code = root / "sky" / "scripts"
    code.mkdir()
    (code / "run.py").write_text("import os, time\nprint(os.environ['RANK'], os.getcwd(), flush=True)\n")
    (code / "slow.py").write_text("import time\ntime.sleep(300)\n")
    (tmp_path / "tmp").mkdir()  # for what functions that are ended leave behind
    variables = {"SKYFAN_STORE": str(root), "SKYFAN_ALLOW_SCRIPTS": "yes", "TMPDIR": str(tmp_path / "tmp")}
    place: dict[str, Any] = {"python": python, "task_root": tree, "runtime": runtime, "environment": variables}
    del asked["model"]
    asked |= {"S3_object_name": "scripts", "script": "run.py"}
    verdict, answers = execute(lambda handler: running(handler, **place), asked, root)
    assert verdict["status"] == "complete"
    assert [answer["answer"]["rank"] for answer in answers] == [0, 1, 2, 3]
    run = root / "sky" / "results" / "one"
    assert (run / "logs" / "00002.log").read_text() == "2 /tmp/scripts\n"

    with running("skyfan.aws.handlers.initialize", **place) as api:
        event = {"payload": asked | {"script": "slow.py", "result_path": "results/slow"}}
        begun = said(api.invoke({"request": event, "execution": EXECUTION}))
    task, *_ = json.loads((root / begun["bucket"] / begun["pending_key"]).read_text())
    with running("skyfan.aws.handlers.infer", **place) as api:
        told = {name: begun[name] for name in ("started_at", "script")} | {"max_attempts": 3, "retry_count": 0}
        answer = api.invoke(told | {"task": task}, timeout_s=REPORTING_S + 5)
    assert (answer.ok, answer.body["errorType"]) == (False, "ScriptError")
    failure = json.loads((root / "sky" / "results" / "slow" / "failures" / "00000.json").read_text())
    assert failure["ending"]["wall_s"] < REPORTING_S + 5


def test_a_failure_is_told(function: Function) -> None:
    with function("probe.infer") as api:
        answer = api.invoke({"task": "none"})
        assert not answer.ok
        assert answer.body["errorType"] == "InputError"
    with function("probe.nothing") as api:
        assert "nothing" in json.dumps(api.invoke({}).body)


@pytest.mark.parametrize(
    ("target", "version", "message"),
    [
        ("amd64", "3.13", "architecture is 'amd64'; expected one of arm64, x86_64"),
        ("arm64", "3.13.1", "Python is '3.13.1'; expected the version of a Lambda runtime"),
        ("arm64", "3.9", "Python is '3.9'"),
    ],
)
def test_refuses_what_lambda_does_not_have(tmp_path: Path, target: str, version: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(tmp_path / "out.zip", target, version, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_too_large(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built("arm64")
    monkeypatch.setattr(package, "LIMIT_BYTES", 50 * 2**20)
    with pytest.raises(InputError, match=r"1\d\d MiB unzipped; expected at most 50: numpy \d+, onnxruntime \d+, arro3"):
        build(tmp_path / "out.zip", "arm64", PYTHON)
    assert not list(tmp_path.iterdir())


def test_damaged_wheel(built: Built, tmp_path: Path) -> None:
    built("arm64")
    copy_wheels(tmp_path)
    (wheel,) = (tmp_path / "wheels").rglob("arro3_core*.whl")
    with zipfile.ZipFile(wheel) as archive:
        start = archive.getinfo("arro3/core/__init__.py").header_offset + 60
    content = bytearray(wheel.read_bytes())
    content[start : start + 50] = bytes(50)
    wheel.write_bytes(content)
    with pytest.raises(SkyfanError, match=r"arro3_core.*is damaged.*; delete the folder .*wheels"):
        build(tmp_path / "out.zip", "arm64", PYTHON, cache=tmp_path)
    assert not (tmp_path / "out.zip").exists()


def test_unwritable_place(built: Built, tmp_path: Path) -> None:
    built("arm64")
    (tmp_path / "file").write_text("")
    with pytest.raises(SkyfanError, match=r"the package cannot be written .*expected a folder that may be written to"):
        build(tmp_path / "file" / "out.zip", "arm64", PYTHON)


def test_older_pythons_need_one_more() -> None:
    assert package.required("3.12") == (*package.required("3.13"), "typing-extensions")
