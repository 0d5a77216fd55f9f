"""A survey larger than a partition is never whole in memory, and its library is imported only when it is opened."""

import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.numpy

LARGE = """
import sys; from pathlib import Path; import numpy as np
kind, path, rows = sys.argv[1], Path(sys.argv[2]), 10_000
block = np.ones((500, 5, 32, 32), np.float32)
if kind == "hdf5":
    import h5py
    with h5py.File(path, "w") as file:
        image = file.create_dataset("image", (rows, 5, 32, 32), np.float32, chunks=(64, 5, 32, 32))
        for start in range(0, rows, 500): image[start : start + 500] = block + start
elif kind == "zarr":
    import zarr
    image = zarr.open_group(path, mode="w").create_array("image", shape=(rows, 5, 32, 32), chunks=(64, 5, 32, 32),
        dtype="float32", compressors=None)
    for start in range(0, rows, 500): image[start : start + 500] = block + start
else:
    from astropy.io import fits
    head = fits.BinTableHDU.from_columns([fits.Column("image", "5120E", dim="(32,32,5)")]).header
    head["NAXIS2"] = rows
    fits.PrimaryHDU().writeto(path)
    with path.open("ab") as file:
        file.write(head.tostring().encode())
        for start in range(0, rows, 500): file.write((block + start).astype(">f4").tobytes())
        file.write(bytes(-file.tell() % 2880))
"""


@pytest.mark.parametrize("kind", ["hdf5", "zarr", "fits"])
def test_a_survey_of_200_mb_is_never_whole_in_memory(tmp_path: Path, kind: str) -> None:
    path, store = tmp_path / f"large.{kind}", tmp_path / "store"
    subprocess.run([sys.executable, "-c", LARGE, kind, str(path)], check=True)
    script = (
        f"import skyfan, astropy.table, astropy.wcs, h5py, zarr; from skyfan.measure import peak_memory_mb;"
        f"before = peak_memory_mb(); skyfan.partition({str(path)!r}, 'sky/parts', size='10MB', store={str(store)!r},"
        "bands='ugriz', image_unit='nanomaggy'); print(peak_memory_mb() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 120
    first = safetensors.numpy.load_file(store / "sky" / "parts" / "20.safetensors")
    assert first["image"].mean() > 9000


def test_nothing_of_it_is_imported_before_such_a_survey_is_opened() -> None:
    script = (
        "import sys, skyfan, skyfan.making, skyfan.cli.surveys;"
        "print(sorted({'astropy', 'h5py', 'zarr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
