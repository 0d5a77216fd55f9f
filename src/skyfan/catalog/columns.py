"""What each column of a catalogue is: type, unit, UCD, description."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io.votable.ucd import check_ucd

from skyfan.predictions import Flag

INTEGERS = {
    pa.bool_(): pa.int16(),
    pa.int8(): pa.int16(),
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.int64(),
}
"""FITS and VOTable have no unsigned integers, and no way to leave out one of 8 bits: the next wider type takes them."""

FLAGS = ", ".join(f"{flag.value} {str(flag.name).lower()}" for flag in Flag)

OWN = {
    "source": ("", "meta.id;meta.file", "Key of the partition that the row comes from"),
    "row": ("", "meta.record", "Row in that partition, from 0"),
    "object_id": ("", "meta.id;meta.main", "Identifier of the object"),
    "ra": ("deg", "pos.eq.ra;meta.main", "Right ascension"),
    "dec": ("deg", "pos.eq.dec;meta.main", "Declination"),
    "z_spec": ("", "src.redshift", "True redshift, as the partition has it"),
    "flags": ("", "meta.code", "Sum of the flags that the row has, 0 if it has none: " + FLAGS),
}
"""By column that is not the model's: unit, UCD, description."""

UCDS = {
    "z_phot": "src.redshift.phot",
    "z_phot_std": "stat.stdev;src.redshift.phot",
    "z_l68": "src.redshift.phot;stat.min",
    "z_u68": "src.redshift.phot;stat.max",
    "z_l95": "src.redshift.phot;stat.min",
    "z_u95": "src.redshift.phot;stat.max",
    "odds": "stat.probability;src.redshift.phot",
    "pdf": "stat.probability;src.redshift.phot",
}
"""Of outputs whose model names none."""


@dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    type: Any
    """Arrow type of a value: string, int16 to int64, float32 or float64."""
    values: int | None = None
    """Length of a list; None for one value a row."""
    unit: str = ""
    ucd: str = ""
    description: str = ""
    nullable: bool = False
    """Whether a row may have no value: the model's outputs."""
    bytes: int = 0
    """Of a string: how many it takes at most."""

    @property
    def stored(self) -> Any:
        """Arrow type of the whole column."""
        return self.type if self.values is None else pa.list_(self.type, self.values)

    @property
    def dtype(self) -> np.dtype[Any]:
        """A value in a binary row: big-endian, as FITS and VOTable have it."""
        if self.type == pa.string():
            return np.dtype(f"S{max(self.bytes, 1)}")
        native: np.dtype[Any] = np.dtype(self.type.to_pandas_dtype())
        return native.newbyteorder(">")

    @property
    def null(self) -> Any:
        """What stands where there is no value: NaN, or the least integer."""
        if pa.types.is_floating(self.type):
            return np.nan
        return int(np.iinfo(self.type.to_pandas_dtype()).min)


def describe(schema: Any, outputs: str, source_bytes: int) -> list[Column]:
    """Describe the columns of a run's predictions.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the predictions.
    outputs : str
        The model's own words: JSON, by output its `unit`, `description` and, optionally, `ucd`.
    source_bytes : int
        Length of the longest key.
    """
    said = _parse(outputs)
    return [_column(field, said.get(field.name, {}), source_bytes) for field in schema]


def names(columns: Sequence[Column]) -> set[str]:
    """Return the columns' names."""
    return {column.name for column in columns}


def _column(field: Any, said: Mapping[str, str], source_bytes: int) -> Column:
    listed = pa.types.is_fixed_size_list(field.type)
    kind = field.type.value_type if listed else field.type
    kind = pa.float32() if kind == pa.float16() else INTEGERS.get(kind, kind)
    values = field.type.list_size if listed else None
    if field.name in OWN:
        unit, ucd, description = OWN[field.name]
        return Column(field.name, kind, values, unit, ucd, description, bytes=source_bytes)
    ucd = said.get("ucd") or UCDS.get(field.name, "")
    return Column(
        field.name,
        kind,
        values,
        said.get("unit", ""),
        ucd if check_ucd(ucd) else "",
        said.get("description", ""),
        nullable=True,
    )


def _parse(outputs: str) -> dict[str, dict[str, str]]:
    """Read what a model says of its outputs; what is not of that form says nothing, and the values stand without it."""
    try:
        said = json.loads(outputs)
    except ValueError:
        return {}
    entries = said.items() if isinstance(said, dict) else ()
    return {
        name: {key: _one_line(text) for key, text in entry.items() if isinstance(text, str)}
        for name, entry in entries
        if isinstance(entry, dict)
    }


def _one_line(text: str) -> str:
    """Return a text as FITS and XML can hold it: ASCII, on one line."""
    return " ".join(text.encode("ascii", "replace").decode().split())
