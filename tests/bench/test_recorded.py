"""What the docs show of recorded sweeps is what was recorded."""

from pathlib import Path

import pytest

from skyfan.bench.table import seed_table
from skyfan.bench.tidy import read_tidy

ROOT = Path(__file__).parents[2]
RECORDED = sorted((ROOT / "benchmarks" / "results").glob("*-table.csv"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_table_of_the_docs_is_the_recorded_one(path: Path) -> None:
    page = (ROOT / "docs" / "measurements.md").read_text()
    assert path.name in page
    lines = [line for line in seed_table(read_tidy(path)).splitlines() if line.startswith("|")]
    assert len(lines) > 2
    assert "\n".join(lines) in page


def test_there_is_a_recorded_table() -> None:
    assert RECORDED
