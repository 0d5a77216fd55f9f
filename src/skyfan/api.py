"""The Python API: the same verbs as the command line, which only calls these."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arro3.core import RecordBatchReader

from skyfan import pipeline, stages
from skyfan.blob import Blob, MappedBlob
from skyfan.claim import read_claim
from skyfan.engines.base import Engine, Work
from skyfan.errors import InputError, KeyNameError, PartitionError, StoreAbsentError, SurveyError, UnknownRunError
from skyfan.formats.opening import SURVEY_SUFFIXES
from skyfan.keys import RunKeys, check_bucket, check_key, check_prefix
from skyfan.manifest import decode_manifest
from skyfan.partitions import Index, open_partition
from skyfan.payload import Payload, load_payload, parse_payload
from skyfan.predictions import chain_parts
from skyfan.reports import collect
from skyfan.stages import Plan
from skyfan.standing import Standing, stand
from skyfan.storage import Store, resolve_store
from skyfan.summary import Summary, decode_summary
from skyfan.survey import Progress, parse_size, rows_per_partition, split
from skyfan.task import PartRef, Task
from skyfan.verification import AGAIN, Verification, verify_run
from skyfan.watching import Watcher, unwatched

if TYPE_CHECKING:
    from skyfan.photoz.export import Exported
    from skyfan.photoz.train import Progress as TrainingProgress

ENGINES = ("local",)

PayloadLike = Payload | Mapping[str, Any] | str | Path
"""A payload, its keys as a mapping, or the path of its file."""


class Run:
    """A run, as its store shows it. Open one with `skyfan.open_run`, or get it from `skyfan.run`.

    Parameters
    ----------
    store : Store
    bucket, result_path : str
        Together they name the run.
    """

    def __init__(self, store: Store, bucket: str, result_path: str) -> None:
        self.id = f"{bucket}/{result_path}"
        self._keys = RunKeys(result_path)
        self._bucket = store.bucket(bucket)

    def __repr__(self) -> str:
        return f"<skyfan run {self.id} in {self._bucket.where}>"

    @property
    def payload(self) -> Payload:
        """What was asked for.

        Raises
        ------
        UnknownRunError
            If there is no such run.
        """
        payload = read_claim(self._bucket, self._keys)
        if payload is None:
            raise UnknownRunError(
                f"{self.id}: there is no run in {self._bucket.where}; expected <bucket>/<result_path>, "
                "or its payload file"
            )
        return payload

    @property
    def tasks(self) -> list[Task]:
        """The plan; empty if the run was interrupted before it had one."""
        data = self._bucket.get(self._keys.manifest)
        return decode_manifest(data, f"{self._bucket.name}/{self._keys.manifest}") if data else []

    @property
    def summary(self) -> Summary | None:
        """The verdict of the last drive that came to its end; None if none did."""
        data = self._bucket.get(self._keys.summary)
        return decode_summary(data, f"{self._bucket.name}/{self._keys.summary}") if data else None

    def status(self) -> Standing:
        """Say where the run stands, from the store alone."""
        return stand(self.payload, self.tasks, self._bucket, self._keys)

    def verify(self) -> Verification:
        """Prove that the catalogue is complete: every part is read, hashed and counted again."""
        return verify_run(self.payload, self.tasks, self._bucket, self._keys)

    def predictions(self) -> RecordBatchReader:
        """Stream the catalogue, in the order of the ranks.

        Returns
        -------
        RecordBatchReader
            An Arrow stream: `pyarrow.table(...)`, `polars.DataFrame(...)` and others take it without a copy. Parts of
            tasks that are not done are not in it; `summary.complete` tells.
        """
        return chain_parts(self._parts())

    def part_keys(self) -> list[str]:
        """Return the keys of the parts of the tasks that are done, by rank."""
        return [part.key for part in self._done_parts()]

    @property
    def where(self) -> str:
        """Where the catalogue's parts lie."""
        return f"{self._bucket.where}/{self._keys.predictions}"

    def _parts(self) -> Iterator[tuple[str, bytes]]:
        for part in self._done_parts():
            data = self._bucket.get(part.key) or b""
            if hashlib.sha256(data).hexdigest() != part.sha256:
                raise PartitionError(f"{part.key}: is not what its task wrote; {AGAIN} (see 'skyfan verify')")
            yield part.key, data

    def _done_parts(self) -> list[PartRef]:
        done = collect(self._bucket, self._keys, self.tasks).ok
        return [report.part for _, report in sorted(done.items()) if report.part]


def run(
    payload: PayloadLike,
    *,
    store: str | Path | None = None,
    engine: str = "local",
    workers: int | None = None,
    watch: Watcher = unwatched,
    overwrite: bool = False,
    **overrides: Any,
) -> Run:
    """Run a model over every partition that a payload names, or go on where an earlier run of it ended.

    Parameters
    ----------
    payload : Payload, mapping, str or Path
        What to do; a str or Path is that of a JSON file.
    store : str or Path, optional
        Root of the buckets; default `SKYFAN_STORE`, then `./skyfan-data`.
    engine : str
        Where the tasks run: `local`.
    workers : int, optional
        Worker processes, each of one inference thread; default one a core.
    watch : callable, optional
        Is told of every event, see `skyfan.watching`.
    overwrite : bool
        Delete first what another run stored at the result path.
    **overrides
        Payload keys that replace the payload's own, such as `model` or `file_limit`.

    Returns
    -------
    Run
        Look at `run.summary.complete` before you trust it to be all.

    Raises
    ------
    SkyfanError
        See `skyfan.errors`.
    """
    checked, warnings = _payload(payload, overrides)
    opened = Store(resolve_store(str(store) if store is not None else None))
    starter = _starter(engine, checked, workers, opened)
    pipeline.drive(checked, opened, starter, watch, warnings=warnings, overwrite=overwrite)
    return Run(opened, checked.bucket, checked.result_path)


def plan(payload: PayloadLike, *, store: str | Path | None = None, overwrite: bool = False, **overrides: Any) -> Plan:
    """Say what `run` would do, and write nothing.

    Parameters
    ----------
    payload, store, overwrite, **overrides
        As for `run`.

    Raises
    ------
    SkyfanError
        As `run`, for all that can be known beforehand.
    """
    checked, warnings = _payload(payload, overrides)
    opened = Store(resolve_store(str(store) if store is not None else None))
    planned = stages.preview(checked, opened, overwrite=overwrite)
    planned.warnings[:0] = warnings
    return planned


def open_run(name: PayloadLike, *, store: str | Path | None = None) -> Run:
    """Open a run that was started before, here or elsewhere.

    Parameters
    ----------
    name : Payload, mapping, str or Path
        Its payload or payload file, or `<bucket>/<result_path>`.
    store : str or Path, optional
        As for `run`.

    Raises
    ------
    UnknownRunError
        If there is no such run.
    """
    opened = Store(resolve_store(str(store) if store is not None else None))
    bucket, result_path = _run_name(name)
    found = Run(opened, bucket, result_path)
    _ = found.payload  # raises if there is none
    return found


def _run_name(name: PayloadLike) -> tuple[str, str]:
    if isinstance(name, str | Path) and not _is_file(Path(name)) and not str(name).endswith(".json"):
        bucket, _, result_path = str(name).rstrip("/").partition("/")
        return check_bucket(bucket, "run"), check_key(result_path, "run: the result path after the bucket")
    payload, _ = _payload(name, {})
    return payload.bucket, payload.result_path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for a file can still be that of an object
        return False


def _payload(payload: PayloadLike, overrides: Mapping[str, Any]) -> tuple[Payload, list[str]]:
    if isinstance(payload, str | Path):
        return load_payload(Path(payload), overrides)
    if isinstance(payload, Payload):
        return parse_payload(payload.to_mapping(), overrides)
    return parse_payload(payload, overrides)


def _starter(engine: str, payload: Payload, workers: int | None, store: Store) -> pipeline.OpenEngine:
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r}: there is no such engine; expected one of {', '.join(ENGINES)}")
    if workers is not None and workers < 1:
        raise InputError(f"workers: got {workers}; expected 1 or more, or nothing for one a core")
    if not store.shared:
        raise InputError(
            f"store {store.url}: its content is this process's alone; workers need a folder or an S3 server"
        )

    def start(work: Work, items: int) -> Engine:
        from skyfan.engines.local import LocalEngine, default_workers

        wanted = min(workers or default_workers(), payload.max_concurrency or items, items)
        return LocalEngine(work, wanted, payload.task_timeout_s)

    return start


def partition(
    source: str | Path,
    dest: str,
    *,
    size: str | int | None = None,
    rows: int | None = None,
    store: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Index:
    """Split a survey into partitions, with an index that says what they must hold.

    Parameters
    ----------
    source : str or Path
        A file (`.safetensors`, `.pt`, `.npz`), an `s3://bucket/key` address, or `<bucket>/<key>` in the store.
    dest : str
        `<bucket>/<prefix>` in the store.
    size : str or int
        Largest partition: `"25MB"` (MB = 1,048,576 bytes) or a number of bytes.
    rows : int
        Rows of a partition, instead of `size`.
    store : str or Path, optional
        As for `run`.
    overwrite : bool
        Delete the partitions that are there.
    progress : callable
        Told of the rows done and their total.

    Raises
    ------
    PartitionError
        If the survey cannot be read.
    SurveyError
        If partitions are there already.
    """
    opened = Store(resolve_store(str(store) if store is not None else None))
    bucket, _, prefix = dest.partition("/")
    check_bucket(bucket, "destination")
    check_prefix(prefix, "destination: the prefix after the bucket")
    size_bytes = parse_size(size) if isinstance(size, str) else size
    survey = open_partition(_survey(source, opened))
    rows_each = rows_per_partition(survey, size_bytes, rows)
    target = opened.bucket(bucket, create="store")  # not before all else is clear: it makes a folder
    return split(survey, target, prefix.rstrip("/"), rows_each, overwrite=overwrite, progress=progress)


def simulate(
    out: str | Path,
    rows: int,
    seed: int = 1,
    *,
    workers: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Simulate a survey; see `skyfan.photoz.simulate`. Needs the extra `simulate`.

    Parameters
    ----------
    out : str or Path
        The safetensors file to write.
    rows : int
        Number of galaxies.
    seed : int
        The same seed gives the same bytes, whatever the number of workers.
    workers : int, optional
        Processes; default one a core.
    progress : callable
        Told of the galaxies done and their total.

    Raises
    ------
    SurveyError
        If the extra is missing, or the file cannot be written.
    """
    from skyfan.photoz.simulate import simulate as simulate_survey

    return simulate_survey(Path(out), rows, seed, workers=workers, progress=progress)


def train(
    survey: str | Path,
    out: str | Path,
    *,
    size: str = "small",
    epochs: float | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    device: str = "cpu",
    resume: bool = False,
    progress: "Callable[[TrainingProgress], None] | None" = None,
) -> Path:
    """Train a photometric-redshift network; see `skyfan.photoz.train`. Needs the extra `train`.

    Parameters
    ----------
    survey : str or Path
        A survey file with true redshifts, as `simulate` writes it.
    out : str or Path
        The checkpoint.
    size : str
        Of the network: `small` or `astromae`.
    epochs, minutes : float, optional
        How long, whichever ends first; default 10 epochs.
    seed : int, optional
        Of weights, order and augmentation; default 1.
    device : str
        `cpu` or `cuda`.
    resume : bool
        Go on from `out` if it exists.
    progress : callable, optional
        Told where the training stands.

    Raises
    ------
    InputError
        If the extra is missing, or the survey, the checkpoint or the device cannot be used.
    """
    with _extra("train"):
        from skyfan.photoz.network import NetworkConfig
        from skyfan.photoz.train import train as train_network
    sizes = {"small": NetworkConfig.small, "astromae": NetworkConfig}
    if size not in sizes:
        raise InputError(f"size {size!r}: there is no such network; expected one of {', '.join(sizes)}")
    config = None if resume and Path(out).exists() else sizes[size]()
    return train_network(
        Path(survey),
        Path(out),
        config=config,
        epochs=epochs,
        minutes=minutes,
        seed=seed,
        device=device,
        resume=resume,
        progress=progress,
    )


def export(
    checkpoint: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    int8: bool = False,
    test: str | Path | None = None,
) -> "Exported":
    """Write a checkpoint as one ONNX file; see `skyfan.photoz.export`. Needs the extra `train`.

    Parameters
    ----------
    checkpoint : str or Path
        From `train`.
    out : str or Path
        The ONNX file.
    name : str, optional
        Of the model, in its metadata.
    int8 : bool
        Quantise the dense layers.
    test : str or Path, optional
        A survey that was not trained on, to score the file with.

    Raises
    ------
    InputError
        If the extra is missing, the checkpoint cannot be used, or the file does not predict the same as torch.
    """
    with _extra("train"):
        from skyfan.photoz.export import export as export_checkpoint
    return export_checkpoint(Path(checkpoint), Path(out), name=name, int8=int8, test=Path(test) if test else None)


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say which extra to install if a module of one is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; install it with: pip install 'skyfan[{name}]'") from error


def _survey(source: str | Path, store: Store) -> Blob:
    """Open a survey: a local file, an s3:// address, or an object of the store."""
    path = Path(source)
    text = str(source)
    if "://" not in text and _is_file(path):
        return MappedBlob(path)
    place, name = (Store("s3://"), text.removeprefix("s3://")) if text.startswith("s3://") else (store, text)
    bucket, _, key = name.partition("/")
    try:
        check_bucket(bucket, "source")
        blob = place.bucket(bucket).ranged_blob(check_key(key, "source: the key after the bucket"))
    except (KeyNameError, StoreAbsentError):
        blob = None
    if blob is None:
        raise SurveyError(
            f"{text}: there is no such file, nor such an object in the store {place.url}; expected a survey in "
            f"{', '.join(SURVEY_SUFFIXES)}"
        )
    return blob
