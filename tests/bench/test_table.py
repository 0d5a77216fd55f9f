"""The table: medians of whole runs only, right units, the original's columns beside, and everything said above it."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results import SEED, records, write, write_seed
from bench.sweeps import measured, repeats, whole_sweep
from skyfan.bench.groups import groups, nominal_mb
from skyfan.bench.importing import import_results
from skyfan.bench.measurement import Measurement
from skyfan.bench.table import (
    COST,
    COST_KIND,
    MB_MAP,
    PEAK,
    RATE_MAP,
    RATE_RUN,
    RATE_SUM,
    RUN_WALL,
    SEED_COST,
    SEED_MEMORY,
    SEED_THROUGHPUT,
    SEED_TIME,
    TASK,
    UNKNOWN,
    figure,
    seed_table,
    table_rows,
)
from skyfan.prices import load_prices


def cells(measurements: list[Measurement]) -> list[dict[str, str]]:
    head, rows, _ = table_rows(measurements)
    return [dict(zip(head, row, strict=True)) for row in rows]


def notes(measurements: list[Measurement]) -> str:
    return "\n".join(table_rows(measurements).notes)


def number(text: str) -> float:
    return float(text.split(" ", 1)[0].replace(",", ""))


def lines(text: str) -> list[list[str]]:
    """The rows of a Markdown table, head and rule left out."""
    table = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_the_originals_eight_rows(tmp_path: Path) -> None:
    """From results as it leaves them, through the table as text: cost to 2e-4, throughput to 5e-4 of it."""
    write_seed(tmp_path)
    measurements = import_results(tmp_path).measurements
    text = seed_table(measurements)
    head = table_rows(measurements).head
    found = [dict(zip(head, line, strict=True)) for line in lines(text)]
    assert len(found) == len(SEED) == 8
    for row, expected in zip(found, SEED, strict=True):  # both by partition size, and the larger data first
        assert number(row["partition, MB"]) == expected["partition_mb"]
        assert number(row["files"]) == number(row["workers"]) == expected["file_limit"]
        assert number(row["batch size"]) == expected["batch_size"]
        assert number(row["data, GB"]) == pytest.approx(expected["data_size_gb"], abs=6e-3)
        assert number(row[SEED_TIME]) == pytest.approx(expected["avg_runtime_s"], rel=1e-4)
        assert number(row[SEED_MEMORY]) == pytest.approx(expected["memory_mb"], rel=1e-4)
        assert number(row[SEED_COST]) == pytest.approx(expected["cost_usd"], abs=2e-4)
        assert number(row[SEED_THROUGHPUT]) == pytest.approx(expected["throughput_printed"], rel=5e-4)


def test_its_throughput_is_named_for_what_it_is() -> None:
    assert SEED_THROUGHPUT in table_rows([measured()]).head
    assert "is GB/s" in SEED_THROUGHPUT
    assert "is no bill" in notes([measured()])


def test_medians_over_repeats_with_their_range() -> None:
    (row,) = cells([measured(run_wall_s=wall, cost_usd=wall / 1000) for wall in (10.0, 90.0, 20.0)])
    assert row["runs"] == "3 of 3"
    assert row[RUN_WALL] == "20 (10 to 90)"
    assert row[COST] == "0.0200"


def test_units_are_what_the_head_says() -> None:
    run = measured(
        bytes_per_s_map_wall=50.0 * 1024**2,
        rows_per_s_run_wall=1000.0,
        rows_per_s_map_wall=1200.0,
        rows_per_s_workers_sum=1300.0,
        peak_memory_mb_max=190.5,
        task_s_p50=2.345,
        cost_kind="billed",
        files=41,
    )
    (row,) = cells([run])
    assert (row[MB_MAP], row[RATE_RUN], row[RATE_MAP], row[RATE_SUM]) == ("50", "1,000", "1,200", "1,300")
    assert (row[PEAK], row[TASK], row[COST_KIND]) == ("190.5", "2.35", "billed")
    assert row["data, GB"] == "1.001"


def test_a_run_that_is_not_whole_is_in_no_figure_and_is_named() -> None:
    good = measured(run_wall_s=10.0)
    lost = measured(run_wall_s=1.0, complete=False, problem="8 of 130 workers", run="bench/lost")
    resumed = measured(run_wall_s=2.0, problem="the run was resumed", run="bench/resumed")
    (row,) = cells([good, lost, resumed])
    assert (row["runs"], row[RUN_WALL]) == ("1 of 3", "10")
    said = notes([good, lost, resumed])
    assert "2 runs left out of every figure" in said
    assert "left out: bench/lost: 8 of 130 workers." in said
    assert "left out: bench/resumed: the run was resumed." in said


def test_a_configuration_without_a_whole_run_has_a_row_without_figures() -> None:
    lost = measured(complete=False, problem="gone", files=50)
    _, row = sorted(cells([measured(), lost]), key=lambda row: row["files"])
    assert (row["runs"], row[RUN_WALL], row[COST], row["data, GB"]) == ("0 of 1", UNKNOWN, UNKNOWN, UNKNOWN)


def test_what_is_not_known_is_a_dash_and_never_a_zero() -> None:
    known, unknown = measured(), measured(batch_size=64, peak_memory_mb_max=None, threads=None, cost_usd=None)
    first, second = cells([known, unknown])
    first, second = (first, second) if first["batch size"] == "32" else (second, first)
    assert (second[PEAK], second["threads of each"], second[COST], second[COST_KIND]) == (UNKNOWN,) * 4
    assert UNKNOWN not in first.values()


def test_a_column_that_no_run_knows_is_left_out_and_named() -> None:
    runs = [measured(cost_usd=None), measured(batch_size=64, cost_usd=None)]
    assert COST not in table_rows(runs).head
    assert f"there is no column: {COST}; {COST_KIND}." in notes(runs)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"machine": "Apple M4, 10 cores"}, "machines"),
        ({"model_sha256": "cd" * 32}, "models"),
        ({"data": "bench/other"}, "data"),
        ({"origin": "imported"}, "origins"),
        ({"engine": "aws"}, "engines"),
        ({"skyfan": "2.0"}, "versions of skyfan"),
    ],
)
def test_runs_that_cannot_be_compared_never_share_a_row_and_are_marked(changes: dict[str, Any], said: str) -> None:
    runs = [measured(run_wall_s=10.0), measured(run_wall_s=20.0, **changes)]
    rows = cells(runs)
    assert [row["set"] for row in rows] == ["A", "B"]
    assert sorted(row[RUN_WALL] for row in rows) == ["10", "20"]
    assert f"Rows of different {said} are in one table" in notes(runs)
    assert re.search(r"^A: .*\.\nB: .*\.$", notes(runs), re.MULTILINE)


def test_runs_that_can_be_compared_are_of_one_set() -> None:
    runs = [
        measured(partition_mb=25.01),
        measured(partition_mb=24.97),
        measured(partition_mb=25.0, data="bench/survey/repeated/25MB"),
    ]
    (row,) = cells(runs)
    assert "set" not in row
    assert notes(runs).startswith(
        "All rows: run by skyfan 1.0, engine local, machine: AMD EPYC 7B13, 2 cores, "
        "model photoz-sim-2 (sha256 abababababab), data bench/survey."
    )


def test_folders_of_other_sizes_are_other_data() -> None:
    """Only the folder that says how a run's own partitions are cut is no part of the data's name."""
    runs = [measured(run_wall_s=wall, data=f"sky/lsst/{gb}GB") for gb, wall in ((1, 10.0), (8, 30.0))]
    rows = cells(runs)
    assert [(row["set"], row["runs"], row[RUN_WALL]) for row in rows] == [("A", "1 of 1", "10"), ("B", "1 of 1", "30")]
    assert "Rows of different data are in one table" in notes(runs)
    assert len(cells([measured(data="sky/lsst/25MB"), measured(data="sky/lsst/24MB")])) == 1, (
        "25,000,000 bytes are 24 MiB"
    )
    assert len(cells([measured(data="sky/lsst/25MB"), measured(data="sky/lsst/50MB")])) == 2


def test_partitions_of_other_content_never_share_a_row() -> None:
    """The same folder name may lie in two stores, or be filled anew."""
    runs = [measured(run_wall_s=wall, data_sha256=letter * 64) for letter, wall in (("a", 10.0), ("b", 30.0))]
    rows = cells(runs)
    assert [(row["content"], row[RUN_WALL]) for row in rows] == [("aaaaaaaaaaaa", "10"), ("bbbbbbbbbbbb", "30")]
    assert "differ in nothing but the content of their partitions" in notes(runs)
    assert "content" not in cells([measured(data_sha256="a" * 64), measured(data_sha256="c" * 64, files=82)])[0]
    assert len(cells([measured(data_sha256="a" * 64), measured()])) == 2, "what is not known is not taken for the same"


def test_a_run_that_does_not_say_what_it_read_is_counted_with_those_that_do() -> None:
    lost = measured(complete=False, problem="gone")
    (row,) = cells([measured(data_sha256="a" * 64), lost])
    assert row["runs"] == "1 of 2"
    assert len(cells([measured(data_sha256="a" * 64), measured(data_sha256="b" * 64), lost])) == 3


def test_repeated_partitions_are_said() -> None:
    run = measured(files=504, distinct_partitions=20)
    (row,) = cells([run])
    assert row["files"] == "504 (20 distinct)"
    assert "12.3 GB from 0.488 GB of distinct data" in notes([run])
    assert "distinct" not in notes([measured()])


def test_repeated_partitions_of_runs_that_are_not_whole_are_said_too() -> None:
    (row,) = cells([measured(files=504, distinct_partitions=20, complete=False, problem="gone")])
    assert (row["files"], row["runs"]) == ("504 (20 distinct)", "0 of 1")


def test_a_lower_bound_is_in_no_median_beside_whole_bills() -> None:
    bound = measured(engine="aws", cost_kind="at least", cost_usd=0.1, run="bench/bound")
    runs = [measured(engine="aws", cost_kind="billed", cost_usd=usd) for usd in (0.3, 0.4, 0.5)]
    (row,) = cells([*runs, bound, bound])
    assert (row["runs"], row[COST], row[COST_KIND]) == ("5 of 5", "0.400", "billed")
    assert "Bills with lines missing are in no median of a cost beside whole ones: bench/bound, bench/bound." in notes(
        [*runs, bound, bound]
    )
    (row,) = cells([bound])
    assert (row[COST], row[COST_KIND]) == ("0.100", "at least")
    assert "Bills with lines missing" not in notes([bound])


def test_a_cost_says_by_which_prices_and_that_they_are_old() -> None:
    new = {"prices_region": "us-east-1", "prices_read_in": load_prices().read_in}
    old = {"prices_region": "eu-west-1", "prices_read_in": "2019-03"}
    said = notes([measured(**new)])
    assert f"Costs are by the prices of us-east-1, looked up in {new['prices_read_in']}." in said
    assert "months ago" not in said
    said = notes([measured(**new), measured(**old), measured(batch_size=64, **old)])
    both = f"eu-west-1, looked up in 2019-03, and us-east-1, looked up in {new['prices_read_in']}"
    assert f"Costs are by the prices of {both}." in said
    assert said.count("The prices of eu-west-1 were looked up in 2019-03, more than 12 months ago") == 1
    assert "prices of" not in notes([measured(cost_usd=None, **old)])
    odd = notes([measured(prices_region="x", prices_read_in="last year")])
    assert "looked up in last year." in odd, "a table may say anything"
    assert "prices of" not in notes([measured(), measured(complete=False, problem="gone", **old)])


def test_a_cost_that_is_not_known_for_the_prices_says_so() -> None:
    said = notes([measured(), measured(cost_usd=None, cost_problem="prices x: bad")])
    assert "The cost of 1 run is not known: prices x: bad." in said


def test_tasks_of_several_partitions_have_a_column() -> None:
    assert "tasks" not in table_rows([measured()]).head
    assert cells([measured(), measured(tasks=10)])[0]["tasks"] in {"10", "41"}


def test_names_of_others_are_shown_as_they_are() -> None:
    run = measured(
        complete=False, problem="<script>alert(1)</script> | `x` *y* [z](http://z)\n# head", run="a|b", machine="<b>|&"
    )
    text = seed_table([measured(), run])
    assert "<" not in text
    assert "\n# head" not in text
    assert r"\| \`x\` \*y\* \[z\](http://z) # head" in text
    width = {line.count("|") - line.count(r"\|") for line in text.splitlines() if line.startswith("| ")}
    assert len(width) == 1


def test_no_run_at_all() -> None:
    assert seed_table([]) == "- There is no run to show.\n"
    text = seed_table([Measurement(origin="imported", run="x", complete=False, problem="not JSON")])
    assert "left out: x: not JSON." in text
    assert "|" not in text


def test_many_runs_that_are_left_out_are_counted() -> None:
    runs = [measured(complete=False, problem="gone", run=f"r{number}") for number in range(30)]
    said = notes(runs)
    assert "30 runs left out" in said
    assert "and 10 more." in said
    assert "r25" not in said


def test_an_import_beside_our_own_runs(tmp_path: Path) -> None:
    write(tmp_path, "result-partition-25MB/1GB/1", records(41))
    runs = [*import_results(tmp_path).measurements, *repeats()]
    imported, own = cells(runs)
    assert (imported["set"], imported[RUN_WALL], imported[COST], imported[SEED_TIME]) == ("A", UNKNOWN, UNKNOWN, "6")
    assert own["runs"] == "3 of 3"


def test_quantiles() -> None:
    (group,) = groups([measured(run_wall_s=wall) for wall in (4.0, 1.0, 2.0, 3.0, 5.0)])
    found = group.quantiles("run_wall_s")
    assert found is not None
    assert (found.count, found.min, found.q25, found.median, found.q75, found.max) == (5, 1, 2, 3, 4, 5)
    assert group.quantiles("rows") is not None
    (unknown,) = groups([measured(rows=None)])
    assert unknown.quantiles("rows") is None


def test_groups_keep_every_run() -> None:
    runs = [*whole_sweep(), measured(complete=False, problem="gone")]
    found = groups(runs)
    assert sum(len(group.used) + len(group.left_out) for group in found) == len(runs)
    assert [len(group.used) for group in found] == [3] * len(found)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=9))
def test_quantiles_are_in_order(values: list[float]) -> None:
    (group,) = groups([measured(run_wall_s=value) for value in values])
    found = group.quantiles("run_wall_s")
    assert found is not None
    ordered = [found.min, found.q25, found.median, found.q75, found.max]
    assert all(one <= two + 1e-9 * abs(two) for one, two in itertools.pairwise(ordered))


@pytest.mark.parametrize(
    ("size", "nominal"),
    [(25.01, 25), (24.6, 24.6), (25.4, 25.4), (100.06, 100), (0.0, 0), (0.0512, 0.0512), (1.4, 1.4), (12.6, 12.6)],
)
def test_nominal_sizes(size: float, nominal: float) -> None:
    assert nominal_mb(size) == nominal


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 3, UNKNOWN),
        (0, 3, "0"),
        (1.9674, 5, "1.9674"),
        (1234567.8, 3, "1,234,568"),
        (0.000123456, 3, "0.000123"),
        (6.0, 5, "6"),
        (6.05, 3, "6.05"),
        (-2.5, 2, "-2.5"),
    ],
)
def test_figures_have_as_many_digits_as_asked(value: float | None, digits: int, text: str) -> None:
    assert figure(value, digits) == text
