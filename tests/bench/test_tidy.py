"""The tidy table comes back as it was written, and a file that is none is refused."""

import csv
import re
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyfan.bench.measurement import Measurement
from skyfan.bench.tidy import COLUMNS, read_tidy, write_tidy
from skyfan.errors import InputError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text("'=+-@\t\r\na", max_size=5)
counts = st.integers(0, 2**63 - 1)
seconds = st.floats(allow_nan=False, allow_infinity=False)
SPECIAL = {
    "origin": st.sampled_from(["skyfan", "imported"]),
    "complete": st.booleans(),
    "cost_kind": st.sampled_from(["", "rented", "billed"]),
}
KINDS = {"str": texts, "int": counts, "int | None": st.none() | counts, "float": seconds}


def _strategy(name: str) -> st.SearchStrategy[Any]:
    shown = str(Measurement.__annotations__[name]).replace("<class '", "").replace("'>", "")
    return SPECIAL.get(name, KINDS.get(shown, st.none() | seconds))


measurements = st.builds(Measurement, **{name: _strategy(name) for name in COLUMNS})
FILES = ["runs.parquet", "runs.csv"]


def one(**changes: Any) -> Measurement:
    return Measurement(**{"origin": "skyfan", "run": "sky/results/one", "complete": True, **changes})


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(measurements, max_size=4))
def test_every_measurement_comes_back(name: str, runs: list[Measurement], tmp_path: Path) -> None:
    write_tidy(runs, tmp_path / name)
    assert read_tidy(tmp_path / name) == runs


@pytest.mark.parametrize("name", FILES)
def test_not_known_is_not_zero(name: str, tmp_path: Path) -> None:
    runs = [one(run_wall_s=0.0, rows=0), one(run_wall_s=None, rows=None)]
    read = read_tidy(write_tidy(runs, tmp_path / name))
    assert [(run.run_wall_s, run.rows) for run in read] == [(0.0, 0), (None, None)]


FORMULAS = [
    "=cmd|' C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "'=1",
    "''=1",
    "''",
    "'",
    "'90s",
    "-",
    "",
]


def test_a_spreadsheet_takes_no_name_of_others_for_a_formula(tmp_path: Path) -> None:
    runs = [one(run=text, data=text, machine=text, task_s_mean=-1.5) for text in FORMULAS]
    path = write_tidy(runs, tmp_path / "runs.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert not [row["run"] for row in rows if row["run"][:1] in set("=+-@\t\r\n")]
    assert [row["run"] for row in rows][:2] == ["'=cmd|' C calc'!A0", "'+1"]
    assert {row["task_s_mean"] for row in rows} == {"-1.5"}, "numbers stay numbers"
    assert read_tidy(path) == runs
    assert pq.read_table(write_tidy(runs, tmp_path / "runs.parquet")).column("run").to_pylist() == FORMULAS


def test_an_apostrophe_that_was_written_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("origin,run,complete\nskyfan,'90s survey,true\n")
    assert read_tidy(path)[0].run == "'90s survey"


def test_other_libraries_read_it(tmp_path: Path) -> None:
    runs = [one(rows=7, run_wall_s=1.25, problem='a "b", c\nd'), one(complete=False)]
    table = pq.read_table(write_tidy(runs, tmp_path / "runs.parquet"))
    assert table.column_names == list(COLUMNS)
    assert table.column("rows").to_pylist() == [7, None]
    assert [str(table.schema.field(name).type) for name in ("run", "complete", "rows", "run_wall_s")] == [
        "string",
        "bool",
        "int64",
        "double",
    ]
    with write_tidy(runs, tmp_path / "runs.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["rows"], first["run_wall_s"], first["problem"]) == ("7", "1.25", 'a "b", c\nd')
    assert (second["rows"], second["complete"]) == ("", "false")


@pytest.mark.parametrize("name", FILES)
def test_the_same_runs_give_the_same_bytes_and_nothing_is_left_beside(name: str, tmp_path: Path) -> None:
    first = write_tidy([one()], tmp_path / name).read_bytes()
    write_tidy([one(), one()], tmp_path / name)
    assert write_tidy([one()], tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_of_an_older_version_lacks_what_it_did_not_know(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("origin,run,complete\nskyfan,sky/one,true\n")
    assert read_tidy(path) == [Measurement(origin="skyfan", run="sky/one", complete=True)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'origin'"),
        ("origin,run\nskyfan,x\n", "has no column 'complete'"),
        ("origin,run,complete,complete\n", "has a column twice"),
        ("origin,run,complete,row\n", "the column 'row' is not known; did it mean 'rows'?"),
        ("origin,run,complete\nskyfan,x\n", "row 1: has 2 cells; expected 3"),
        ("origin,run,complete\nskyfan,x,maybe\n", "row 1: complete is 'maybe'; expected true or false"),
        ("origin,run,complete\nours,x,true\n", "row 1: Invalid enum value 'ours'"),
        ("origin,run,complete,rows\nskyfan,x,true,many\n", "rows is 'many'; expected int"),
        ("origin,run,complete,run_wall_s\nskyfan,x,true,nan\n", "run_wall_s is nan; expected a finite number"),
        ('origin,run,complete\nskyfan,"x,true\n', "not CSV"),
        (b"\xff\xfe\x00", "not CSV"),
    ],
)
def test_a_csv_that_is_no_table_of_runs_is_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=re.escape(message)):
        read_tidy(path)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_parquet_is_refused_or_read_never_a_crash(data: st.DataObject, tmp_path: Path) -> None:
    path = write_tidy([one(rows=3)] * 3, tmp_path / "runs.parquet")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        assert all(isinstance(run, Measurement) for run in read_tidy(path))
    except InputError as error:
        assert "skyfan bench" in str(error) or "expected" in str(error)  # noqa: PT017  either end is good


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"got the ending '\.xlsx'; expected \.parquet or \.csv"):
        write_tidy([one()], tmp_path / "runs.xlsx")
    with pytest.raises(InputError, match="cannot be written"):
        write_tidy([one()], tmp_path / "nowhere" / "runs.csv")
    with pytest.raises(InputError, match="measurement 2: run_wall_s is inf"):
        write_tidy([one(), one(run_wall_s=float("inf"))], tmp_path / "runs.csv")
    with pytest.raises(InputError, match="does not fit"):
        write_tidy([one(rows=2**70)], tmp_path / "runs.parquet")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_tidy(tmp_path / "nothing.csv")


def test_columns_are_the_fields() -> None:
    assert [item.name for item in msgspec.structs.fields(Measurement)] == list(COLUMNS)
