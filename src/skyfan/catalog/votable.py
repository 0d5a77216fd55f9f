"""A catalogue as a VOTable (IVOA Recommendation 1.4), its rows in BINARY2; and its head alone, for VOParquet."""

import base64
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io.votable import tree

from skyfan.catalog.columns import Column
from skyfan.catalog.content import Content, Progress, fill_records, record_type

VERSION = "1.4"
DATATYPES = {
    pa.string(): "char",
    pa.int16(): "short",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
}
LINE = 57
"""Bytes in a line of 76 characters of base64; a multiple of 3, so that lines can follow each other."""


def header(content: Content) -> str:
    """Return the VOTable that describes a catalogue, without its rows."""
    file = tree.VOTableFile(version=VERSION)
    resource = tree.Resource(name=content.name)
    resource.description = f"Predictions of {content.name}, by skyfan"
    resource.infos.extend(tree.Info(name=name, value=text) for name, text in content.infos.items())
    table = tree.TableElement(file, name="predictions")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a unit that the VO does not know: it stands as the model has it
        table.fields.extend(_field(file, column) for column in content.columns)
    resource.tables.append(table)
    file.resources.append(resource)
    text = io.BytesIO()
    file.to_xml(text)
    return text.getvalue().decode()


def write_votable(content: Content, path: Path, progress: Progress) -> None:
    """Write a VOTable file."""
    before, closing, after = header(content).partition("</TABLE>")
    masked = -(-len(content.columns) // 8)
    kind = np.dtype([("missing", np.uint8, (masked,)), ("values", record_type(content.columns))])
    left = b""
    with path.open("wb") as file:
        file.write(f'{before}<DATA>\n<BINARY2>\n<STREAM encoding="base64">\n'.encode())
        for table in content.chunks(progress):
            records = np.zeros(table.num_rows, kind)
            missing = fill_records(records["values"], table, content.columns)
            records["missing"] = np.packbits(missing, axis=1)
            data = left + records.tobytes()
            whole = len(data) - len(data) % LINE
            left = data[whole:]
            file.write(base64.encodebytes(memoryview(data)[:whole]))
        file.write(base64.encodebytes(left))
        file.write(f"</STREAM>\n</BINARY2>\n</DATA>\n{closing}{after}".encode())


def _field(file: Any, column: Column) -> Any:
    length = str(column.dtype.itemsize) if column.type == pa.string() else column.values
    field = tree.Field(
        file,
        name=column.name,
        datatype=DATATYPES[column.type],
        arraysize=str(length) if length is not None else None,
        unit=column.unit or None,
        ucd=column.ucd or None,
    )
    field.description = column.description or None
    return field
