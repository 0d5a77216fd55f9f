"""One task with the built-in worker: partitions in, one part of the catalogue out."""

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from arro3.core import Table
from numpy.typing import NDArray

from skyfan import __version__
from skyfan.errors import ModelError, PartitionError
from skyfan.host import describe_host, worker_name
from skyfan.keys import RunKeys
from skyfan.measure import Meter, peak_memory_mb, utc_now
from skyfan.partitions import Partition, PartitionRef, open_partition
from skyfan.photoz.sums import INTERVALS, Sums, measure
from skyfan.predictions import build_part, column_types, count_flags, encode_part, missing
from skyfan.predictor import Predicted, Predictor
from skyfan.staging import load_model
from skyfan.storage import Bucket
from skyfan.store_errors import translated
from skyfan.task import ModelRef, PartRef, Report, Task

VERSIONS = {"skyfan": __version__, "numpy": np.__version__, "onnxruntime": onnxruntime.__version__}


@dataclass(frozen=True)
class _Rows:
    """What became of a task's rows, those of its partitions end to end."""

    read: tuple[PartitionRef, ...]
    """The partitions, with their rows and hashes as found."""
    columns: dict[str, NDArray[Any]]
    """Tensors taken over from the partitions, (rows,) each."""
    r: NDArray[np.float64]
    """As `_r_magnitude`, (rows,)."""
    outputs: dict[str, NDArray[Any]]
    """Of the model, (rows,) or (rows, values) each."""
    flags: NDArray[np.uint16]
    batches: int


def predict_task(task: Task, data_bucket: Bucket, bucket: Bucket, attempt: int, meter: Meter) -> Report:
    """Read a task's partitions, predict every row and store the part.

    Returns
    -------
    Report
        With status ok, not stored yet.

    Raises
    ------
    PartitionError, ModelError, StoreError
    """
    model = _model_of(task)
    with meter.phase("model"):
        predictor = load_model(model, bucket, task.threads)
    rows = _predict_rows(task, predictor, data_bucket, meter)
    science = _science(predictor, rows)
    with meter.phase("write"):
        table = build_part([(ref.key, ref.rows or 0) for ref in rows.read], rows.columns, rows.outputs, rows.flags)
        part = _store_part(table, task, _origin(model, predictor), bucket)
    return Report(
        rank=task.rank,
        status="ok",
        attempt=attempt,
        partitions=rows.read,
        rows_in=sum(ref.rows or 0 for ref in rows.read),
        rows_out=table.num_rows,
        rows_flagged=int(np.count_nonzero(rows.flags)),
        flags=count_flags(rows.flags),
        part=part,
        columns=column_types(table),
        science=science,
        model=model,
        batch_size=task.batch_size,
        batches=rows.batches,
        threads=task.threads,
        seconds=meter.seconds(),
        first_prediction_s=meter.first_prediction_s,
        peak_memory_mb=peak_memory_mb(),
        started_at=meter.started_at,
        ended_at=utc_now(),
        worker=worker_name(),
        machine=describe_host(),
        versions=VERSIONS,
    )


def _predict_rows(task: Task, predictor: Predictor, data_bucket: Bucket, meter: Meter) -> _Rows:
    """Read a task's partitions, one after the other, and predict their rows."""
    read: list[PartitionRef] = []
    columns: list[dict[str, NDArray[Any]]] = []
    predicted: list[Predicted] = []
    r: list[NDArray[np.float64]] = []
    for ref in task.partitions:
        with meter.phase("open"):
            partition = _open_as_planned(ref, data_bucket)
            columns.append(partition.columns())
            r.append(_r_magnitude(partition))
        with meter.phase("hash"):
            read.append(_as_read(ref, partition))
        predicted.append(predictor.predict(partition, task.batch_size, meter))
        _refuse_changed(partition)
    return _Rows(
        read=tuple(read),
        columns=_joined(columns, task),
        r=np.concatenate(r),
        outputs=_joined([item.outputs for item in predicted], task),
        flags=np.concatenate([item.flags for item in predicted]),
        batches=sum(item.batches for item in predicted),
    )


def _model_of(task: Task) -> ModelRef:
    if task.model is None:
        raise ModelError(f"task {task.rank}: has no model; expected one: a script is run by skyfan.scripts")
    return task.model


def _store_part(table: Table, task: Task, origin: Mapping[str, str], bucket: Bucket) -> PartRef:
    data = encode_part(table, origin)
    key = RunKeys(task.result_path).part(task.rank)
    bucket.put(key, data)
    return PartRef(key, len(data), table.num_rows, hashlib.sha256(data).hexdigest())


def _origin(model: ModelRef, predictor: Predictor) -> dict[str, str]:
    """Return what a part's footer says: which model made it, and what that says of its outputs."""
    return {
        "model": model.name,
        "model_sha256": model.sha256,
        "outputs": predictor.metadata.get("outputs", "{}"),
        "version": __version__,
    }


def _open_as_planned(ref: PartitionRef, data_bucket: Bucket) -> Partition:
    blob = data_bucket.blob(ref.key)
    if blob is None:
        raise PartitionError(
            f"{data_bucket.name}/{ref.key}: is not there any more; put it back, or plan anew with --overwrite"
        )
    if blob.size != ref.bytes:
        raise PartitionError(
            f"{data_bucket.name}/{ref.key}: has {blob.size} bytes, {ref.bytes} when the run was planned; "
            "put the old file back, or plan anew with --overwrite"
        )
    partition = open_partition(blob)
    if ref.rows not in (None, partition.rows):
        raise PartitionError(
            f"{data_bucket.name}/{ref.key}: holds {partition.rows} rows, the index says {ref.rows}; "
            "make the partitions again with 'skyfan partition'"
        )
    return partition


def _as_read(ref: PartitionRef, partition: Partition) -> PartitionRef:
    found = partition.sha256()
    if ref.sha256 not in (None, found):
        raise PartitionError(
            f"{partition.name}: its hash is {found[:12]}, the index says {(ref.sha256 or '')[:12]}: it was changed or "
            "damaged; make the partitions again with 'skyfan partition'"
        )
    return PartitionRef(ref.key, ref.bytes, partition.rows, found)


def _refuse_changed(partition: Partition) -> None:
    """Refuse a file that was written to since it was opened: its hash may not be of the rows that were predicted."""
    with translated(partition.name):
        changed = partition.blob.is_changed()
    if changed:
        raise PartitionError(
            f"{partition.name}: was changed while it was read; expected a file that stays as it is: wait until it is "
            "written, then run the same payload again"
        )


def _r_magnitude(partition: Partition) -> NDArray[np.float64]:
    """Return the r magnitudes, (rows,), NaN where the partition does not say which of its magnitudes they are."""
    named = partition.metadata.get("bands", "")
    bands = [band.strip() for band in named.split(",")] if "," in named else list(named)
    magnitude = partition.tensors.get("magnitude")
    if "redshift" not in partition.tensors or magnitude is None or "r" not in bands[: magnitude.shape[1]]:
        return np.full(partition.rows, np.nan)
    return magnitude.rows(0, partition.rows)[:, bands.index("r")].astype(np.float64)


def _science(predictor: Predictor, rows: _Rows) -> Sums | None:
    """Hold redshifts against the true ones, where there are both."""
    redshift = rows.columns.get("redshift")
    scalar = {name: values.reshape(-1) for name, values in rows.outputs.items() if values.size == len(rows.flags)}
    if redshift is None or "z_phot" not in scalar:
        return None
    has_intervals = scalar.keys() >= set(itertools.chain.from_iterable(INTERVALS.values()))
    return measure(
        np.where(missing(scalar["z_phot"], rows.flags), np.nan, scalar["z_phot"]),
        redshift,
        r=rows.r if np.isfinite(rows.r).any() else None,
        pdf=rows.outputs.get("pdf"),
        pdf_edges=predictor.pdf_edges,
        intervals={level: (scalar[low], scalar[high]) for level, (low, high) in INTERVALS.items() if has_intervals},
    )


def _joined(pieces: list[dict[str, NDArray[Any]]], task: Task) -> dict[str, NDArray[Any]]:
    """Put the columns of a task's partitions end to end."""
    first = pieces[0]
    said = f"as {task.partitions[0].key}, which is in the same task; give a survey's partitions the same tensors"
    for ref, piece in zip(task.partitions, pieces, strict=True):
        if set(piece) != set(first):
            raise PartitionError(f"{ref.key}: has the columns {', '.join(piece)}; expected {', '.join(first)}, {said}")
        for name, values in piece.items():
            if values.shape[1:] != first[name].shape[1:]:
                raise PartitionError(
                    f"{ref.key}: its {name} is {values.shape[1:]} per row; expected {first[name].shape[1:]}, {said} in "
                    "the same shapes"
                )
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in first}
