"""Bringing a model to the worker: found by its name, checked by its hash, loaded once a process."""

import hashlib
from pathlib import Path

from skyfan import models
from skyfan.blob import MappedBlob
from skyfan.errors import ModelError
from skyfan.partition import HASH_CHUNK_BYTES
from skyfan.payload import Payload
from skyfan.predictor import Predictor
from skyfan.storage import Bucket
from skyfan.task import ModelRef

MODEL_SUFFIX = ".onnx"

_LOADED: dict[str, Predictor] = {}


def resolve_model(payload: Payload, bucket: Bucket) -> ModelRef:
    """Find the model that a payload asks for, and hash it.

    Raises
    ------
    ModelError
        If there is no such model, or the payload asks for a script.
    """
    if payload.model is None and payload.script is not None:
        raise ModelError(
            f"payload: 'script' is {payload.script!r} and there is no 'model'; this version runs ONNX models only: "
            f"name one with --model (a key in bucket {payload.bucket!r}, or {models.DEFAULT!r}, which ships with "
            "skyfan)"
        )
    name = payload.model or models.DEFAULT
    return ModelRef(name, _hash(_source(name, bucket)))


def load_model(ref: ModelRef, bucket: Bucket, threads: int = 1) -> Predictor:
    """Return the loaded model, from this process's memory if it was loaded before.

    Raises
    ------
    ModelError
        If it is not there, is no ONNX model, or is another one than when the run was planned.
    """
    if ref.sha256 not in _LOADED:
        source = _source(ref.name, bucket)
        found = _hash(source)
        if found != ref.sha256:
            raise ModelError(
                f"model {ref.name}: its hash is {found[:12]}, expected {ref.sha256[:12]} as when the run was planned; "
                "put the old file back, or start the run anew with --overwrite"
            )
        _LOADED[ref.sha256] = Predictor(source, ref.name, threads)
    return _LOADED[ref.sha256]


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


def _hash(source: Path | bytes) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    blob = MappedBlob(source)
    for start in range(0, blob.size, HASH_CHUNK_BYTES):
        digest.update(blob.view(start, min(start + HASH_CHUNK_BYTES, blob.size)))
        blob.release()
    return digest.hexdigest()
