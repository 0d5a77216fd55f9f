"""One task with the built-in worker: partitions in, one part of the catalogue out."""

import hashlib
import os
import socket
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from skyfan import __version__
from skyfan.errors import PartitionError
from skyfan.keys import RunKeys
from skyfan.measure import Meter, peak_memory_mb, utc_now
from skyfan.partitions import Partition, PartitionRef, open_partition
from skyfan.predictions import build_part, column_types, count_flags, encode_part
from skyfan.predictor import Predicted
from skyfan.staging import load_model
from skyfan.storage import Bucket
from skyfan.task import PartRef, Report, Task

VERSIONS = {"skyfan": __version__, "numpy": np.__version__, "onnxruntime": onnxruntime.__version__}


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
    with meter.phase("model"):
        predictor = load_model(task.model, bucket)
    read: list[PartitionRef] = []
    columns: list[dict[str, NDArray[Any]]] = []
    predicted: list[Predicted] = []
    for ref in task.partitions:
        with meter.phase("open"):
            partition = _open_as_planned(ref, data_bucket)
            columns.append(partition.columns())
        with meter.phase("hash"):
            read.append(_as_read(ref, partition))
        predicted.append(predictor.predict(partition, task.batch_size, meter))

    flags = np.concatenate([item.flags for item in predicted])
    with meter.phase("write"):
        table = build_part(
            [(ref.key, ref.rows or 0) for ref in read],
            _joined(columns, task),
            _joined([item.outputs for item in predicted], task),
            flags,
        )
        data = encode_part(table, {"model": task.model.name, "model_sha256": task.model.sha256, "version": __version__})
        key = RunKeys(task.result_path).part(task.rank)
        bucket.put(key, data)
        part = PartRef(key, len(data), len(flags), hashlib.sha256(data).hexdigest())
    return Report(
        rank=task.rank,
        status="ok",
        attempt=attempt,
        partitions=tuple(read),
        rows_in=sum(ref.rows or 0 for ref in read),
        rows_out=table.num_rows,
        rows_flagged=int(np.count_nonzero(flags)),
        flags=count_flags(flags),
        part=part,
        columns=column_types(table),
        model=task.model,
        batch_size=task.batch_size,
        batches=sum(item.batches for item in predicted),
        seconds=meter.seconds(),
        first_prediction_s=meter.first_prediction_s,
        peak_memory_mb=peak_memory_mb(),
        started_at=meter.started_at,
        ended_at=utc_now(),
        worker=worker_name(),
        versions=VERSIONS,
    )


def worker_name() -> str:
    """Name of this process among all that work on a run: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


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


def _joined(pieces: list[dict[str, NDArray[Any]]], task: Task) -> dict[str, NDArray[Any]]:
    """Put the columns of a task's partitions end to end."""
    names = list(pieces[0])
    for ref, piece in zip(task.partitions, pieces, strict=True):
        if set(piece) != set(names):
            raise PartitionError(
                f"{ref.key}: has the columns {', '.join(piece)}; expected {', '.join(names)}, as "
                f"{task.partitions[0].key}, which is in the same task; give a survey's partitions the same tensors"
            )
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in names}
