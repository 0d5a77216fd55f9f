"""What an execution did cost: from Lambda's own lines, told apart by run, else from the reports."""

import inspect
import time
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from aws.stacks import FUNCTIONS, IMAGE, Context, client, deploy, group, lines, log
from aws.states import Machine
from bills import quantity, usd
from skyfan.aws import bill, handlers
from skyfan.aws.forecast import ASSUMED, forecast, prices_of
from skyfan.aws.ledger import INIT_S, Configuration, Ledger, script_requests
from skyfan.aws.session import Cloud
from skyfan.aws.stack import describe_stack
from skyfan.errors import InputError
from skyfan.estimating.bill import AROUND_STAGES, Job, stage_requests
from skyfan.partitions import PartitionRef
from skyfan.payload import parse_payload
from skyfan.planning import preview
from skyfan.prices import load_prices
from skyfan.storage import Store
from skyfan.task import ModelRef, PartRef, Report, ScriptRef, Seconds, TaskError
from skyfan.watching import Billed

RUN = "sky/results/one"
US = load_prices()
MODEL = ModelRef("models/tiny.onnx", "0" * 64)
REF = PartitionRef("25MB/1.safetensors", 25 * 1024**2)


@pytest.fixture
def configuration(machine: Machine, definition: str) -> Configuration:
    deploy(machine, definition)
    return Configuration.of(describe_stack(Cloud(), "skyfan"))


@pytest.fixture
def ledger(configuration: Configuration) -> Ledger:
    return Ledger(configuration, US)


def report(rank: int, attempt: int = 1, seconds: float = 2.0, error: str | None = None, cold: bool = False) -> Report:
    return Report(
        rank=rank,
        status="failed" if error else "ok",
        attempt=attempt,
        partitions=(REF,),
        rows_in=1278,
        rows_out=1278,
        part=None if error else PartRef("x", 400_000, 1278, "0" * 64),
        model=MODEL,
        seconds=Seconds(total=seconds),
        first_prediction_s=0.5 if cold else None,
        error=TaskError(error, "it failed", may_pass=True) if error else None,
    )


def execution() -> dict[str, Any]:
    """Of an execution that began a minute ago, of which Step Functions knows nothing any more."""
    arn = "arn:aws:states:us-east-1:123456789012:execution:skyfan-1:gone"
    return {"executionArn": arn, "startDate": datetime.fromtimestamp(time.time() - 60, UTC)}


def log_calls(function: str, calls: int, run: str = RUN, memory_mb: int = 1769, ms: float = 2000.0) -> None:
    for _ in range(calls):
        log(function, lines(str(uuid.uuid4()), run, ms, memory_mb, init_ms=500.25))


def billed(ledger: Ledger) -> Billed:
    return bill.bill(Cloud(), "skyfan", RUN, execution(), ledger, wait_s=0.0)


def test_the_handlers_line_is_the_one_that_is_looked_for(
    configuration: Configuration, capsys: pytest.CaptureFixture[str]
) -> None:
    request = str(uuid.uuid4())
    handlers._say(RUN, Context(request))
    said = capsys.readouterr().out
    assert said in lines(request, RUN, 1.0, 1769)


def test_lambda_is_billed_by_its_own_lines(ledger: Ledger) -> None:
    for rank in range(3):
        ledger.add(report(rank))
    log_calls("initialize", 1, ms=1000.0)
    log_calls("infer", 3)
    log_calls("summarize", 1, ms=1000.0)
    found = billed(ledger)
    assert found.is_whole
    # 2,000 + 500.25 ms, up to the next one, as Lambda's line has it
    hand = 3 * Decimal("2.501") * 1769 / 1024 * Decimal("0.0000133334")
    assert usd(found.cost, "Lambda infer: compute, arm64") == round(hand, 12)
    assert quantity(found.cost, "Lambda infer: requests") == 3
    assert quantity(found.cost, "Lambda initialize: requests") == 1
    assert "5 invocations" in found.notes[0]


def test_what_other_runs_and_other_times_logged_is_not_in_it(ledger: Ledger) -> None:
    for function in FUNCTIONS.values():
        log_calls(function, 2, run="sky/results/one-more")
        log_calls(function, 2, run="sky/results")
    assert bill.read_logs(Cloud(), "skyfan", RUN, 0, round(2000 * time.time())).begun == 0
    log_calls("infer", 2)
    now_ms = round(1000 * time.time())
    assert bill.read_logs(Cloud(), "skyfan", RUN, 0, now_ms + 1000).ended == 2
    assert bill.read_logs(Cloud(), "skyfan", RUN, now_ms + 60_000, now_ms + 61_000).ended == 0


def test_every_page_of_the_log_is_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.logs.models import LogGroup

    original, pages = LogGroup.filter_log_events, list[Any]()

    def small(*arguments: Any, **options: Any) -> Any:
        bound = inspect.signature(original).bind(*arguments, **options)
        bound.arguments["limit"] = 3
        pages.append(bound.arguments["next_token"])
        return original(*bound.args, **bound.kwargs)

    monkeypatch.setattr(LogGroup, "filter_log_events", small)
    log_calls("infer", 7)
    assert bill.read_logs(Cloud(), "skyfan", RUN, 0, round(1000 * time.time()) + 1000).ended == 7
    assert len(pages) > len(FUNCTIONS)


def test_failures_and_a_memory_that_was_changed_have_lines_of_their_own(ledger: Ledger) -> None:
    ledger.add(report(0))
    log_calls("infer", 1, memory_mb=1769)
    log_calls("infer", 1, memory_mb=3008)
    request = str(uuid.uuid4())
    *_, last = lines(request, RUN, 90_000.0, 3008)
    killed = last.replace("\t\n", "\tStatus: timeout\n")
    log("infer-large", [*lines(request, RUN, 1.0, 3008)[:3], killed])
    found = bill.read_logs(Cloud(), "skyfan", RUN, 0, round(1000 * time.time()) + 1000)
    assert found.ms == {("infer", 1769): 2501, ("infer", 3008): 2501, ("infer-large", 3008): 90_000}
    assert len(found.uses(ledger)) == 3


def test_logs_are_billed_by_their_bytes(ledger: Ledger) -> None:
    log_calls("infer", 1)
    found = bill.read_logs(Cloud(), "skyfan", RUN, 0, round(1000 * time.time()) + 1000)
    ours = lines(str(uuid.uuid4()), RUN, 2000.0, 1769, init_ms=500.25)[1:]
    assert found.bytes == sum(len(line) + 26 for line in ours)


def test_lines_that_come_late_are_waited_for(ledger: Ledger) -> None:
    ledger.add(report(0))
    log_calls("initialize", 1)
    log_calls("infer", 1)
    ticks: list[float] = []

    def tick() -> None:
        if not ticks:
            log_calls("summarize", 1)
        ticks.append(time.monotonic())

    found = bill.bill(Cloud(), "skyfan", RUN, execution(), ledger, wait_s=60.0, tick=tick)
    assert found.is_whole
    assert len(ticks) == 1


def test_lines_that_do_not_come_make_it_a_lower_bound(ledger: Ledger) -> None:
    for rank in range(4):
        ledger.add(report(rank))
    log_calls("infer", 3)
    found = billed(ledger)
    assert not found.is_whole
    assert "3 of at least 6 REPORT lines" in found.notes[0]
    assert found.cost.total_usd >= ledger.cost().total_usd


def test_without_logs_the_reports_have_to_do(ledger: Ledger) -> None:
    ledger.add(report(0))
    for function in FUNCTIONS.values():
        client("logs").delete_log_group(logGroupName=group(function))
    found = billed(ledger)
    assert not found.is_whole
    assert found.notes[0].startswith("Lambda by the tasks' reports, not by its logs")
    assert found.cost.lines == ledger.cost().lines


def test_step_functions_is_billed_by_its_own_counts(machine: Machine, definition: str, event: dict[str, Any]) -> None:
    arn = deploy(machine, definition)
    done = machine.run(arn, event)
    assert done["status"] == "SUCCEEDED"
    payload = event["payload"]
    ledger = Ledger(Configuration.of(describe_stack(Cloud(), "skyfan")), US)
    for rank in range(4):
        ledger.add(report(rank))
    run = f"{payload['bucket']}/{payload['result_path']}"
    found = bill.bill(Cloud(), "skyfan", run, done, ledger, wait_s=10.0)
    assert found.is_whole, found.notes
    # Initialize, AnythingPending, InferAll, Summarize, Verdict, Done, and four children
    assert quantity(found.cost, "transitions of the parent") == 6 + 4
    assert any("Step Functions by its own counts" in note for note in found.notes)


def test_a_report_counts_once_and_its_failed_attempts_too(ledger: Ledger) -> None:
    ledger.add(report(0, attempt=1, error="StoreError", seconds=1.0))
    ledger.add(report(0, attempt=1, error="StoreError", seconds=1.0))
    ledger.add(report(0, attempt=3, seconds=2.0))  # the second attempt nobody saw
    assert ledger.attempts == 3
    assert quantity(ledger.cost(), "Lambda infer: compute") == Decimal(5) * 1769 / 1024


def test_a_killed_worker_counts_as_long_as_it_may_take_and_then_grows(ledger: Ledger) -> None:
    ledger.add(report(0, attempt=1, error="WorkerError", seconds=0.0))
    ledger.add(report(0, attempt=2, seconds=2.0))
    cost = ledger.cost()
    assert quantity(cost, "Lambda infer: compute") == Decimal(90) * 1769 / 1024
    assert quantity(cost, "Lambda infer-large: compute") == Decimal(2) * 3008 / 1024


def test_requests_are_those_of_the_stages(ledger: Ledger) -> None:
    for rank in range(5):
        ledger.add(report(rank, cold=rank < 2))
    job = Job(tasks=5, partitions=5, rows=5 * 1278, bytes_in=5 * REF.bytes, bytes_out=5 * 400_000)
    assert quantity(ledger.cost(), "S3: PUT") == stage_requests(job, 2).put + AROUND_STAGES.put
    assert quantity(ledger.cost(), "S3: GET") == stage_requests(job, 2).get + AROUND_STAGES.get


def test_a_standard_child_is_billed_for_asking_what_it_runs_too(configuration: Configuration) -> None:
    ledger = Ledger(structs.replace(configuration, children="STANDARD"), US)
    ledger.add(report(0, attempt=2))
    ledger.add(report(1))
    assert quantity(ledger.cost(), "transitions of STANDARD children") == 2 + 3


@pytest.fixture
def of_scripts(machine: Machine, definition: str) -> Ledger:
    """Of a run of scripts, on a stack with an image."""
    deploy(machine, definition, ScriptImage=IMAGE)
    return Ledger(Configuration.of(describe_stack(Cloud(), "skyfan")), US, scripted=True)


def scripted(rank: int, attempt: int = 1, seconds: float = 2.0, error: str | None = None) -> Report:
    script = ScriptRef("code", "code/run.py", "run.py", "folder", "0" * 64)
    return structs.replace(report(rank, attempt, seconds, error), model=None, script=script, part=None, rows_out=0)


def test_scripts_are_billed_on_their_own_function(of_scripts: Ledger) -> None:
    of_scripts.add(scripted(0, attempt=1, error="ScriptError"))
    of_scripts.add(scripted(0, attempt=2))
    of_scripts.add(scripted(1, error="WorkerError"))
    cost, seconds = of_scripts.cost(), Decimal(str(2 * (2.0 + INIT_S) + 900 + INIT_S))
    assert quantity(cost, "Lambda script: compute") == seconds * 3008 / 1024
    assert quantity(cost, "Lambda script: /tmp above 512 MB") == seconds * (2048 - 512) / 1024
    assert quantity(cost, "Lambda script: requests") == 3
    assert not [line for line in cost.lines if line.what.startswith("Lambda infer")]
    job = Job(tasks=3, partitions=3, rows=0, bytes_in=3 * REF.bytes, model_in_bucket=False)
    asked = stage_requests(job, 3) + script_requests(3) + AROUND_STAGES
    assert quantity(cost, "S3: PUT") == asked.put
    assert quantity(cost, "S3: LIST") == asked.list
    script_usd = usd(cost, "Lambda script")
    assert of_scripts.attempt_usd() == script_usd / 3


def test_a_run_of_scripts_reads_the_logs_of_its_own_functions(of_scripts: Ledger) -> None:
    for function in ("infer", "infer-large"):
        client("logs").delete_log_group(logGroupName=group(function))
    of_scripts.add(scripted(0))
    log_calls("initialize", 1)
    log_calls("script", 1, memory_mb=3008)
    log_calls("summarize", 1)
    found = billed(of_scripts)
    assert found.is_whole, found.notes
    assert quantity(found.cost, "Lambda script: compute") == Decimal("2.501") * 3008 / 1024


def test_a_run_of_a_model_asks_nothing_of_the_function_for_scripts(ledger: Ledger) -> None:
    client("logs").delete_log_group(logGroupName=group("script"))
    ledger.add(report(0))
    for function in ("initialize", "infer", "summarize"):
        log_calls(function, 1)
    assert billed(ledger).is_whole


def test_a_stack_of_an_earlier_version_has_no_function_for_scripts(machine: Machine, definition: str) -> None:
    deploy(machine, definition)
    stack = describe_stack(Cloud(), "skyfan")
    for name in [name for name in stack.parameters if name.startswith("Script")]:
        del stack.parameters[name]
    assert "script" not in Configuration.of(stack).memory_mb


def test_a_forecast_by_hand(configuration: Configuration, store: Store, asked: dict[str, Any]) -> None:
    plan = preview(parse_payload(asked)[0], store)
    known = forecast(plan, store.bucket("sky"), configuration, US)
    size = sum(task.size_bytes for task in plan.tasks)
    rows = sum(round(task.size_bytes / 20_520) for task in plan.tasks)
    warm_s = (rows * ASSUMED.s_per_row + size / 1024**2 * ASSUMED.s_per_mb) / 4 + ASSUMED.s_per_task
    found = quantity(known.estimate.typical, "Lambda infer: compute") * 1024 / 1769
    assert float(found) == pytest.approx(4 * (warm_s + ASSUMED.s_per_cold_start), abs=0.004)
    assert "2026-11-24" in known.basis[0]
    assert "which is not models/tiny.onnx" in known.basis[0]
    assert known.estimate.spread == 4.0
    assert known.warnings == ()


def test_less_than_a_core_is_slower(configuration: Configuration, store: Store, asked: dict[str, Any]) -> None:
    plan = preview(parse_payload(asked)[0], store)
    small = structs.replace(configuration, memory_mb=configuration.memory_mb | {"infer": 884})
    half, whole = (forecast(plan, store.bucket("sky"), how, US) for how in (small, configuration))
    times = quantity(half.estimate.typical, "infer: compute") / quantity(whole.estimate.typical, "infer: compute")
    assert float(times) == pytest.approx(1.0, abs=0.01)
    assert "1/2.0 of a core" in half.basis[0]


@pytest.mark.parametrize(
    ("changed", "asked_for", "message"),
    [
        ({"children": "EXPRESS", "infer_timeout_s": 250}, {}, "may take 370 s with all its attempts"),
        ({"children": "EXPRESS", "infer_timeout_s": 250}, {"task_timeout_s": 100.0}, None),
        ({"children": "STANDARD", "infer_timeout_s": 900}, {}, None),
        ({}, {"task_timeout_s": 0.01}, "the largest task will take about"),
    ],
)
def test_tasks_that_may_not_end_in_time_are_warned_of(
    configuration: Configuration,
    store: Store,
    asked: dict[str, Any],
    changed: dict[str, Any],
    asked_for: dict[str, Any],
    message: str | None,
) -> None:
    plan = preview(parse_payload(asked | asked_for)[0], store)
    warnings = forecast(plan, store.bucket("sky"), structs.replace(configuration, **changed), US).warnings
    assert len(warnings) == (message is not None)
    assert message is None or message in warnings[0]


def test_another_regions_prices_are_named_and_never_hold_a_limit() -> None:
    prices, notes = prices_of("eu-west-1", strict=False)
    assert (prices.region, len(notes)) == ("us-east-1", 1)
    with pytest.raises(InputError, match="no prices for the region 'eu-west-1'"):
        prices_of("eu-west-1", strict=True)
    assert prices_of("us-east-1", strict=True)[1] == []
