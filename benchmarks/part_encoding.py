"""What the encoding of a part costs: milliseconds to write and to read it, and its bytes, by codec and dictionaries.

    python benchmarks/part_encoding.py PART.parquet [--rows 8 500]

Takes the first rows of a part that a run has written, writes and reads them with each encoding in turn, and says the
fastest of many rounds of each, side by side in one process.
"""

import argparse
import io
import json
import time
from pathlib import Path
from typing import Any

from arro3.core import Table
from arro3.io import read_parquet, write_parquet

from skyfan.predictions import COMPRESSION, REPEATING, encode_part

FEW: dict[str, Any] = {"dictionary_enabled": False, "column_dictionary_enabled": dict.fromkeys(REPEATING, True)}
ENCODINGS: dict[str, dict[str, Any]] = {
    "zstd(1), dictionaries in all columns": {"compression": "zstd(1)"},
    "zstd(1)": {"compression": "zstd(1)", **FEW},
    "lz4_raw": {"compression": "lz4_raw", **FEW},
    "snappy": {"compression": "snappy", **FEW},
    "uncompressed": {"compression": "uncompressed", **FEW},
}


def measure(table: Table, options: dict[str, Any], rounds: int) -> dict[str, float]:
    """Return the least time of writing and of reading a table, and its size."""
    written, read = [], []
    for _ in range(rounds):
        buffer = io.BytesIO()
        started = time.perf_counter()
        write_parquet(table, buffer, key_value_metadata={"skyfan": "{}"}, **options)
        done = time.perf_counter()
        for _ in read_parquet(io.BytesIO(buffer.getvalue())):
            pass
        written.append(done - started)
        read.append(time.perf_counter() - done)
    return {
        "write_ms": round(min(written) * 1000, 3),
        "read_ms": round(min(read) * 1000, 3),
        "bytes": len(buffer.getvalue()),
    }


def main() -> None:
    """Measure and print, one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 500])
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    whole = Table.from_batches(list(read_parquet(options.part, batch_size=1_000_000)))
    for rows in options.rows:
        table = whole.slice(0, rows).combine_chunks()
        assert table.num_rows == rows, f"{options.part}: {whole.num_rows} rows, fewer than {rows}"
        print(f"{rows} rows; a part of skyfan: {len(encode_part(table, {}))} bytes, {COMPRESSION}")
        for name, encoding in ENCODINGS.items():
            print(json.dumps({"rows": rows, "encoding": name, **measure(table, encoding, options.rounds)}))


if __name__ == "__main__":
    main()
