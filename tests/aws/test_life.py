"""A new user's whole life on AWS, by the command line: from an empty account to a catalogue, and back to nothing.

The account is ministack's. It speaks TLS, since the results bucket takes nothing else; the user is an IAM user who is
allowed what `skyfan aws iam` prints, and each function is allowed what its own role is. Where ministack is not AWS:

- A function's error loses its class, so that Step Functions tries nothing again and an execution's error has another
  name. The class stands in the function's log.
- A map heeds neither how many tasks may fail nor how many may be under way: one failure fails it, all start at once.
- When an execution is stopped, its map starts what is left all the same.
- A function that failed is started anew for its next call, which is why there are few refusals here.
- A policy has to name a log group without the ':*' that AWS wants there.

What AWS does there is tested on moto.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import skyfan
from aws.emulator import ministack
from aws.user import REGION, STACK, SURVEY, Account, events
from factories import BANDS, make_rows, parsed_model, write_partition
from running import SKYFAN
from skyfan.measure import utc_now

pytest.importorskip("ministack")

PARTITIONS, PARTITION_ROWS = 2, 8
ROWS = PARTITIONS * PARTITION_ROWS
PRIVATE = "private/1.safetensors"
"""A key that no function may read."""
SLOW = """(float[n,5] magnitude) => (float[n] z_phot)
    <int64[1] one = {1}, int64 turns = {6000000}, bool go = {1}, float nothing = {0.0}> {
        spent = Loop(turns, go, nothing) <body = turn (int64 i, bool on, float was) => (bool still, float now) {
            still = Identity(on)
            now = Sin(was)
        }>
        mean = ReduceMean<keepdims=0>(magnitude, one)
        z_phot = Add(mean, spent)
    }"""
"""A model that takes some seconds for a batch, in which its run can be stopped."""


@pytest.fixture(scope="module")
def architecture() -> str:
    """Of this machine, as Lambda names it."""
    found = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    if found not in {"arm64", "x86_64"} or platform.system() != "Linux":
        pytest.skip(f"Lambda does not run on {platform.system()} {found}")
    return found


@pytest.fixture(scope="module")
def package(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real package, for the Python that is here: with that ministack runs functions, whatever their runtime."""
    out = tmp_path_factory.mktemp("package") / "skyfan.zip"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [*SKYFAN, "aws", "package", out, "--python", version, "--architecture", architecture]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot be reached" in built.stderr or "there is no wheel" in built.stderr:
        pytest.skip(built.stderr)
    assert built.returncode == 0, built.stderr
    return out


@pytest.fixture(scope="module")
def account(package: Path, architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account that was empty, in which a user has deployed the stack and uploaded a survey of two partitions."""
    if shutil.which("openssl") is None:
        pytest.skip("ministack makes its certificate with openssl, which is not here")
    folder = tmp_path_factory.mktemp("home")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SKYFAN_"))}
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as scratch:
        patch.delenv("AWS_ENDPOINT_URL", raising=False)  # of the developer; functions would take it for AWS
        certificate = f"{scratch}/ministack-tls/server.crt"  # that it makes for itself
        with ministack(folder, auth=True, USE_SSL="1", TMPDIR=scratch, SSL_CERT_FILE=certificate) as emulator:
            address = emulator.address.replace("http://", "https://")
            shell = clean | emulator.environment | {"AWS_ENDPOINT_URL": address, "SKYFAN_STACK": STACK}
            shell |= {"AWS_CA_BUNDLE": certificate, "SSL_CERT_FILE": certificate}
            found = Account(folder, shell, {"endpoint_url": address, "verify": certificate})
            try:
                make_user(found)
                found = deployed(found, package, architecture)
                upload_survey(found)
                yield found
            finally:
                for client in found.clients.values():
                    client.close()  # else ministack waits for it to hang up


def make_user(account: Account) -> None:
    """Make a user who is allowed what `skyfan aws iam` prints, and whose keys are the shell's from then on."""
    iam = account.client("iam")
    iam.create_user(UserName="student")
    for kind in ("deployer", "runner"):
        policy = json.loads(account.shell("aws", "iam", f"--{kind}"))
        for statement in policy["Statement"]:
            if statement["Sid"] == "ReadDurations":
                statement["Resource"] = [group.removesuffix(":*") for group in statement["Resource"]]
        iam.put_user_policy(UserName="student", PolicyName=kind, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="student")["AccessKey"]
    account.environment.update(AWS_ACCESS_KEY_ID=key["AccessKeyId"], AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"])


def deployed(account: Account, package: Path, architecture: str) -> Account:
    command = ("aws", "deploy", "--package", package, "--architecture", architecture, "--json")
    told = events(account.shell(*command))
    made = {event["resource"] for event in told["ResourceEvent"]}
    assert {"NewBucket", "NewBucketPolicy", "InferFunction", "InferRole", "StateMachine"} <= made
    (done,) = told["Deployed"]
    assert done["stack"]["parameters"]["ChildExecutionType"] == "EXPRESS"
    return replace(account, bucket=done["stack"]["outputs"]["BucketName"])


def upload_survey(account: Account) -> None:
    """Make partitions in the user's own store, under the names that they will have on AWS, and upload them."""
    rows = make_rows(ROWS)
    rows["image"] = np.random.default_rng(1).normal(size=(ROWS, BANDS, 32, 32)).astype(np.float32)
    write_partition(account.folder / "survey.safetensors", arrays=rows)
    account.shell("partition", "survey.safetensors", f"{account.bucket}/{SURVEY}", "--rows", PARTITION_ROWS)
    said = account.shell("aws", "upload", f"skyfan-data/{account.bucket}/{SURVEY}")
    assert f"s3://{account.bucket}/{SURVEY}/: {PARTITIONS + 1} files" in said


def test_a_first_run_is_the_local_one(account: Account) -> None:
    payload = account.payload("first")
    told = account.run(payload, "--max-cost", "0.01")
    assert told["Priced"][0]["estimate"]["high"]["lines"]
    assert [event["attached"] for event in told["Started"]] == [False]
    assert sorted(event["report"]["rank"] for event in told["TaskDone"]) == [0, 1]
    summary = told["Ended"][0]["summary"]
    assert (summary["complete"], summary["rows_in"], summary["rows_out"]) == (True, ROWS, ROWS)
    (bill,) = told["Billed"]
    assert bill["is_whole"], bill["notes"]
    assert "Lambda by the REPORT lines of 4 invocations" in bill["notes"]

    account.shell("run", payload, "--workers", "1", "--quiet")
    here = account.folder / "skyfan-data" / account.bucket / "results" / "first" / "predictions"
    assert account.stored("results/first/predictions") == {path.name: path.read_bytes() for path in here.iterdir()}
    assert len(list(here.iterdir())) == PARTITIONS

    assert "complete" in account.shell("status", payload, "--store", "s3://")
    assert "yes, proven" in account.shell("verify", f"{account.bucket}/results/first", "--store", "s3://")

    again = account.run(payload)
    assert again.keys() == {"Ended"}
    assert again["Ended"][0]["found_finished"]
    assert account.executions("first") == ["SUCCEEDED"]
    assert "first" in account.shell("aws", "status")


def test_a_bad_partition_is_missed_and_mended(account: Account) -> None:
    own = account.folder / "skyfan-data" / account.bucket / SURVEY
    mended = own.parent / "mended"
    mended.mkdir()
    for path in own.glob("*.safetensors"):  # without the index, which an upload holds against them
        (mended / path.name).write_bytes(path.read_bytes())
    good = (mended / "2.safetensors").read_bytes()
    (mended / "2.safetensors").write_bytes(b"no partition")
    account.shell("aws", "upload", mended)

    payload = account.payload("mended", data_prefix="surveys/mended")
    said = account.shell("run", payload, "--engine", "aws", "--quiet", code=2)
    assert f"{account.bucket}/results/mended: 1 of 2 tasks done" in said
    summary = account.summary("mended")
    assert (summary["complete"], summary["tasks_ok"], summary["tasks_failed"]) == (False, 1, 1)
    (failure,) = summary["failures"]
    assert (failure["rank"], failure["partitions"]) == (1, ["surveys/mended/2.safetensors"])
    assert failure["error"]["kind"] == "PartitionError"
    before = account.stored("results/mended/reports")

    (mended / "2.safetensors").write_bytes(good)
    assert "1 file there already" in account.shell("aws", "upload", mended, "--overwrite")
    told = account.run(payload)
    assert [event["report"]["rank"] for event in told["TaskDone"]] == [1]
    summary = told["Ended"][0]["summary"]
    assert (summary["complete"], summary["rows_out"], summary["drive"]["tasks"]) == (True, ROWS, 1)
    after = account.stored("results/mended/reports")
    assert {name: after[name] for name in before} == before
    assert account.executions("mended") == ["SUCCEEDED", "FAILED"]


def test_a_run_is_left_stopped_and_gone_on_with(account: Account) -> None:
    (account.folder / "slow.onnx").write_bytes(parsed_model(SLOW))
    account.shell("aws", "upload", "slow.onnx")
    payload = account.payload("slow", model="models/slow.onnx", file_limit=1)
    said = account.shell("run", payload, "--engine", "aws", "--detach")
    assert f"{account.bucket}/results/slow: started; it goes on by itself" in said
    said = account.shell("stop", payload, "--store", "s3://")
    assert "stopped; running the same payload again goes on" in said
    assert account.executions("slow") == ["ABORTED"]
    assert "interrupted" in account.shell("status", payload, "--store", "s3://", code=3)
    summary = account.run(payload)["Ended"][0]["summary"]
    assert (summary["complete"], summary["rows_out"]) == (True, PARTITION_ROWS)
    assert account.executions("slow") == ["SUCCEEDED", "ABORTED"]


def test_two_runs_at_once(account: Account) -> None:
    options = ("--engine", "aws", "--json")
    payloads = [account.payload(name, file_limit=1) for name in ("left", "right")]
    with account.begin("run", payloads[0], *options) as left, account.begin("run", payloads[1], *options) as right:
        for process in (left, right):
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            told = events(out)
            assert (told["Ended"][0]["summary"]["complete"], told["Billed"][0]["is_whole"]) == (True, True)
    assert account.stored("results/left/predictions") == account.stored("results/right/predictions")


@pytest.fixture(scope="module")
def item(account: Account) -> dict[str, Any]:
    """What Infer is started with for a good task, whose partition lies in places that are none of its business too."""
    payload = account.payload("roles", file_limit=1)
    (task,) = msgspec.to_builtins(skyfan.plan(payload, store=account.folder / "skyfan-data").tasks)
    s3, key = account.client("s3"), task["partitions"][0]["key"]
    s3.create_bucket(Bucket="foreign")
    for bucket, place in (("foreign", key), (account.bucket, PRIVATE)):
        s3.copy_object(Bucket=bucket, Key=place, CopySource={"Bucket": account.bucket, "Key": key})
    return {"task": task, "started_at": utc_now(), "max_attempts": 3, "retry_count": 0}


def test_a_worker_may_do_its_task_and_no_other(account: Account, item: dict[str, Any]) -> None:
    task = item["task"]
    assert account.invoke("infer", item) == (True, {"rank": 0, "rows": PARTITION_ROWS})
    assert account.stored("results/roles").keys() == {"predictions/part-00000.parquet", "reports/00000.json"}
    (partition,) = task["partitions"]
    for change, place in (
        ({"data_bucket": "foreign"}, f"s3://foreign/{partition['key']}"),
        ({"partitions": [partition | {"key": PRIVATE}]}, PRIVATE),
        ({"result_path": SURVEY}, f"{SURVEY}/predictions/part-00000.parquet"),
    ):
        well, answer = account.invoke("infer", item | {"task": task | {"result_path": "results/refused"} | change})
        assert not well, change
        assert place in answer["errorMessage"]
        assert "the store refused" in answer["errorMessage"]
    assert account.log("infer").count("skyfan.errors.StoreRefusedError: ") == 3
    assert not account.stored("results/refused").keys() - {"failures/00000.json"}
    assert not [name for name in account.stored(SURVEY) if "/" in name]


@pytest.mark.usefixtures("item")
def test_an_execution_outside_its_folders_is_refused(account: Account) -> None:
    states = account.client("stepfunctions")
    machine = f"arn:aws:states:{REGION}:000000000000:stateMachine:{STACK}"
    payload = json.loads(account.payload("outside").read_text())
    for change in ({"data_prefix": "private"}, {"result_path": "elsewhere/one"}):
        event = json.dumps({"payload": payload | change})
        execution = states.start_execution(stateMachineArn=machine, input=event)["executionArn"]
        until = time.monotonic() + 120
        while (found := states.describe_execution(executionArn=execution))["status"] == "RUNNING":
            assert time.monotonic() < until
            time.sleep(0.1)
        assert found["status"] == "FAILED"
        assert "the store refused" in found["cause"]
    assert account.log("initialize").count("skyfan.errors.StoreRefusedError: ") == 2
    assert not account.stored("elsewhere")


def test_all_goes_but_what_the_user_keeps(account: Account) -> None:
    """Comes last: there is no stack after it."""
    kept = account.stored("results/first")
    said = account.shell("aws", "destroy", "--yes")
    assert f"kept: bucket {account.bucket} with its results" in said
    assert account.stored("results/first") == kept
    account.shell("aws", "destroy", "--yes", "--delete-results")
    buckets = [bucket["Name"] for bucket in account.client("s3").list_buckets()["Buckets"]]
    assert [name for name in buckets if name != "foreign"] == []
    roles = account.client("iam").list_roles()["Roles"]
    assert [role for role in roles if role["RoleName"].startswith(STACK)] == []
    assert account.client("lambda").list_functions()["Functions"] == []
    assert account.client("logs").describe_log_groups()["logGroups"] == []
