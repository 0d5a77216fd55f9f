"""A catalogue as one Parquet file with VOTable metadata (IVOA Note VOParquet 1.0, January 2025)."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from skyfan.catalog.content import Content, Progress
from skyfan.catalog.votable import header

KEYS = {"version": "IVOA.VOTable-Parquet.version", "content": "IVOA.VOTable-Parquet.content"}
VERSION = "1.0"


def with_metadata(content: Content) -> Any:
    """Return the catalogue's schema with the note's two keys."""
    return content.schema.with_metadata({KEYS["version"]: VERSION, KEYS["content"]: header(content)})


def write_parquet(content: Content, path: Path, progress: Progress) -> None:
    """Write a Parquet file, a row group a chunk."""
    schema = with_metadata(content)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in content.chunks(progress):
            writer.write_table(table.replace_schema_metadata(schema.metadata))
