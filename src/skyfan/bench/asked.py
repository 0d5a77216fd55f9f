"""From what a person asks for to a sweep: what is not said is taken from a payload, else from the source."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from skyfan.bench.sweep import AWS, Sweep, label_of
from skyfan.errors import InputError
from skyfan.payload import DEFAULT_BATCH_SIZE, Payload, load_payload
from skyfan.profiling.samples import refuse_script

BUCKET = "bench"
"""Where neither payload nor source names one."""
_OWN = {
    "bucket",
    "data_bucket",
    "data_prefix",
    "result_path",
    "file_limit",
    "batch_size",
    "threads",
    "max_concurrency",
}
"""Keys of a payload that a sweep says in its own way."""
_RESULTS = {AWS: "results/bench"}
_DATA = {AWS: "surveys/bench"}
"""On AWS in the folders that a stack may use unless it was told otherwise."""


def asked_sweep(
    source: str | None = None,
    payload: Path | None = None,
    *,
    partition_sizes: Sequence[str] = (),
    data_sizes: Sequence[str] = (),
    files: Sequence[int] = (),
    batch_sizes: Sequence[int] = (),
    threads: Sequence[int] = (),
    workers: Sequence[int] = (),
    name: str | None = None,
    bucket: str | None = None,
    data_bucket: str | None = None,
    result_path: str | None = None,
    data_prefix: str | None = None,
    model: str | None = None,
    engine: str = "local",
    **more: Any,
) -> Sweep:
    """Return the sweep that is asked for.

    Parameters
    ----------
    source : str, optional
        A survey, with sizes of partitions; or `<bucket>/<prefix>` of partitions as they are. By default those of the
        payload.
    payload : Path, optional
        Gives bucket, data bucket, model and whatever else is the same in all runs; and the number of files, batch size,
        threads and tasks at a time that are not asked for.
    partition_sizes, data_sizes, files, batch_sizes, threads, workers
        The axes, see `Sweep`.
    name : str, optional
        Default: as the source, or the payload's file, is called.
    bucket, data_bucket, result_path, data_prefix, model : str, optional
        Default: as the payload has them; else the bucket of a source that is a folder, or `bench`; and folders below
        `bench/<name>`, on AWS below `results/bench` and `surveys/bench`.
    engine : str
        `local`, `dask` or `aws`.
    **more
        Other fields of `Sweep`: `repeats`, `seed`, `place`, `ingest`.

    Raises
    ------
    InputError
        If there is neither source nor payload, the payload has sizes to cut and no survey, or it runs a script.
    """
    given = load_payload(payload, {"model": model})[0] if payload is not None else None
    if given is not None:
        refuse_script(given, "bench")
    if source is None:
        if given is None:
            raise InputError(
                "bench: nothing to run over; expected a survey, <bucket>/<prefix> of partitions, or --payload"
            )
        if partition_sizes:
            raise InputError(
                "bench: sizes of partitions, and no survey to cut; expected the survey as the argument, or no sizes"
            )
        source = f"{given.data_bucket}/{given.data_prefix}"
    own = PurePosixPath(source).name if payload is None else payload.stem
    name = label_of(name or PurePosixPath(own).stem)
    folder_bucket = None if partition_sizes else source.partition("/")[0]
    bucket = bucket or (given.bucket if given else None) or folder_bucket or BUCKET
    return Sweep(
        name=name,
        source=source,
        bucket=bucket,
        data_bucket=data_bucket or (given.data_bucket if given else None) or folder_bucket or bucket,
        result_path=(result_path or f"{_RESULTS.get(engine, 'bench')}/{name}").rstrip("/"),
        data_prefix=(data_prefix or f"{_DATA.get(engine, 'bench')}/{name}/data").rstrip("/"),
        keys=_keys(given, model),
        engine=engine,
        partition_sizes=tuple(partition_sizes),
        data_sizes=tuple(data_sizes),
        files=tuple(files) or (() if data_sizes else _one(given.file_limit if given else None)),
        batch_sizes=tuple(batch_sizes) or (given.batch_size if given else DEFAULT_BATCH_SIZE,),
        threads=tuple(threads) or (given.threads if given else 1,),
        workers=tuple(workers) or _one(given.max_concurrency if given else None),
        **more,
    )


def _keys(given: Payload | None, model: str | None) -> dict[str, Any]:
    if given is None:
        return {"model": model} if model is not None else {}
    return {name: value for name, value in given.to_mapping().items() if name not in _OWN}


def _one(value: int | None) -> tuple[int, ...]:
    return () if value is None else (value,)
