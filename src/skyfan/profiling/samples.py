"""What a model is profiled on: the partitions of a payload, or random rows of the shape that the model asks for."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyfan import models
from skyfan.blob import is_file
from skyfan.errors import InputError, ModelError, PartitionError
from skyfan.estimating.bill import MB_BYTES
from skyfan.formats import safetensors
from skyfan.keys import check_key, partition_of
from skyfan.partitions import COLUMNS, Partition, PartitionRef, open_partition
from skyfan.payload import Payload, load_payload, parse_payload
from skyfan.planning import preview
from skyfan.predictor import ModelInput, Predictor
from skyfan.staging import MODEL_SUFFIX, inspect_model, resolve_model
from skyfan.storage import Bucket, Store, open_store
from skyfan.task import ModelRef
from skyfan.wording import size

SourceLike = Payload | Mapping[str, Any] | str | Path | None
"""A payload, its keys or its file, or a model: that of a file, of a store (`<bucket>/<key>`), or one that ships with
skyfan; None for the one that every payload without a model gets."""

BUCKET = "profile"
PREFIX = "rows"
MAX_BATCH_BYTES = 256 * MB_BYTES
RANDOM_NOTE = (
    "measured on random rows: a network's speed does not depend on the values, unless it branches on them; "
    "a payload in place of the model measures on real rows"
)


@dataclass(frozen=True)
class Sample:
    """A model and rows for it, ready to be predicted."""

    scratch: Store
    """A folder for what is made for the profile: the model, cut partitions, parts and reports."""
    model: ModelRef
    data: Store
    """Where the whole partitions lie."""
    data_bucket: str
    whole: tuple[PartitionRef, ...]
    """Of the payload; none if rows are random."""
    row_bytes: float
    rows: int | None
    """Of the first whole partition; None if there can be any number."""
    fetch_s_per_mb: float
    """Of the one partition that was fetched from a server; 0 if the partitions lie in a folder."""
    says: str
    """What the rows are."""
    notes: tuple[str, ...]
    _take: Callable[[int], dict[str, NDArray[Any]]]
    _metadata: Mapping[str, str] = field(default_factory=dict)
    _made: dict[int, PartitionRef] = field(default_factory=dict)

    def cut(self, rows: int) -> PartitionRef:
        """Return a partition of so many rows in the scratch store."""
        if rows not in self._made:
            pieces = safetensors.encode(self._take(rows), self._metadata)
            key = partition_of(PREFIX, rows, ".safetensors")
            self.scratch.bucket(BUCKET).put(key, pieces)
            self._made[rows] = PartitionRef(key, sum(memoryview(piece).nbytes for piece in pieces), rows)
        return self._made[rows]

    def check(self) -> None:
        """Check that a row of it is one that the model takes.

        Raises
        ------
        PartitionError, ModelError
            If it is not.
        """
        bucket = self.scratch.bucket(BUCKET)
        blob = bucket.blob(self.cut(1).key)
        if blob is not None:
            inspect_model(self.model, bucket).check(open_partition(blob))

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch of which the rows alone fill the memory.

        Raises
        ------
        InputError
        """
        if batch_size * self.row_bytes > MAX_BATCH_BYTES:
            raise InputError(
                f"batch size {batch_size}: is {size(batch_size * self.row_bytes)} of rows at once; expected at most "
                f"{max(1, int(MAX_BATCH_BYTES / self.row_bytes)):,} for this model"
            )


def refuse_script(source: Payload | Mapping[str, Any] | str | Path, what: str) -> None:
    """Refuse a payload whose tasks run a script: nobody but the script knows its rows, so that no rate is known.

    Parameters
    ----------
    source : Payload, mapping, str or Path
        The payload, its keys or its file.
    what : str
        That cannot use it, as the message begins.

    Raises
    ------
    InputError
    """
    payload, _ = _payload(source, {})
    if payload.is_script:
        raise InputError(
            f"{what}: its tasks run the script {payload.script!r}, whose rows and speed skyfan does not know; expected "
            "a payload with a model: --model takes one in place of the script. To learn what the script takes, run it "
            "with a small file_limit ('skyfan run PAYLOAD --allow-scripts --file-limit 4') and look at 'skyfan report'"
        )


def take_sample(source: SourceLike, store: str | Path | None, model: str | None, folder: Path) -> Sample:
    """Bring a model and rows together.

    Parameters
    ----------
    source : payload, mapping, str, Path or None
        See `SourceLike`.
    store : str or Path, optional
        Root of the payload's buckets, or of the model's.
    model : str, optional
        Takes the place of the payload's.
    folder : Path
        Becomes the scratch store.

    Raises
    ------
    SkyfanError
        If there is no such payload or model, or the partitions cannot be used with the model.
    """
    scratch = Store(str(folder))
    bucket = scratch.bucket(BUCKET, create="store")
    if isinstance(source, Payload | Mapping) or str(source).endswith(".json"):
        return _of_payload(source, open_store(store), model, scratch, bucket)
    if source is not None and model is not None:
        raise InputError(f"model: got {source} and --model {model}; expected one model, or a payload and --model")
    return _of_model(str(source or model or models.DEFAULT), store, scratch, bucket)


def _of_payload(source: Any, store: Store, model: str | None, scratch: Store, bucket: Bucket) -> Sample:
    if not store.shared:
        raise InputError(f"store {store.url}: its content is this process's alone; expected a folder or an S3 server")
    payload, warnings = _payload(source, {"model": model})
    refuse_script(payload, "profile")
    plan = preview(payload, store, overwrite=True)
    ref = plan.tasks[0].model or resolve_model(payload, store.bucket(payload.bucket))
    if ref.name.endswith(MODEL_SUFFIX):
        bucket.put(ref.name, store.bucket(payload.bucket).get(ref.name) or b"")
    whole = tuple(partition for task in plan.tasks for partition in task.partitions)
    data_bucket = store.bucket(payload.data_bucket)
    started = time.perf_counter()
    blob = data_bucket.blob(whole[0].key)
    fetch_s = time.perf_counter() - started if store.is_server else 0.0
    if blob is None:
        raise PartitionError(f"{data_bucket.name}/{whole[0].key}: is not there any more; put it back")
    partition = open_partition(blob)
    return Sample(
        scratch=scratch,
        model=ref,
        data=store,
        data_bucket=payload.data_bucket,
        whole=whole,
        row_bytes=blob.size / partition.rows,
        rows=partition.rows,
        fetch_s_per_mb=fetch_s / (blob.size / MB_BYTES),
        says=f"{payload.data_bucket}/{payload.data_prefix}",
        notes=(*warnings, *plan.warnings),
        _take=lambda rows: _first(partition, rows),
        _metadata=partition.metadata,
    )


def _payload(source: Any, overrides: Mapping[str, Any]) -> tuple[Payload, list[str]]:
    if isinstance(source, Payload):
        source = source.to_mapping()
    return parse_payload(source, overrides) if isinstance(source, Mapping) else load_payload(Path(source), overrides)


def _first(partition: Partition, rows: int) -> dict[str, NDArray[Any]]:
    return partition.read(partition.tensors, 0, rows)


def _of_model(name: str, store: str | Path | None, scratch: Store, bucket: Bucket) -> Sample:
    key = _place_model(name, store, bucket)
    asked = {"bucket": BUCKET, "data_bucket": BUCKET, "data_prefix": PREFIX, "result_path": "out", "model": key}
    ref = resolve_model(parse_payload(asked)[0], bucket)
    predictor = inspect_model(ref, bucket)
    return Sample(
        scratch=scratch,
        model=ref,
        data=scratch,
        data_bucket=BUCKET,
        whole=(),
        row_bytes=sum(math.prod(_shape(wanted, predictor)) * wanted.dtype.itemsize for wanted in predictor.inputs),
        rows=None,
        fetch_s_per_mb=0.0,
        says="random rows",
        notes=(RANDOM_NOTE,),
        _take=lambda rows: _random(predictor, rows),
    )


def _place_model(name: str, store: str | Path | None, bucket: Bucket) -> str:
    """Copy a model's file into the scratch bucket, and return its name there; one that ships is where it is."""
    if not name.endswith(MODEL_SUFFIX):
        models.path(name)
        return name
    if is_file(Path(name)):
        key = check_key(Path(name).name, "model")
        bucket.put(key, Path(name).read_bytes())
        return key
    there, _, key = name.partition("/")
    content = open_store(store).bucket(there).get(key) if key and not name.startswith(("/", ".")) else None
    if content is None:
        raise ModelError(
            f"model {name}: there is no such file, nor <bucket>/<key> in the store; expected an ONNX file, or a model "
            f"that ships with skyfan ({', '.join(models.shipped())})"
        )
    bucket.put(key, content)
    return key


def _shape(wanted: ModelInput, predictor: Predictor) -> tuple[int, ...]:
    """Return the shape of one row of an input."""
    sizes = tuple(size for size in wanted.shape[1:] if size is not None)
    if len(sizes) < len(wanted.shape) - 1:
        raise ModelError(
            f"model {predictor.name}: its input {wanted.name!r} takes any size, so that no rows can be made for it; "
            "expected fixed sizes: name a payload in place of the model, to measure on its partitions"
        )
    return sizes


def _random(predictor: Predictor, rows: int) -> dict[str, NDArray[Any]]:
    """Return rows that the model takes, and ids and positions as a survey's partitions have them."""
    rng = np.random.default_rng(0)
    content: dict[str, NDArray[Any]] = {}
    for wanted in predictor.inputs:
        shape, dtype = (rows, *_shape(wanted, predictor)), wanted.dtype
        content[wanted.name] = rng.random(shape).astype(dtype) if dtype.kind == "f" else np.zeros(shape, dtype)
    for name in ("object_id", "ra", "dec"):
        content.setdefault(name, np.arange(rows).astype(COLUMNS[name]))
    return content
