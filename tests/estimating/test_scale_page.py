"""The page on scale says what was recorded, and what was recorded is what the simulator still says."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("scale_curves"), importlib.import_module("scale_page")


def test_the_tables_are_those_of_the_record(bench: Any) -> None:
    _, page = bench
    result = json.loads(page.RESULT.read_text())
    text = page.PAGE.read_text()
    for name, table in page.tables(result).items():
        assert f"<!-- begin {name} -->\n{table}<!-- end {name} -->" in text


def test_the_record_is_what_the_simulator_says(bench: Any) -> None:
    curves, page = bench
    recorded = json.loads(page.RESULT.read_text())["table"]["12.6 GB, 25 MB"]
    found = curves.figures(curves.imagined(1_000, rows=659_817, partition_bytes=25 * 1024**2))
    assert {name: value for name, value in found.items() if name != "warnings"} == {
        name: value for name, value in recorded.items() if name != "warnings"
    }, "run benchmarks/scale_curves.py --record again"


def test_every_figure_of_the_page_is_there(bench: Any) -> None:
    _, page = bench
    for name in ("scale-time.svg", "scale-cost.svg", "scale-ramp.svg"):
        assert name in page.PAGE.read_text()
        assert (page.DOCS / name).read_text().rstrip().endswith("</svg>")
