"""How good the models' redshifts are, beside what magnitudes and colours alone give, on galaxies that none has seen.

    python benchmarks/photoz.py                                     # the models that ship
    python benchmarks/photoz.py --model new.onnx --work /tmp/photoz # another; keep the simulated surveys
    python benchmarks/photoz.py --pair new.onnx new-int8.onnx       # what quantising changed

It answers whether images are worth their cost, so the baselines get all that the network gets but the images: they
learn from the same rows (90 % of the training survey, split by id), and choose on the same validation rows. The test
survey has another seed. "Best" is the baseline that does best on the test rows themselves, which is the hardest for the
models. Models run as in `skyfan run`: onnxruntime, one thread, batches of 32, in turn, `--rounds` times. Errors are
from bootstrap samples of the test rows, paired where two are compared; they hold nothing of another training's luck.

The output is Markdown, what docs/model.md shows; its last line is one JSON object; `--record` keeps it in
benchmarks/results/.
"""

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import photoz_tables as tables
from jobs import HERE, PYTHON
from numpy.typing import NDArray
from run import cpuinfo

from skyfan import models
from skyfan.blob import MappedBlob
from skyfan.comparison import Compared, compare_arrays
from skyfan.errors import InputError
from skyfan.evaluation import Evaluation, evaluate
from skyfan.measure import Meter
from skyfan.partitions import Partition, open_partition
from skyfan.photoz import baselines, metrics
from skyfan.photoz.dataset import Survey, open_survey, split
from skyfan.photoz.network import NetworkConfig
from skyfan.photoz.simulate import SURVEY, object_ids
from skyfan.predictions import missing
from skyfan.predictor import Predictor

BATCH_SIZE = 32

Figures = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What one model or baseline gave for the test rows."""

    z_phot: NDArray[np.float64]
    evaluation: Evaluation
    about: Figures
    """What it is, and what it took."""


def survey_file(folder: Path, rows: int, seed: int) -> Survey:
    """Open a simulated survey of the folder; simulate it if it is not there, or not what this version simulates."""
    path = folder / f"{SURVEY}-seed{seed}-{rows}.safetensors"
    if path.is_file():
        survey = open_survey(path, NetworkConfig())
        if survey.metadata.get("survey") == SURVEY and np.array_equal(survey.object_id, object_ids(seed, 0, rows)):
            return survey
        say(f"{path} is not {rows} rows of {SURVEY} with seed {seed}: simulating it anew")
    say(f"simulating {path.name}")
    command = [PYTHON, "-m", "skyfan", "simulate", str(path), "--rows", str(rows), "--seed", str(seed)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return open_survey(path, NetworkConfig())


def run_baselines(train: Survey, test: Survey, seed: int, bootstrap: int) -> dict[str, Result]:
    """Fit every baseline and predict the test rows."""
    results = {}
    learn, validate = baselines.samples(train)
    for name in baselines.BASELINES:
        started = time.perf_counter()
        fitted = baselines.fit(name, learn, validate, seed)
        seconds = round(time.perf_counter() - started, 1)
        z_phot = fitted.predict(test.magnitude)
        compared = Compared({"z_phot": z_phot, "z_spec": test.redshift.astype(np.float64)}, None, None, 0, 0)
        about = {"choices": dict(fitted.choices), "training_rows": len(learn.redshift), "fit_s": seconds}
        results[name] = Result(z_phot, evaluate(compared, name, None, bootstrap, []), about)
        say(f"{name}: {about}")
    return results


def run_models(paths: dict[str, Path], test: Survey, rounds: int, bootstrap: int, training: str) -> dict[str, Result]:
    """Predict the test rows with every model, in turn, `rounds` times; keep the median speed.

    `training` is how the metadata of a model begin that learnt from the rows that the baselines learnt from.
    """
    partition = open_partition(MappedBlob(test.path))
    predictors = {name: Predictor(path, name) for name, path in paths.items()}
    columns: dict[str, dict[str, NDArray[Any]]] = {}
    rates: dict[str, list[float]] = {name: [] for name in paths}
    for number in range(rounds):
        for name, predictor in predictors.items():
            columns[name], seconds = predicted(predictor, partition)
            rates[name].append(len(test) / seconds)
            say(f"round {number + 1} {name}: {rates[name][-1]:.0f} images/s")
    results = {}
    for name, predictor in predictors.items():
        trained_on = predictor.metadata.get("trained_on", "")
        about = {
            "trained_on": trained_on,
            "same_training_rows": trained_on.startswith(training),
            "size_bytes": paths[name].stat().st_size,
            "images_per_s_one_thread": round(statistics.median(rates[name]), 1),
        }
        compared = compare_arrays(columns[name] | {"z_spec": test.redshift}, predictor.pdf_edges)
        results[name] = Result(compared.columns["z_phot"], evaluate(compared, name, None, bootstrap, []), about)
    return results


def predicted(predictor: Predictor, partition: Partition) -> tuple[dict[str, NDArray[Any]], float]:
    """Return a model's outputs for every row, and the seconds that the model itself took."""
    meter = Meter()
    found = predictor.predict(partition, BATCH_SIZE, meter)
    z_phot = found.outputs.get("z_phot")
    lost = partition.rows if z_phot is None else np.count_nonzero(missing(z_phot, found.flags))
    if lost:
        sys.exit(
            f"{predictor.name} gave {', '.join(found.outputs)} and no z_phot for {lost} of {partition.rows} rows; "
            "expected it for all: other rows than the others' cannot be compared"
        )
    return found.outputs, meter.seconds().predict


def gains(of: dict[str, Result], over: dict[str, Result], z_spec: NDArray[Any], bootstrap: int) -> Figures:
    """Return what each of `of` gains over each of `over`, by their names."""
    return {
        mine: {
            theirs: asdict(metrics.paired_gain(result.z_phot, other.z_phot, z_spec, bootstrap))
            for theirs, other in over.items()
        }
        for mine, result in of.items()
    }


def quantised(plain: Result, small: Result, z_spec: NDArray[Any], bootstrap: int) -> Figures:
    """Return what the second of a pair changes of the first."""
    change = np.abs(small.z_phot - plain.z_phot) / (1.0 + plain.z_phot)
    return {
        "largest_change_dz": float(change.max()),
        "mean_change_dz": float(change.mean()),
        "gain": asdict(metrics.paired_gain(small.z_phot, plain.z_phot, z_spec, bootstrap)),
        "times_faster": small.about["images_per_s_one_thread"] / plain.about["images_per_s_one_thread"],
        "share_of_size": small.about["size_bytes"] / plain.about["size_bytes"],
    }


def measure(options: argparse.Namespace, folder: Path) -> Figures:
    """Measure everything; return it by name."""
    train = survey_file(folder, options.train_rows, options.train_seed)
    test = survey_file(folder, options.test_rows, options.test_seed)
    plain = run_baselines(train, test, options.seed, options.bootstrap)
    learnt = len(split(train.object_id).train)
    found = run_models(options.models, test, options.rounds, options.bootstrap, f"{learnt} objects of {SURVEY} ")
    best = min(plain, key=lambda name: plain[name].evaluation.metrics["sigma_nmad"].value or np.inf)
    figures: Figures = {
        "survey": SURVEY,
        "train": {"rows": options.train_rows, "seed": options.train_seed, "learnt": learnt},
        "test": {"rows": options.test_rows, "seed": options.test_seed},
        "bootstrap": options.bootstrap,
        "default": models.DEFAULT if models.DEFAULT in found else next(iter(found)),
        "best_baseline": best,
        "models": {
            name: described(result) | {"by_z": msgspec.to_builtins(result.evaluation.by_z)}
            for name, result in found.items()
        },
        "baselines": {name: described(result) for name, result in plain.items()},
        "gains": gains(found, plain, test.redshift, options.bootstrap),
    }
    if options.pair:
        one, other = (path.stem for path in options.pair)
        change = quantised(found[one], found[other], test.redshift, options.bootstrap)
        figures["pair"] = {"of": [one, other], **change}
    return figures


def described(result: Result) -> Figures:
    """Return a result as it goes into the record."""
    return {**result.about, "metrics": msgspec.to_builtins(result.evaluation.metrics)}


def parse() -> argparse.Namespace:
    """Read the command line; name the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, action="append", help="an ONNX file; again for more; default: all shipped"
    )
    parser.add_argument("--pair", type=Path, nargs=2, metavar=("FLOAT32", "INT8"), help="two models to hold together")
    parser.add_argument("--work", type=Path, help="a folder for the simulated surveys, used again if they are there")
    for what, rows, seed in (("train", 320_000, 1), ("test", 10_000, 2)):
        parser.add_argument(f"--{what}-rows", type=int, default=rows, metavar="N")
        parser.add_argument(f"--{what}-seed", type=int, default=seed, metavar="S")
    parser.add_argument("--seed", type=int, default=1, help="of the baselines")
    parser.add_argument("--rounds", type=int, default=3, help="how often speed is measured")
    parser.add_argument("--bootstrap", type=int, default=500, help="samples for the errors")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/DATE-photoz.json")
    options = parser.parse_args()
    if options.train_seed == options.test_seed:
        parser.error(f"both surveys have the seed {options.test_seed}: the test galaxies would be training galaxies")
    if options.rounds < 1 or options.bootstrap < 2:
        parser.error(f"--rounds {options.rounds} --bootstrap {options.bootstrap}: expected at least 1 and 2")
    paths = [*(options.model or ([] if options.pair else models.shipped().values())), *(options.pair or [])]
    options.models = {path.stem: path for path in paths}
    absent = [str(path) for path in paths if not path.is_file()]
    if absent or not paths or len(options.models) < len(set(paths)):
        parser.error(f"expected models that exist, under different names; got {absent or [str(p) for p in paths]}")
    return options


def main() -> None:
    """Measure, record, print the tables and one JSON line."""
    options = parse()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.work or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            figures = measure(options, folder)
    except InputError as error:
        sys.exit(str(error))
    now = dt.datetime.now(dt.UTC)
    processor = next((line.split(":")[1].strip() for line in cpuinfo() if line.startswith("model name")), "unknown")
    record = {
        "date": f"{now:%Y-%m-%d}",
        "machine": {"processor": processor, "cores": os.cpu_count(), "python": platform.python_version()},
        **rounded(figures),
    }
    print("\n".join(tables.page(figures)))
    print(json.dumps(record))
    if options.record:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / f"{now:%Y-%m-%d}-photoz.json").write_text(json.dumps(record, indent=2) + "\n")


def rounded(figures: Any) -> Any:
    """Return figures with six digits of every number: more is noise."""
    if isinstance(figures, dict):
        return {name: rounded(value) for name, value in figures.items()}
    if isinstance(figures, list):
        return [rounded(value) for value in figures]
    return float(f"{figures:.6g}") if isinstance(figures, float) else figures


def say(text: str) -> None:
    """Tell where it stands, apart from the result."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
