"""Writing a catalogue does not hold it: its memory hardly grows with the rows."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "catalog_memory.py"


def test_memory_does_not_follow_the_rows() -> None:
    command = [sys.executable, str(BENCHMARK), "--rows", "200000", "800000", "--formats", "parquet", "fits"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    slopes = {name: found[name]["slope_bytes_per_row"] for name in ("parquet", "fits")}
    assert max(slopes.values()) < found["row_bytes"] / 3, found
