"""The same job on the engines of one machine, and as a user's script in place of a model.

    python benchmarks/engines.py --rounds 3 --record

The job is that of jobs.py: 10 partitions of 25 MB (12,780 rows), a network of AstroMAE's shape with random weights,
float32, two workers of one thread. `local` and `dask` are `skyfan run` with the ONNX file; `dask` has a cluster of two
processes on this machine, whose start is in its wall clock. `script` is `skyfan run --allow-scripts`, on the engine
`local`, with a script that does what users of the original system do: import torch, unpickle the partition, load the
weights, predict in batches. Every figure is of a whole process, cold start to end; the ways are measured in turn, and a
ratio is the median over the rounds of the ratio within a round. The last line is one JSON object; `--record` keeps it
in benchmarks/results/.
"""

import argparse
import tempfile
from pathlib import Path

from jobs import KINDS, Figures, in_turn, make_job, medians, publish, ratio, run_job

from skyfan.host import describe_host

SCRIPT = """
import os
import torch
from torch.utils.data import DataLoader

from skyfan.photoz.network import Network, NetworkConfig

network = Network(NetworkConfig(profile=False))
network.load_state_dict(torch.load("/tmp/code/weights.pt"))
network.eval()
folder = os.path.join(os.environ["SKYFAN_STORE"], os.environ["DATA_BUCKET"])
data = torch.load(os.path.join(folder, os.environ["DATA_PATH"]), weights_only=False)
rows = 0
with torch.inference_mode():
    for image, magnitude, _ in DataLoader(data, batch_size=int(os.environ["BATCH_SIZE"])):
        network(image, magnitude.float())
        rows += len(image)
print(rows, "rows")
"""


def make_code(folder: Path) -> None:
    """Write the script and its weights: folder/bucket/code/."""
    import torch

    from skyfan.photoz.network import Network, NetworkConfig

    code = folder / "bucket" / "code"
    code.mkdir()
    torch.manual_seed(1)
    torch.save(Network(NetworkConfig(profile=False)).state_dict(), code / "weights.pt")
    (code / "run.py").write_text(SCRIPT)


def run(folder: Path, name: str, asked: dict[str, str], *options: str) -> Figures:
    """Time one whole run; add what its summary says."""
    seconds, summary = run_job(folder, name, asked, *options)
    return {
        "wall_s": seconds,
        "map_wall_s": summary["drive"]["map_wall_s"],
        "task_s_median": summary["task_seconds"]["median"],
        "worker_peak_memory_mb": summary["worker_peak_memory_mb"]["max"],
    }


def measure(folder: Path, rounds: int) -> Figures:
    """Measure every way in turn."""
    model = {"model": KINDS["float32"]}
    ways = {
        "local": lambda: run(folder, "local", model),
        "dask": lambda: run(folder, "dask", model, "--engine", "dask"),
        "script": lambda: run(folder, "script", {"S3_object_name": "code", "script": "run.py"}, "--allow-scripts"),
    }
    seen = in_turn(ways, rounds)
    return {
        **{name: medians(each) for name, each in seen.items()},
        "ratio_dask_to_local": ratio(seen, "dask", "local"),
        "ratio_script_to_model": ratio(seen, "script", "local"),
        "ratio_dask_to_local_map": ratio(seen, "dask", "local", "map_wall_s"),
    }


def main() -> None:
    """Measure, record, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/DATE-engines.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_job(Path(folder))
        make_code(Path(folder))
        figures = measure(Path(folder), options.rounds)
    publish("engines", describe_host(), options.rounds, figures, keep=options.record)


if __name__ == "__main__":
    main()
