"""The tidy table of measurements: one row per run, as Parquet or CSV, read back exactly as it was written."""

import csv
import difflib
import io
import math
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from arro3.core import Array, DataType, Table
from arro3.io import write_parquet

from skyfan.bench.measurement import Measurement
from skyfan.blob import write_whole
from skyfan.errors import InputError, PartitionError
from skyfan.predictions import COMPRESSION, read_part

SUFFIXES = (".parquet", ".csv")
COLUMNS = Measurement.__struct_fields__
"""In the order of the file."""

_REQUIRED = tuple(item.name for item in msgspec.structs.fields(Measurement) if item.required)
_ARROW = {bool: DataType.bool(), int: DataType.int64(), float: DataType.float64(), str: DataType.utf8()}
_BOOL = {"true": True, "false": False}
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
"""Begins a text that a spreadsheet would take for a formula, or one that such a text was written as."""


def _kind(hint: Any) -> type:
    """Return the plain type of a field: str, bool, int or float."""
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if typing.get_origin(hint) is typing.Literal:
        return type(options[0])
    return _kind(options[0]) if options else typing.cast("type", hint)


_HINTS = typing.get_type_hints(Measurement)
_KINDS = {name: _kind(_HINTS[name]) for name in COLUMNS}
_OPTIONAL = frozenset(name for name in COLUMNS if type(None) in typing.get_args(_HINTS[name]))


def write_tidy(measurements: Iterable[Measurement], path: str | Path) -> Path:
    """Write measurements as one table; the file appears when it is whole, over what was there.

    Parameters
    ----------
    measurements : iterable of Measurement
        A row each, in this order. What is None is null, and empty in CSV. There, text that a spreadsheet would take for
        a formula has an apostrophe before it, which `read_tidy` takes off.
    path : str or Path
        Ends in .parquet or .csv.

    Raises
    ------
    InputError
        If the name has another ending, a number does not fit, or the file cannot be written.
    """
    path = Path(path)
    rows = [msgspec.structs.asdict(measurement) for measurement in measurements]
    for number, row in enumerate(rows, 1):
        _check_finite(row, f"measurement {number}")
    try:
        data = (_as_csv if _suffix(path) == ".csv" else _as_parquet)(rows)
    except (OverflowError, UnicodeEncodeError) as error:
        raise InputError(
            f"{path}: a value does not fit the table ({error}); expected 64-bit numbers and text"
        ) from error
    try:
        write_whole(path, data)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be written ({error}); expected a file in a folder that is there") from error
    return path


def read_tidy(path: str | Path) -> list[Measurement]:
    """Read measurements as `write_tidy` wrote them. Columns that an older version did not have are not known.

    Raises
    ------
    InputError
        If the file cannot be read, is cut short, or holds something else.
    """
    path = Path(path)
    read = _from_csv if _suffix(path) == ".csv" else _from_parquet
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a table of 'skyfan bench'") from error
    return [_measurement(row, f"{path}, row {number}") for number, row in enumerate(read(data, path), 1)]


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: got the ending {suffix or '(none)'!r}; expected {' or '.join(SUFFIXES)}")
    return suffix


def _as_parquet(rows: list[dict[str, Any]]) -> bytes:
    columns: dict[str, Any] = {
        name: Array([None if row[name] is None else kind(row[name]) for row in rows], type=_ARROW[kind])
        for name, kind in _KINDS.items()
    }
    buffer = io.BytesIO()
    write_parquet(Table.from_pydict(columns), buffer, compression=COMPRESSION)
    return buffer.getvalue()


def _from_parquet(data: bytes, path: Path) -> list[dict[str, Any]]:
    try:
        table = read_part(data, str(path)).read_all()
        columns = {name: table.column(name).to_pylist() for name in _checked(table.schema.names, path)}
    except PartitionError as error:
        raise InputError(f"{path}: not a Parquet file, or cut short; expected a table of 'skyfan bench'") from error
    except (InputError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the reader raises bare Exceptions, and panics that are not even these
        text = str(error).split("\n", 1)[0]
        raise InputError(f"{path}: damaged ({text}); expected a table of 'skyfan bench'") from error
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _as_csv(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)  # ends lines as RFC 4180 has it, so that a lone CR is quoted too
    writer.writerow(COLUMNS)
    writer.writerows([_text(row[name], kind) for name, kind in _KINDS.items()] for row in rows)
    return buffer.getvalue().encode()


def _text(value: Any, kind: type) -> str:
    if value is None:
        return ""
    if kind is str:
        text = str(value)
        return f"'{text}" if _FORMULA.match(text) else text
    return str(value).lower() if kind is bool else str(kind(value))


def _from_csv(data: bytes, path: Path) -> list[dict[str, Any]]:
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not CSV ({error}); expected a table of 'skyfan bench'") from error
    head, *body = [line for line in lines if line] or [[]]
    names = _checked(head, path)
    rows = []
    for number, line in enumerate(body, 1):
        if len(line) != len(names):
            raise InputError(f"{path}, row {number}: has {len(line)} cells; expected {len(names)}, one per column")
        rows.append({name: _value(name, cell, f"{path}, row {number}") for name, cell in zip(names, line, strict=True)})
    return rows


def _value(name: str, cell: str, where: str) -> Any:
    kind = _KINDS[name]
    if not cell and name in _OPTIONAL:
        return None
    if kind is str:
        return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    parse: Callable[[str], Any] = _BOOL.__getitem__ if kind is bool else kind
    try:
        return parse(cell)
    except (KeyError, ValueError) as error:
        expected = "true or false" if kind is bool else kind.__name__
        raise InputError(f"{where}: {name} is {cell[:40]!r}; expected {expected}") from error


def _checked(names: list[str], path: Path) -> list[str]:
    """Return the columns of a file if they are a measurement's."""
    for name in names:
        if name not in _KINDS:
            near = difflib.get_close_matches(name, COLUMNS, 1, 0.6)
            hint = f"did it mean {near[0]!r}?" if near else "expected a table of 'skyfan bench'"
            raise InputError(f"{path}: the column {name[:60]!r} is not known; {hint}")
    absent = [name for name in _REQUIRED if name not in names]
    if absent or len(set(names)) != len(names):
        fault = f"has no column {absent[0]!r}" if absent else "has a column twice"
        raise InputError(f"{path}: {fault}; expected a table of 'skyfan bench'")
    return names


def _measurement(row: Mapping[str, Any], where: str) -> Measurement:
    _check_finite(row, where)
    try:
        return msgspec.convert(row, Measurement)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}; expected a run as 'skyfan bench' writes it") from error


def _check_finite(row: Mapping[str, Any], where: str) -> None:
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{where}: {name} is {value}; expected a finite number, or none where it is not known")
