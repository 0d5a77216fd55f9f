"""Bringing a model to the worker: found by its name, checked by its hash, loaded once per process."""

import hashlib
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skyfan import models
from skyfan.blob import Blob, BufferBlob, MappedBlob
from skyfan.errors import ModelError
from skyfan.partitions import HASH_CHUNK_BYTES
from skyfan.payload import Payload
from skyfan.photoz.probability import EDGES_KEY
from skyfan.predictor import Predictor
from skyfan.storage import Bucket
from skyfan.store_errors import translated
from skyfan.task import ModelRef
from skyfan.weights import refuse_external_weights

MODEL_SUFFIX = ".onnx"

_LOADED: dict[tuple[str, int], Predictor] = {}
_loading = threading.Lock()


def resolve_model(payload: Payload, bucket: Bucket) -> ModelRef:
    """Find the model that a payload asks for, and hash it.

    Raises
    ------
    ModelError
        If there is no such model, it keeps weights in another file, or the payload asks for a script.
    """
    if payload.is_script:
        raise ModelError(
            f"payload: its tasks run the script {payload.script!r}, no model; expected a model here: name one with "
            f"--model (a key in bucket {payload.bucket!r}, or {models.DEFAULT!r}, which ships with skyfan)"
        )
    name = payload.model or models.DEFAULT
    blob = _open(_source(name, bucket), name)
    ref = ModelRef(name, _hash(blob, name))
    _refuse_changed(blob, name)
    return ref


def inspect_model(ref: ModelRef, bucket: Bucket) -> Predictor:
    """Return the model as one to look at, not to predict with.

    Raises
    ------
    ModelError
        If it is not there or is no ONNX model that can take partitions.
    """
    return Predictor(_source(ref.name, bucket), ref.name, to_predict=False)


def load_model(ref: ModelRef, bucket: Bucket, threads: int = 1) -> Predictor:
    """Return the loaded model, from this process's memory if it was loaded before for as many threads.

    Raises
    ------
    ModelError
        If it is not there, is no ONNX model with its weights inside, or is another one than when the run was planned.
    """
    with _loading:  # threads of one worker must not load the same model at once
        return _loaded(ref, bucket, threads)


def _loaded(ref: ModelRef, bucket: Bucket, threads: int) -> Predictor:
    if (ref.sha256, threads) not in _LOADED:
        source = _source(ref.name, bucket)
        blob = _open(source, ref.name)
        found = _hash(blob, ref.name)
        if found != ref.sha256:
            raise ModelError(
                f"model {ref.name}: its hash is {found[:12]}, expected {ref.sha256[:12]} as when the run was planned; "
                "put the old file back, or start the run anew with --overwrite"
            )
        predictor = Predictor(source, ref.name, threads=threads)
        _refuse_changed(blob, ref.name)
        _LOADED[ref.sha256, threads] = predictor
    return _LOADED[ref.sha256, threads]


def find_pdf_edges(ref: ModelRef, bucket: Bucket) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Return the redshifts between the bins of a model's PDFs, (bins + 1,), or None and why there are none."""
    try:
        edges = load_model(ref, bucket).pdf_edges
    except ModelError as error:
        return None, [f"the PDFs are not evaluated: {error}"]
    said = f"the PDFs are not evaluated: the model {ref.name} does not say in its metadata {EDGES_KEY!r} what bins"
    return edges, [] if edges is not None else [said]


def _source(name: str, bucket: Bucket) -> Path | bytes:
    """Where the model's bytes are: a path wherever there is one, so that they are not held twice."""
    if not name.endswith(MODEL_SUFFIX):
        return models.path(name)
    path = bucket.local_path(name)
    content = path if path is not None and path.is_file() else bucket.get(name)
    if content is None:
        raise ModelError(
            f"model {name}: there is no such object in bucket {bucket.name!r} ({bucket.where}); expected the key of an "
            f"ONNX file there, or the name of a model that ships with skyfan ({', '.join(models.shipped())})"
        )
    return content


def _open(source: Path | bytes, name: str) -> Blob:
    with translated(name):
        return BufferBlob(name, source) if isinstance(source, bytes) else MappedBlob(source)


def _hash(blob: Blob, name: str) -> str:
    """Return the hash of a model that has all of its weights inside."""
    refuse_external_weights(blob.view(0, blob.size), name)
    digest = hashlib.sha256()
    for start in range(0, blob.size, HASH_CHUNK_BYTES):
        digest.update(blob.view(start, min(start + HASH_CHUNK_BYTES, blob.size)))
        blob.release()
    return digest.hexdigest()


def _refuse_changed(blob: Blob, name: str) -> None:
    """Refuse a file that was written to since it was opened: its hash may not be of what was checked or loaded."""
    with translated(name):
        changed = blob.is_changed()
    if changed:
        raise ModelError(
            f"model {name}: was changed while it was read; expected a file that stays as it is: wait until it is "
            "written, then run the same again"
        )
