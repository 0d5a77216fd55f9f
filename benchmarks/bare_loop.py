"""The least that any way of working must do: onnxruntime processes over the same files, predictions thrown away.

This is what `skyfan run` is held against. It uses nothing of skyfan: no checks, no hashes, no catalogue, no retries.

    python benchmarks/bare_loop.py MODEL.onnx FOLDER --workers 2 --batch-size 32
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROW_FLOATS = 5 * 32 * 32


def predict(model: Path, files: list[Path], batch_size: int) -> int:
    """Predict every row of some `.pt` files; return their number."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    rows = 0
    for file in files:
        image_at, image_bytes = locate(file, "data/0")
        magnitude_at, magnitude_bytes = locate(file, "data/1")
        image = np.memmap(file, np.float32, "r", image_at, (image_bytes // 4 // ROW_FLOATS, 5, 32, 32))
        magnitude = np.memmap(file, np.float64, "r", magnitude_at, (magnitude_bytes // 40, 5))
        for start in range(0, len(image), batch_size):
            batch = slice(start, start + batch_size)
            session.run(None, {"image": image[batch], "magnitude": magnitude[batch].astype(np.float32)})
        rows += len(image)
    return rows


def locate(file: Path, name: str) -> tuple[int, int]:
    """Return where an uncompressed entry of a zip lies, and its size."""
    with zipfile.ZipFile(file) as archive, file.open("rb") as raw:
        entry = next(info for info in archive.infolist() if info.filename.endswith(f"/{name}"))
        raw.seek(entry.header_offset + 26)
        name_bytes, extra_bytes = struct.unpack("<HH", raw.read(4))
        return entry.header_offset + 30 + name_bytes + extra_bytes, entry.file_size


def main() -> None:
    """Start the processes, wait for them, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--share", type=int, help="do this worker's share in this process")
    options = parser.parse_args()
    files = sorted(options.folder.glob("*.pt"))
    if options.share is not None:
        sys.stdout.write(f"{predict(options.model, files[options.share :: options.workers], options.batch_size)}\n")
        return
    started = time.perf_counter()
    command = [sys.executable, *sys.argv]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, "--share", str(share)], stdout=subprocess.PIPE, env=environment)
        for share in range(options.workers)
    ]
    rows = sum(int(process.communicate()[0]) for process in processes)
    print(json.dumps({"rows": rows, "wall_s": round(time.perf_counter() - started, 3)}))


if __name__ == "__main__":
    main()
