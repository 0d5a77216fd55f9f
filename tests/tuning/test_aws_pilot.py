"""A pilot on AWS: priced and asked first, run with each memory, and the stack put back whatever happens."""

import hashlib
import re
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aws.deployments import Seen, deployed
from aws.stacks import client, deploy
from aws.states import Machine
from skyfan import inference, measure
from skyfan.aws import stack as stacks
from skyfan.aws.deploying import deploy as deploy_stack
from skyfan.aws.machine import start
from skyfan.aws.session import Cloud
from skyfan.aws.stack import describe_stack
from skyfan.errors import AwsError, BudgetError, ClaimedError, InputError, RunFailedError, RunStoppedError, StoreError
from skyfan.keys import RunKeys
from skyfan.measure import Meter
from skyfan.payload import parse_payload
from skyfan.prices import PRICES_VARIABLE, shipped
from skyfan.runs import Run
from skyfan.tuning import aws_pilot
from skyfan.tuning.asked import Asked
from skyfan.tuning.aws_pilot import pilot_on_aws, plan_trials
from skyfan.tuning.resizing import lent_memory, set_memory
from skyfan.tuning.tuner import tune
from skyfan.tuning.wish import Wish

SIZES = (1024, 1769)


@pytest.fixture
def asked(asked: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """With a path of its own: executions that a test leaves under way must not meet the next one's."""
    return asked | {"result_path": f"results/{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"}


@pytest.fixture
def stack(machine: Machine, definition: str, fast: None, often: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose workers are cold once for each run: moto calls the handlers in this process.

    moto takes a change back to what a stack was made with for none, so it is made with another memory.
    """
    deploy(machine, definition, InferMemory="512")
    set_memory(Cloud(), describe_stack(Cloud(), "skyfan"), 1769, silent)
    summed_up = machine.handlers["Summarize"]

    def summarize(event: Any, context: Any) -> Any:
        monkeypatch.setattr(Meter, "_any_prediction", False)
        return summed_up(event, context)

    machine.handlers["Summarize"] = summarize
    monkeypatch.setattr(Meter, "_any_prediction", False)
    # of a worker, not of this process and all its other tests
    monkeypatch.setattr(measure, "process_age_s", lambda: 0.5)
    monkeypatch.setattr(inference, "peak_memory_mb", lambda: 150.0)


def yes(question: str) -> bool:
    return True


def silent(said: str) -> None:
    pass


def memory_now() -> str:
    return describe_stack(Cloud(), "skyfan").parameters["InferMemory"]


def wanted(**given: Any) -> Asked:
    return Asked(engine="aws", memory=SIZES, batch_sizes=(4,), pilot_partitions=2, **given)


def test_it_measures_with_each_memory_and_recommends(stack: None, asked: dict[str, Any]) -> None:
    said: list[str] = []
    questions: list[str] = []

    def ask(question: str) -> bool:
        questions.append(question)
        return True

    found = tune(asked, Wish(goal="cost"), wanted(), watch=said.append, ask=ask)
    assert [text for text in said if "pilot:" in text] == [
        "pilot: 1,769 MB, batch size 4, 1 thread",
        "pilot: 1,024 MB, batch size 4, 1 thread",
    ]
    assert [text for text in said if "InferMemory" in text] == [
        "stack skyfan: InferMemory from 1769 to 1024 MB",
        "stack skyfan: InferMemory from 1024 to 1769 MB",
    ]
    assert "runs 2 small runs on stack skyfan with 1,769, 1,024 MB" in questions[0]
    assert memory_now() == "1769"
    assert found.pick.memory_mb in SIZES
    assert found.pick.measured == (not found.pick.cut_anew)
    assert found.pilot_usd is not None
    assert found.pilot_usd > 0
    assert found.commands[-1].startswith("skyfan run PAYLOAD --engine aws --batch-size 4")
    assert len(found.profiles) == 2
    pilots = [Run(Cloud().store(), "sky", f"{asked['result_path']}-pilot/{size}-4-1") for size in SIZES]
    assert all(run.summary and run.summary.complete and run.summary.tasks == 2 for run in pilots)


def test_what_the_stack_has_is_no_command(stack: None, asked: dict[str, Any]) -> None:
    only = Asked(engine="aws", memory=(1769,), batch_sizes=(4,), pilot_partitions=2, partition_sizes=())
    found = tune(asked, Wish(goal="time"), only, ask=yes)
    assert [command.split()[:2] for command in found.commands] == [["skyfan", "run"]]
    assert found.own is not None


def test_another_processor_is_reckoned_and_said_so(stack: None, asked: dict[str, Any]) -> None:
    only = Asked(engine="aws", memory=(1769,), batch_sizes=(4,), pilot_partitions=2, architectures=("arm64", "x86_64"))
    found = pilot_on_aws(asked, only, watch=silent, ask=yes)
    assert [(one.architecture, one.measured) for one in found.settings] == [("arm64", True), ("x86_64", False)]
    assert found.settings[1].basis.factor >= 2
    assert "x86_64: not measured" in found.notes[-1]


def test_without_consent_nothing_is_started(stack: None, machine: Machine, asked: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"was not allowed; expected a yes, or --yes: --no-pilot"):
        tune(asked, Wish(goal="cost"), wanted())
    assert not machine.calls
    assert memory_now() == "1769"


def test_the_question_says_that_its_prices_are_old(
    stack: None, asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = re.sub(r'"read_in": "[\d-]+"', '"read_in": "2019-03"', shipped()["us-east-1"].read_text())
    (tmp_path / "us-east-1.json").write_text(text)
    monkeypatch.setenv(PRICES_VARIABLE, str(tmp_path))
    questions: list[str] = []
    with pytest.raises(InputError, match="was not allowed"):
        tune(asked, Wish(goal="cost"), wanted(), ask=lambda question: bool(questions.append(question)))
    assert "(the prices of us-east-1 were looked up in 2019-03, more than 12 months ago" in questions[0]


def test_what_may_cost_too_much_is_not_started(stack: None, machine: Machine, asked: dict[str, Any]) -> None:
    with pytest.raises(BudgetError, match=r"the pilot may cost .* expected at most 0.000001") as refused:
        tune(asked, Wish(goal="cost"), wanted(max_cost=Decimal("0.000001")), ask=yes)
    assert refused.value.exit_code == 2
    assert not machine.calls


def test_a_run_under_way_is_left_alone(stack: None, machine: Machine, asked: dict[str, Any]) -> None:
    go, initialize = threading.Event(), machine.handlers["Initialize"]

    def wait(event: Any, context: Any) -> Any:
        go.wait(60)
        return initialize(event, context)

    machine.handlers["Initialize"] = wait
    payload = parse_payload(asked | {"result_path": f"{asked['result_path']}-before"})[0]
    arn = describe_stack(Cloud(), "skyfan").state_machine_arn
    started = start(Cloud(), arn, payload, overwrite=False)
    try:
        with pytest.raises(InputError, match=r"1 execution under way, whose workers a pilot would change"):
            tune(asked, Wish(goal="cost"), wanted(), ask=yes)
    finally:
        go.set()
        client("stepfunctions").stop_execution(executionArn=started)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RunFailedError("no")])
def test_the_memory_is_put_back_whatever_happens(
    stack: None, machine: Machine, asked: dict[str, Any], error: Any
) -> None:
    said: list[str] = []

    def watch(text: str) -> None:
        said.append(text)
        if text.startswith("pilot: 1,024 MB"):
            assert memory_now() == "1024"
            raise error

    with pytest.raises((KeyboardInterrupt, RunFailedError)):
        tune(asked, Wish(goal="cost"), wanted(), watch=watch, ask=yes)
    assert memory_now() == "1769"


@pytest.mark.parametrize(
    "error", [RunStoppedError("no longer watched"), AwsError("no answer"), StoreError("no answer"), KeyboardInterrupt()]
)
def test_a_run_that_is_not_followed_is_stopped(
    stack: None, machine: Machine, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    stopped: list[str] = []

    def interrupted(payload: Any, *args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(aws_pilot, "drive", interrupted)
    monkeypatch.setattr(aws_pilot.machine, "find_execution", lambda *args: "arn:of:it")
    monkeypatch.setattr(aws_pilot.machine, "stop", lambda cloud, execution, *rest, cause: stopped.append(execution))
    with pytest.raises(type(error)):
        tune(asked, Wish(goal="cost"), wanted(), ask=yes)
    assert stopped == ["arn:of:it"]
    assert memory_now() == "1769"


def test_a_run_of_another_is_not_stopped(stack: None, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []

    def under_way(payload: Any, *args: Any, **options: Any) -> None:
        raise ClaimedError("the execution is under way")

    monkeypatch.setattr(aws_pilot, "drive", under_way)
    monkeypatch.setattr(aws_pilot, "_stop", lambda *args: stopped.append("it"))
    with pytest.raises(ClaimedError):
        tune(asked, Wish(goal="cost"), wanted(), ask=yes)
    assert not stopped


def test_an_interrupt_while_the_bill_is_waited_for_ends_the_pilot(
    stack: None, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("skyfan.aws.driver.bill", interrupted)
    said: list[str] = []
    with pytest.raises(RunStoppedError, match=r"cost of this run unknown; 0.0000 USD were billed before"):
        tune(asked, Wish(goal="cost"), wanted(), watch=said.append, ask=yes)
    assert sum("pilot:" in text for text in said) == 1
    assert memory_now() == "1769"


@pytest.mark.parametrize("quiet", [1, 2])
def test_a_run_that_begins_meanwhile_is_left_alone(
    stack: None, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, quiet: int
) -> None:
    """It begins while the question waits, or while the first memory is measured."""
    looks: list[int] = []

    def under_way(*args: Any) -> list[str]:
        looks.append(len(looks))
        return ["arn:of:another"] if len(looks) > quiet else []

    monkeypatch.setattr(aws_pilot, "executions_under_way", under_way)
    said: list[str] = []
    with pytest.raises(InputError, match=r"1 execution under way, whose workers a pilot would change"):
        tune(asked, Wish(goal="cost"), wanted(), watch=said.append, ask=yes)
    assert sum("pilot:" in text for text in said) == quiet - 1
    assert not any("InferMemory" in text for text in said)


def test_a_pilot_overwrites_pilots_only(stack: None, asked: dict[str, Any]) -> None:
    only = Asked(engine="aws", memory=(1769,), batch_sizes=(4,), pilot_partitions=2)
    questions: list[str] = []
    pilot_on_aws(asked, only, watch=silent, ask=yes)
    pilot_on_aws(asked, only, watch=silent, ask=lambda question: not questions.append(question))
    assert f"Results lie in sky/{asked['result_path']}-pilot/." in questions[0]
    path = f"{asked['result_path']}-pilot/1769-4-1"
    bucket, run_keys = Cloud().store().bucket("sky"), RunKeys(path)
    own = parse_payload(asked | {"result_path": path})[0].encode()
    bucket.put(run_keys.payload, own)
    with pytest.raises(ClaimedError, match=r"holds a run that is no pilot's"):
        pilot_on_aws(asked, only, watch=silent, ask=yes)
    assert bytes(bucket.get(run_keys.payload) or b"") == own


def test_a_pilot_that_is_not_complete_is_no_measure(stack: None, machine: Machine, asked: dict[str, Any]) -> None:
    def fail(event: Any, context: Any) -> Any:
        raise ValueError("broken")

    machine.handlers["Infer"] = machine.handlers["InferLarge"] = fail
    with pytest.raises(RunFailedError):
        tune(asked | {"max_attempts": 1}, Wish(goal="cost"), wanted(), ask=yes)
    assert memory_now() == "1769"


def test_trials_begin_with_what_the_stack_has(stack: None, asked: dict[str, Any]) -> None:
    payload = parse_payload(asked | {"file_limit": 3, "world_size": 2})[0]
    given = Asked(engine="aws", memory=(512, 1769, 1024), batch_sizes=(8,), threads=(2,))
    trials = list(plan_trials(payload, given, describe_stack(Cloud(), "skyfan")))
    assert [trial.memory_mb for trial in trials] == [1769] * 4 + [512] * 4 + [1024] * 4
    assert {(trial.payload.batch_size, trial.payload.threads) for trial in trials} == {(4, 1), (4, 2), (8, 1), (8, 2)}
    assert len({trial.payload.result_path for trial in trials}) == 12
    assert all(trial.payload.file_limit == 3 and trial.payload.world_size is None for trial in trials)


class TestOnAStackOfOurs:
    """On ministack, which makes and changes the real template."""

    def test_only_the_workers_memory_is_changed(self, cloud: Cloud, package: Path) -> None:
        stack = deployed(deploy_stack(cloud, "lent", {"InferMemory": "1024"}, package=package, watch=Seen()))
        functions = cloud.client("lambda")

        def memory(name: str) -> int:
            return int(functions.get_function_configuration(FunctionName=f"lent-{name}")["MemorySize"])

        others = {name: memory(name) for name in ("infer-large", "initialize", "summarize")}
        said: list[str] = []
        with lent_memory(cloud, stack, said.append) as lend:
            lend(1024)
            assert not said
            lend(3008)
            assert memory("infer") == 3008
        now = describe_stack(cloud, "lent")
        assert memory("infer") == 1024
        assert {name: memory(name) for name in others} == others
        assert now.parameters == stack.parameters
        assert now.outputs == stack.outputs

    def test_an_interrupt_in_the_middle_of_a_change(
        self, cloud: Cloud, package: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stack = deployed(deploy_stack(cloud, "broken-off", {}, package=package, watch=Seen()))
        follow, seen = stacks.follow, []

        def interrupted_once(*args: Any) -> Any:
            seen.append(args)
            if len(seen) == 1:
                raise KeyboardInterrupt
            return follow(*args)

        monkeypatch.setattr(stacks, "follow", interrupted_once)
        with pytest.raises(KeyboardInterrupt), lent_memory(cloud, stack, silent) as lend:
            lend(3008)
        assert len(seen) == 2
        assert describe_stack(cloud, "broken-off").parameters["InferMemory"] == "1769"
        found = cloud.client("lambda").get_function_configuration(FunctionName="broken-off-infer")
        assert found["MemorySize"] == 1769

    def test_what_cannot_be_put_back_is_told(
        self, cloud: Cloud, package: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stack = deployed(deploy_stack(cloud, "stuck", {}, package=package, watch=Seen()))

        def lend_and_lose_the_stack() -> None:
            with lent_memory(cloud, stack, silent, profile="mine") as lend:
                lend(3008)
                monkeypatch.setattr("skyfan.tuning.resizing.set_memory", _interrupted)

        by_hand = "do it by hand: skyfan aws deploy --memory 1769 --stack stuck --region us-east-1 --profile mine"
        with pytest.raises(RunStoppedError, match=by_hand):
            lend_and_lose_the_stack()
        monkeypatch.undo()

    def test_nothing_to_change_is_no_change(self, cloud: Cloud, package: Path) -> None:
        stack = deployed(deploy_stack(cloud, "same", {}, package=package, watch=Seen()))
        said: list[str] = []
        set_memory(cloud, stack, 1769, said.append)
        assert not said
        assert describe_stack(cloud, "same").status == stack.status


def _interrupted(*args: Any) -> None:
    raise KeyboardInterrupt
