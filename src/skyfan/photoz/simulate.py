"""Writes a simulated survey: SDSS-like ugriz cutouts with magnitudes, positions and true redshifts."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyfan.errors import SurveyError
from skyfan.formats import safetensors
from skyfan.photoz.contamination import draw_artefacts, draw_neighbours, foreign_light
from skyfan.photoz.grids import Grids
from skyfan.photoz.parameters import BANDS, CUTOUT_PIXELS, PIXEL_SCALE_ARCSEC, Parameters
from skyfan.photoz.population import draw
from skyfan.photoz.render import Renderer, Scene, observe
from skyfan.wording import with_extra

SURVEY = "skyfan-sim-2"
"""Changes whenever the same seed would give other galaxies."""
CHUNK_ROWS = 500
"""Rows that share a random stream; changing it changes every survey."""
MAX_SEED = 2**31 - 1

Arrays = dict[str, NDArray[Any]]

METADATA: Mapping[str, str] = {
    "schema": "1",
    "survey": SURVEY,
    "bands": BANDS,
    "pixel_scale_arcsec": str(PIXEL_SCALE_ARCSEC),
    "image_unit": "nanomaggy",
    "magnitude_system": "AB",
}


@dataclass(frozen=True)
class Chunk:
    """A stretch of rows that one worker draws."""

    index: int
    seed: int
    rows: int
    """Fewer than CHUNK_ROWS in the last chunk only, which is then the beginning of the full one."""

    @property
    def start(self) -> int:
        return self.index * CHUNK_ROWS


def simulate(
    out: Path,
    rows: int,
    seed: int,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a simulated survey file.

    The same seed gives the same bytes whatever the number of workers, and the first n rows of a longer survey.

    Parameters
    ----------
    out : Path
        Where the safetensors file goes; it appears there only when it is whole.
    rows : int
        Number of galaxies, at least 1.
    seed : int
        0 to 2^31 - 1.
    workers : int, optional
        Processes; by default one per core. With 1 the work is done in this process. With more, a script that calls
        this needs the usual `if __name__ == "__main__":`.
    progress : callable, optional
        Called with rows done and rows in all.

    Returns
    -------
    path : Path
        `out`. It holds `object_id` (n,) int64, `ra`, `dec` (n,) float64 in degrees, `redshift` (n,) float32,
        `image` (n, 5, 32, 32) float32 in nanomaggies a pixel, `magnitude` (n, 5) float32 AB; bands are ugriz.

    Raises
    ------
    SurveyError
        The arguments cannot be used, the file cannot be written, or the `simulate` extra is not installed.
    """
    _check(out, rows, seed, workers)
    parameters = Parameters()
    grids = _build_grids(parameters)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with _removed_on_error(partial):
            arrays = safetensors.create(partial, _spec(rows), METADATA)
            for chunk, drawn in _draw_chunks(_chunks(rows, seed), grids, parameters, workers or _cores()):
                stop = chunk.start + chunk.rows
                for name, values in drawn.items():
                    arrays[name][chunk.start : stop] = values
                if progress:
                    progress(stop, rows)
            for array in arrays.values():
                array.flush()
            partial.replace(out)
    except OSError as e:
        raise SurveyError(
            f"cannot write the survey {out}: {e.strerror or e}; expected a folder with room for "
            f"{_bytes(rows) / 2**20:,.0f} MiB - choose another place or fewer rows"
        ) from e
    return out


def draw_chunk(chunk: Chunk, grids: Grids, parameters: Parameters) -> Arrays:
    """Return the arrays of one chunk, by name; a chunk depends on its seed and index alone."""
    streams = np.random.SeedSequence(chunk.seed, spawn_key=(chunk.index,)).spawn(3)
    population, contamination, noise = (np.random.default_rng(stream) for stream in streams)
    galaxies = draw(population, CHUNK_ROWS, grids, parameters)
    neighbours = draw_neighbours(contamination, galaxies, parameters)
    artefacts = draw_artefacts(contamination, CHUNK_ROWS, parameters)
    galaxies = galaxies.select(slice(chunk.rows))
    render = Renderer(grids)
    image = np.empty((chunk.rows, len(BANDS), CUTOUT_PIXELS, CUTOUT_PIXELS), np.float32)
    magnitude = np.empty((chunk.rows, len(BANDS)), np.float32)
    flux = galaxies.bulge_flux + galaxies.disc_flux
    for row in range(chunk.rows):
        foreign = foreign_light(render, neighbours, artefacts, row)
        scene = Scene(render(galaxies, row), foreign, flux[row], galaxies.extinction_mag[row])
        image[row], magnitude[row] = observe(noise, scene, parameters)
    return {
        "object_id": object_ids(chunk.seed, chunk.start, chunk.rows),
        "ra": galaxies.ra_deg,
        "dec": galaxies.dec_deg,
        "redshift": galaxies.redshift.astype(np.float32),
        "image": image,
        "magnitude": magnitude,
    }


def object_ids(seed: int, start: int, count: int) -> NDArray[np.int64]:
    """Return the ids of rows `start` to `start + count`: the seed in the upper, the row in the lower 32 bits."""
    return (np.int64(seed) << 32) + np.arange(start, start + count, dtype=np.int64)


def _check(out: Path, rows: int, seed: int, workers: int | None) -> None:
    if not 1 <= rows < 2**32:
        raise SurveyError(f"rows is {rows}, expected 1 to {2**32 - 1} - say how many galaxies to simulate")
    if not 0 <= seed <= MAX_SEED:
        raise SurveyError(f"seed is {seed}, expected 0 to {MAX_SEED} - choose another seed")
    if workers is not None and workers < 1:
        raise SurveyError(f"workers is {workers}, expected at least 1 - leave it out to use every core")
    if out.is_dir():
        raise SurveyError(
            f"{out} is a folder, expected the name of a file - add one, such as {out / 'survey'}.safetensors"
        )
    if not out.parent.is_dir():
        raise SurveyError(f"{out.parent} is not a folder, expected one to write {out.name} in - make it first")


def _build_grids(parameters: Parameters) -> Grids:
    try:
        from skyfan.photoz import physics
    except ImportError as e:
        raise SurveyError(f"simulating needs {e.name}, which is not installed; {with_extra('simulate')}") from e
    return physics.build(parameters)


def _spec(rows: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    return {
        "object_id": (np.dtype(np.int64), (rows,)),
        "ra": (np.dtype(np.float64), (rows,)),
        "dec": (np.dtype(np.float64), (rows,)),
        "redshift": (np.dtype(np.float32), (rows,)),
        "image": (np.dtype(np.float32), (rows, len(BANDS), CUTOUT_PIXELS, CUTOUT_PIXELS)),
        "magnitude": (np.dtype(np.float32), (rows, len(BANDS))),
    }


def _bytes(rows: int) -> int:
    return sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in _spec(rows).values())


def _chunks(rows: int, seed: int) -> Iterator[Chunk]:
    for index, start in enumerate(range(0, rows, CHUNK_ROWS)):
        yield Chunk(index, seed, min(CHUNK_ROWS, rows - start))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _draw_chunks(
    chunks: Iterator[Chunk], grids: Grids, parameters: Parameters, workers: int
) -> Iterator[tuple[Chunk, Arrays]]:
    """Yield every chunk in order with its arrays; at most two chunks a worker are under way or waiting."""
    if workers == 1:
        yield from ((chunk, draw_chunk(chunk, grids, parameters)) for chunk in chunks)
        return
    with (
        _one_thread_each(),
        ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (grids, parameters)) as pool,
    ):
        pending: deque[tuple[Chunk, Future[Arrays]]] = deque()
        try:
            for chunk in chunks:
                pending.append((chunk, pool.submit(_work, chunk)))
                if len(pending) == 2 * workers:
                    done, future = pending.popleft()
                    yield done, future.result()
            while pending:
                done, future = pending.popleft()
                yield done, future.result()
        except BrokenProcessPool as e:
            raise SurveyError(
                "a simulating process ended early, expected it to draw its galaxies - run again with fewer workers if "
                "memory ran out; in a script call it under: if __name__ == '__main__'"
            ) from e
        finally:
            for _, future in pending:
                future.cancel()


_WORKER: dict[str, Any] = {}


def _start_worker(grids: Grids, parameters: Parameters) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends its workers
    _WORKER.update(grids=grids, parameters=parameters)


def _work(chunk: Chunk) -> Arrays:
    return draw_chunk(chunk, _WORKER["grids"], _WORKER["parameters"])


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep the numerical libraries of processes started within to one thread: they read it when they are loaded."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
