"""A catalogue beside images: positions, ids, magnitudes and redshifts, joined by file name or object id."""

import warnings
import xml.parsers.expat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyfan.errors import SurveyError
from skyfan.formats.layout import short
from skyfan.ingest.columns import ArrayTensor, Column, Columns, by_name, find, shown
from skyfan.ingest.headers import FITS_ERRORS, check_start
from skyfan.ingest.options import IngestOptions

_FORMATS = {
    ".csv": "ascii.csv",
    ".fits": "fits",
    ".fit": "fits",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
}
_FILE_COLUMNS = ("file", "filename", "file_name")


@dataclass(frozen=True)
class Catalog:
    """A table, whole in memory: it is little beside the images."""

    where: str
    columns: Columns

    def matched(self, where: str, keys: Sequence[str], key: Column) -> dict[str, Column]:
        """Return the columns for images in the order of `keys`, the texts that their rows have in the column `key`.

        Rows that no image asks for are left out.

        Raises
        ------
        SurveyError
            If an image has no row, or a key is there twice.
        """
        rows: dict[str, int] = {}
        for row, text in enumerate(texts(key)):
            if text in rows:
                raise SurveyError(
                    f"{self.where}: row {row}: {key.name} is {short(text)}, as in row {rows[text]}; expected each once"
                )
            rows[text] = row
        for number, text in enumerate(keys):
            if text not in rows:
                raise SurveyError(
                    f"{where}: row {number}: {short(text)} is not in the column {key.name} of {self.where}; expected a "
                    "row for every image"
                )
        index = np.array([rows[text] for text in keys], np.intp)
        return {
            name: Column(column.where, name, ArrayTensor(column.values.rows(0, len(rows))[index]), column.unit)
            for name, column in self.columns.items()
        }


def read_catalog(path: Path) -> Catalog:
    """Read a catalogue.

    Raises
    ------
    SurveyError
        If it cannot be read.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise SurveyError(f"catalogue {path}: expected a name that ends in one of {', '.join(_FORMATS)}")
    if not path.is_file():
        raise SurveyError(f"catalogue {path}: there is no such file; correct --catalog")
    if kind == "votable":
        _refuse_streams(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a table with an odd unit or header is still a table
            table = _read(path, kind)
            columns = {name: _column(path, table, name) for name in table.colnames if len(table[name].shape) == 1}
    except FITS_ERRORS as error:
        raise SurveyError(
            f"catalogue {path}: cannot be read as {kind} ({short(str(error), 160)}); write or copy it again"
        ) from error
    if not len(table):
        raise SurveyError(f"catalogue {path}: holds no rows; expected one for every image")
    return Catalog(f"catalogue {path}", columns)


def _read(path: Path, kind: str) -> Table:
    if kind != "fits":
        return Table.read(path, format=kind)
    with path.open("rb") as file:  # astropy would leave one open that is no FITS file
        check_start(file)
        return Table.read(file, format=kind, memmap=False)


def _column(path: Path, table: Table, name: str) -> Column:
    column = table[name]
    values = np.ma.filled(column, np.nan) if _floats(column) else np.asarray(np.ma.filled(_with_gaps(column)))
    unit = str(column.unit) if column.unit is not None else None
    return Column(f"catalogue {path}", name, ArrayTensor(np.asarray(values)), unit)


def _floats(column: Any) -> bool:
    return bool(column.dtype.kind == "f")


def _with_gaps(column: Any) -> Any:
    """Return a column whose gaps can be told: NaN in one of whole numbers, nothing in one of texts."""
    if not np.ma.is_masked(column):
        return np.ma.asarray(column)
    if column.dtype.kind in "iu":
        # As text, since a float would change large ids.
        return np.ma.array([str(value) if value is not np.ma.masked else "" for value in column])
    return np.ma.array(column, fill_value="")


def _refuse_streams(path: Path) -> None:
    """Refuse a VOTable whose rows lie elsewhere: astropy would fetch them from any address."""
    parser = xml.parsers.expat.ParserCreate()

    def start(name: str, attributes: Mapping[str, str]) -> None:
        if name.rpartition(":")[2].upper() == "STREAM" and any("href" in key.lower() for key in attributes):
            raise SurveyError(f"catalogue {path}: its rows lie elsewhere (STREAM href); expected them in the file")

    parser.StartElementHandler = start
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except (xml.parsers.expat.ExpatError, LookupError, ValueError) as error:
        raise SurveyError(f"catalogue {path}: is no VOTable ({error}); write or copy it again") from error


def texts(column: Column) -> list[str]:
    """Return a column's values as texts, for joining."""
    values: NDArray[Any] = column.values.rows(0, column.values.shape[0]).ravel()
    return [(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v)).strip() for v in values.tolist()]


def join_by_id(where: str, columns: Columns, options: IngestOptions) -> Columns:
    """Return the columns of a file, and after them those that only the catalogue has.

    Raises
    ------
    SurveyError
        If the two cannot be joined by `object_id`.
    """
    if options.catalog is None:
        return columns
    catalog = read_catalog(options.catalog)
    key, own = find(catalog.columns, "object_id", options), find(columns, "object_id", options)
    if own is None or key is None:
        holder, found = (where, columns) if own is None else (catalog.where, catalog.columns)
        raise SurveyError(
            f"{holder}: has no column object_id to join the catalogue by; found {shown(found)}; name it with --column "
            "object_id=NAME"
        )
    joined = catalog.matched(where, texts(own), key)
    return dict(columns) | {name: column for name, column in joined.items() if by_name(columns, name) is None}


def join_by_file(where: str, names: Sequence[str], options: IngestOptions) -> Columns:
    """Return the columns of the catalogue for files of these names, by file name or else by object id.

    Names are only compared with those in the folder: nothing that a catalogue says becomes a path.

    Raises
    ------
    SurveyError
        If the catalogue has neither column.
    """
    if options.catalog is None:
        return {}
    catalog = read_catalog(options.catalog)
    wanted = (options.columns["file"],) if "file" in options.columns else _FILE_COLUMNS
    key = next((found for name in wanted if (found := by_name(catalog.columns, name))), None)
    if key is not None:
        stems = not any(text in set(names) for text in texts(key)[:1000])
        return catalog.matched(where, [Path(name).stem if stems else name for name in names], key)
    key = find(catalog.columns, "object_id", options)
    if key is None or "file" in options.columns:
        raise SurveyError(
            f"{catalog.where}: has no column {' or '.join(wanted)}, nor object_id, to join the files by; found "
            f"{shown(catalog.columns)}; name one with --column file=NAME or --column object_id=NAME"
        )
    return catalog.matched(where, [Path(name).stem for name in names], key)
