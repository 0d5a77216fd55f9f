"""The page docs/aws.md: it shows the permissions, costs and messages that there are."""

import json
import re
from decimal import Decimal
from pathlib import Path

from aws.policies import PLACE
from skyfan.aws import forecast, handlers, iam
from skyfan.aws.iam import deployer_permissions, runner_permissions
from skyfan.aws.template import parameter_defaults
from skyfan.cost import GB_BYTES
from skyfan.estimating.bill import Job, Setup, estimated_run
from skyfan.prices import load_prices

DOCS = Path(__file__).parents[2] / "docs" / "aws.md"


def test_the_page_shows_what_is_printed() -> None:
    shown = [
        json.loads(text) for text in re.findall(r"^```json\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert deployer_permissions(**PLACE) in shown
    assert runner_permissions(**PLACE) in shown


def test_the_page_s_costs_are_those_that_a_run_is_told() -> None:
    prices = load_prices()
    columns = ((2, 2000, ".4f"), (516, 516 * 1278, ".3f"))
    rows: dict[str, list[str]] = {}
    for tasks, galaxies, form in columns:
        job = Job(
            tasks=tasks,
            partitions=tasks,
            rows=galaxies,
            bytes_in=galaxies * forecast.ROW_BYTES,
            bytes_out=galaxies * forecast.PART_ROW_BYTES,
            model_in_bucket=False,
        )
        memory = int(parameter_defaults()["InferMemory"] or 0)
        cold = min(tasks, int(parameter_defaults()["MaxConcurrency"] or 0))
        usual, dear, safe = (
            estimated_run(job, forecast.ASSUMED, setup, prices, cold_workers=cold, spread=forecast.SPREAD_SHIPPED)
            for setup in (
                Setup(memory_mb=memory, architecture="arm64"),
                Setup(memory_mb=memory, architecture="x86_64"),
                Setup(memory_mb=memory, architecture="arm64", children="STANDARD"),
            )
        )
        for what, cost in (
            ("`skyfan run`: low", usual.low),
            ("`skyfan run`: typical", usual.typical),
            ("`skyfan run`: high", usual.high),
            ("the same, x86_64, typical", dear.typical),
            ("the same, STANDARD children, typical", safe.typical),
        ):
            rows.setdefault(what, []).append(format(cost.total_usd, form))
        gb_months = Decimal(galaxies * forecast.ROW_BYTES) / GB_BYTES
        rows.setdefault("data in S3, per month", []).append(format(gb_months * prices.s3_storage.unit_usd, ".3f"))
    for what, numbers in rows.items():
        assert f"| {what} | {' | '.join(numbers)} |" in DOCS.read_text()


def test_an_upload_costs_what_the_page_says() -> None:
    """One PUT a partition, two for their index, and two listings; upload/test_index.py counts what is written."""
    numbers = []
    for partitions in (2, 516):
        requests = partitions + 2 + 2 * -(-(partitions + 1) // 1000)
        numbers.append(format(requests * load_prices().s3_put.unit_usd, ".5f"))
    assert f"| `skyfan aws upload`: requests | {' | '.join(numbers)} |" in DOCS.read_text()


def test_the_page_s_parameters_of_scripts_have_their_defaults() -> None:
    section = DOCS.read_text().split("\n## Scripts\n")[1].split("\n## ")[0]
    shown = dict(re.findall(r"^\| `(Script\w+)` \| `?([\w,]+)`?(?: MB| s)? \|", section, re.MULTILINE))
    defaults = {name: value for name, value in parameter_defaults().items() if name.startswith("Script") and value}
    assert {name: value.replace(",", "") for name, value in shown.items()} == defaults
    assert f"is ended {handlers.REPORTING_S:.0f} s before" in section


def test_every_message_that_the_page_explains_is_one() -> None:
    source = "\n".join(path.read_text() for path in (Path(iam.__file__).parents[1]).rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    table = DOCS.read_text().split("\n## When something goes wrong\n")[1].split("\n## ")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(messages) > 15
    for message in messages:
        for piece in message.split("..."):
            assert piece in source, message
