"""The figures of a report: with the digits that they need, once each, and none of what did not happen."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

import skyfan
from skyfan.photoz.science import Bin
from skyfan.report import amounts
from skyfan.report.catalogue import Glance
from skyfan.report.document import Block, Facts, Grid, Notice, Text
from skyfan.report.execution import execution
from skyfan.report.numbers import numbers
from skyfan.report.record import Record, read_record
from skyfan.report.scaling import scaling
from skyfan.report.science import science
from skyfan.report.verdict import cost_of, verdict
from skyfan.report.writing import write_report
from skyfan.storage import Store


def record_of(run: skyfan.Run, root: Path) -> Record:
    return read_record(run, Store(str(root)))


def notices(blocks: list[Block]) -> dict[str, tuple[str, ...]]:
    return {block.title: block.lines for block in blocks if isinstance(block, Notice)}


def test_one_run_alone_is_not_told_six_times_that_it_is_alone(finished: skyfan.Run, root: Path) -> None:
    found = scaling([record_of(finished, root).measurement])
    assert [type(block) for block in found] == [Grid, Text]
    assert "one run alone has nothing to be held against" in found[-1].text  # type: ignore[union-attr]


def test_a_reason_that_several_figures_share_is_said_once(finished: skyfan.Run, root: Path) -> None:
    one = record_of(finished, root).measurement
    lines = notices(scaling([one, structs.replace(one, run="sky/results/two")]))["Figures that these runs do not allow"]
    names, reasons = zip(*(line.split(": ", 1) for line in lines), strict=True)
    assert len(set(reasons)) == len(reasons)
    assert "data-time, data-throughput" in names


def test_small_numbers_have_five_decimals_and_the_bias_its_error(finished: skyfan.Run, root: Path) -> None:
    one = Bin(
        low=17.0, high=17.5, rows=492, bias_mean=-9.851e-05, bias_mean_error=0.000663, sigma_nmad=0.01266,
        outlier_fraction_005=0.00266, outlier_fraction_015=0.0,
    )  # fmt: skip
    alone = structs.replace(one, rows=1, bias_mean=-1e-7, bias_mean_error=None, sigma_nmad=None)
    record = record_of(finished, root)
    assert record.summary is not None
    assert record.summary.science is not None
    known = structs.replace(record.summary.science, mse=9.851e-05, by_z=[], by_r=[one, alone])
    record = replace(record, summary=structs.replace(record.summary, science=known))
    metrics, by_r = (block for block in science(record, Glance(), "run1") if isinstance(block, Grid))
    assert by_r.rows[0] == ("17 to 17.5", "492", "-0.00010 ±\N{NO-BREAK SPACE}0.00066", "0.01266", "0.00266")
    assert by_r.rows[1][2:4] == ("0.00000", amounts.UNKNOWN)
    values = dict(metrics.rows)
    assert values["mean (z_phot - z_spec)^2"] == "0.0000985"
    assert re.fullmatch(r"-?\d\.\d{5} ±\N{NO-BREAK SPACE}\d\.\d{5}", values["bias, mean of dz"])


def test_a_drive_that_had_nothing_to_do_had_no_workers(finished: skyfan.Run, root: Path, asked: dict[str, Any]) -> None:
    (root / "sky" / "results" / "one" / "summary.json").unlink()
    record = record_of(skyfan.run(asked, store=root, workers=1), root)
    figures = {name: (value, said) for name, value, said in verdict(record).figures}
    assert figures["Wall clock"][1].startswith("of the run, with no worker: no task was left to do")
    assert cost_of(record) == (amounts.UNKNOWN, "the last drive had no task left to do")
    facts = {name: value for block in numbers(record) if isinstance(block, Facts) for name, value, _ in block.rows}
    assert facts["Workers"] == "none"
    states = next(block for block in execution(record, None, "run1") if isinstance(block, Grid))
    assert states.rows[1][-1] == "no task was left to do"


def test_times_are_told_to_the_second(finished: skyfan.Run, root: Path) -> None:
    figures = {name: (value, said) for name, value, said in verdict(record_of(finished, root)).figures}
    for text in figures["When"]:
        assert re.fullmatch(r"(to )?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)


def test_the_two_clocks_of_the_map_are_told_apart(finished: skyfan.Run, root: Path) -> None:
    states = next(block for block in execution(record_of(finished, root), None, "run1") if isinstance(block, Grid))
    assert states.rows[1][-1].endswith("under Time, memory and cost, is longer by the start of its workers")


def test_a_narrow_page_can_name_each_cell_of_a_table_with_words(
    finished: skyfan.Run, root: Path, tmp_path: Path
) -> None:
    write_report([finished], Store(str(root)), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    tables = re.findall(r'<table class="grid stacks">.*?</table>', page, re.DOTALL)
    assert len(tables) > 3
    for table in tables:
        heads = re.findall(r"<th [^>]*>([^<]*)</th>", table)
        for row in re.findall(r"<tr[^>]*><td.*?</tr>", table):
            assert re.findall(r'data-head="([^"]*)"', row) == heads
    assert "data-head" not in re.sub(
        r'<table class="grid stacks">.*?</table>|<style>.*?</style>', "", page, flags=re.DOTALL
    )
