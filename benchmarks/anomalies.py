"""What the anomaly score finds: how many images are flagged that no galaxy of the training survey looks like.

    python benchmarks/anomalies.py                    # the default model
    python benchmarks/anomalies.py --model new.onnx

Each kind is made of the same simulated galaxies, of a seed that no model was trained on. "Flagged" is what a run would
flag: a score above the model's own `unusual_above`, or an input outside its `valid_range`, which is listed apart since
it needs no network. The row "as they are" is the share of false alarms. The last line is one JSON object.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jobs import PYTHON
from numpy.typing import NDArray
from photoz_tables import table

from skyfan import models
from skyfan.blob import BufferBlob
from skyfan.formats import safetensors
from skyfan.measure import Meter
from skyfan.partitions import open_partition
from skyfan.photoz.parameters import Parameters
from skyfan.photoz.render import sky_noise
from skyfan.predictions import Flag
from skyfan.predictor import Predictor

Images = NDArray[np.float32]

NOISE = sky_noise(Parameters())[:, None, None].astype(np.float32)


def point(images: Images, rng: np.random.Generator) -> Images:
    """Return stars of the galaxies' own flux: a Gaussian of 1.4 arcsec, with the sky's noise."""
    y, x = np.mgrid[:32, :32] - 16.0
    psf = np.exp(-0.5 * (x**2 + y**2) / (1.43 / 2.355 / 0.396) ** 2)
    light = images.sum(axis=(2, 3), keepdims=True) * (psf / psf.sum())
    return light + NOISE * rng.standard_normal(images.shape)


def beside(images: Images, rng: np.random.Generator) -> Images:
    """Return images with another galaxy, three times as bright, 3 arcsec beside."""
    return images + 3.0 * np.roll(images[::-1], 8, axis=3)


def trail(images: Images, rng: np.random.Generator) -> Images:
    """Return images with a line through all bands, 50 times the sky's noise."""
    trailed = images.copy()
    trailed[:, :, 20:22] += 50.0 * NOISE
    return trailed


def smeared(images: Images, rng: np.random.Generator) -> Images:
    """Return images of which the lower third was read out as one line."""
    broken = images.copy()
    broken[:, :, 20:] = broken[:, :, 20:21]
    return broken


KINDS: dict[str, Callable[[Images, np.random.Generator], Images]] = {
    "as they are": lambda images, rng: images,
    "empty sky": lambda images, rng: NOISE * rng.standard_normal(images.shape),
    "bands in another order": lambda images, rng: images[:, [4, 0, 3, 1, 2]],
    "noise three times as large": lambda images, rng: images + 2.83 * NOISE * rng.standard_normal(images.shape),
    "a trail through all bands": trail,
    "flux ten times as large": lambda images, rng: 10.0 * images,
    "a star": point,
    "a galaxy three times as bright beside": beside,
    "rows smeared": smeared,
    "shifted by 8 pixels": lambda images, rng: np.roll(images, 8, axis=3),
    "upside down": lambda images, rng: images[:, :, ::-1],
}


def survey(rows: int, seed: int, folder: Path) -> dict[str, NDArray[np.float32]]:
    """Simulate galaxies; return their images and magnitudes."""
    path = folder / "survey.safetensors"
    command = [PYTHON, "-m", "skyfan", "simulate", str(path), "--rows", str(rows), "--seed", str(seed)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return open_partition(BufferBlob(path.name, memoryview(path.read_bytes()))).read(["image", "magnitude"], 0, rows)


def look(predictor: Predictor, arrays: dict[str, NDArray[np.float32]]) -> dict[str, float]:
    """Return what a run would say of these rows."""
    data = b"".join(safetensors.encode(arrays, {}))
    found = predictor.predict(open_partition(BufferBlob("rows.safetensors", data)), 32, Meter())
    unusual, outside = (found.flags & flag.value != 0 for flag in (Flag.UNUSUAL_OUTPUT, Flag.OUT_OF_RANGE))
    return {
        "unusual": float(unusual.mean()),
        "out_of_range": float(outside.mean()),
        "either": float((unusual | outside).mean()),
        "median_score": float(np.median(found.outputs["anomaly_score"])),
    }


def main() -> None:
    """Make every kind, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="an ONNX file; default: the default model")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=3, help="of the galaxies")
    options = parser.parse_args()
    path = options.model or models.path(models.DEFAULT)
    predictor = Predictor(path, path.stem)
    with tempfile.TemporaryDirectory() as folder:
        galaxies = survey(options.rows, options.seed, Path(folder))
    figures = {}
    for name, change in KINDS.items():
        rng = np.random.default_rng(options.seed)
        image = np.ascontiguousarray(change(galaxies["image"], rng), np.float32)
        figures[name] = look(predictor, galaxies | {"image": image})
    columns = ("unusual", "out_of_range", "either")
    rows = [
        [name, *(f"{100 * each[key]:.1f}" for key in columns), f"{each['median_score']:.2f}"]
        for name, each in figures.items()
    ]
    head = ["images", "unusual_output, %", "out_of_range, %", "either, %", "median score"]
    print("\n".join(table(head, rows)))
    print(json.dumps({"model": path.stem, "rows": options.rows, "seed": options.seed, "kinds": figures}))


if __name__ == "__main__":
    main()
