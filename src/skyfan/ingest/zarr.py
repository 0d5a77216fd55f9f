"""Zarr: a group with one array a column, of version 2 or 3."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore

from skyfan.errors import SurveyError
from skyfan.formats.layout import short
from skyfan.formats.tensor import Tensors
from skyfan.ingest.assembling import assemble, column_images, read_said
from skyfan.ingest.catalog import join_by_id
from skyfan.ingest.columns import READ_ERRORS, Column, Sliced
from skyfan.ingest.options import IngestOptions

V2_CODECS = frozenset({"blosc", "zlib", "gzip", "zstd", "lz4", "bz2", "lzma", "shuffle", "delta", "crc32", "crc32c"})
V3_CODECS = frozenset({"bytes", "transpose", "blosc", "gzip", "zstd", "crc32c", "sharding_indexed"})
"""Codecs that only move and compress numbers; others, pickle among them, could run what a file says."""

_NUMBERS = frozenset({f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)} | {"bool"})
_MAX_JSON = 16 * 1024 * 1024


def is_group(path: Path) -> bool:
    """Whether a folder is a Zarr group."""
    return (path / "zarr.json").is_file() or (path / ".zgroup").is_file()


def read(path: Path, options: IngestOptions) -> Tensors:
    """Return what a Zarr group holds; no image is read yet.

    Chunks that are not there have the array's fill value, as the format says.

    Raises
    ------
    SurveyError
        If it is no group, holds objects or unknown codecs, has no images, or does not say what they are.
    """
    where = str(path)
    if not is_group(path):
        raise SurveyError(f"{where}: is no Zarr group: it has neither zarr.json nor .zgroup; expected one of them")
    names = [name for name, numbers in _arrays(where, path) if numbers]
    try:
        group = zarr.open_group(LocalStore(path, read_only=True), mode="r", use_consolidated=False)
        arrays = {name: group[name] for name in names}
        columns = {name: _column(where, name, array) for name, array in arrays.items()}
        image = arrays.get("image")
        said = read_said(where, *[dict(item.attrs) for item in (image, group) if item is not None])
    except READ_ERRORS as error:
        raise SurveyError(
            f"{where}: cannot be read as Zarr ({short(str(error), 120)}); it is damaged or incomplete: write or copy "
            "it again"
        ) from error
    images = column_images(where, columns, said, options)
    return assemble(where, images, join_by_id(where, columns, options), said, options)


def _arrays(where: str, path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the names of the group's arrays, and whether they hold numbers, checked before zarr sees them."""
    for folder in sorted(path.iterdir()):
        for name in ("zarr.json", ".zarray"):
            file = folder / name
            if folder.is_dir() and file.is_file():
                metadata = _json(f"{where}: {folder.name}/{name}", file)
                if name == ".zarray" or metadata.get("node_type") == "array":
                    yield folder.name, _check(f"{where}: array {short(folder.name)}", metadata)
                break


def _json(where: str, file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_bytes()) if file.stat().st_size <= _MAX_JSON else None
    except (ValueError, RecursionError) as error:
        raise SurveyError(f"{where}: is not JSON ({error}); it is damaged: write or copy the group again") from error
    if not isinstance(data, dict):
        raise SurveyError(f"{where}: is no JSON object of a usual size; write or copy the group again")
    return data


def _check(where: str, metadata: dict[str, Any]) -> bool:
    """Refuse objects and codecs that are none of numbers; return whether the array holds numbers or short texts."""
    if metadata.get("zarr_format") == 2:
        dtype, known = metadata.get("dtype"), V2_CODECS
        codecs = [item for item in [metadata.get("compressor"), *(metadata.get("filters") or [])] if item]
        numbers = isinstance(dtype, str) and dtype[1:2] in {"f", "i", "u", "b", "S"}
        objects = isinstance(dtype, str) and dtype[1:2] == "O"
    else:
        dtype, known = metadata.get("data_type"), V3_CODECS
        codecs = list(_nested(metadata.get("codecs")))
        numbers, objects = isinstance(dtype, str) and dtype in _NUMBERS, False
    names = [codec.get("id", codec.get("name")) if isinstance(codec, dict) else codec for codec in codecs]
    strange = [name for name in names if name not in known]
    if objects or (numbers and strange):
        fault = f"with the codec {short(str(strange[0]))}" if strange else "of objects"
        raise SurveyError(
            f"{where} is of type {short(str(dtype))} {fault}; expected numbers and none but {', '.join(sorted(known))}"
            ": nothing in a survey is executed; write it as numbers"
        )
    return numbers


def _nested(codecs: Any, depth: int = 0) -> Iterator[Any]:
    """Yield the codecs of an array, those within shards too."""
    for codec in codecs if isinstance(codecs, list) and depth < 4 else []:
        yield codec
        inner = codec.get("configuration") if isinstance(codec, dict) else None
        for key in ("codecs", "index_codecs"):
            if isinstance(inner, dict) and key in inner:
                yield from _nested(inner[key], depth + 1)


def _column(where: str, name: str, array: Any) -> Column:
    unit = next((array.attrs[key] for key in ("unit", "units", "BUNIT") if key in array.attrs), None)
    values = Sliced(f"{where}: {name}", array, array.dtype, tuple(array.shape))
    return Column(where, name, values, str(unit) if unit is not None else None)
