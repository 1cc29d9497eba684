"""A Parquet table: a row an image, with its vector; what pandas, Polars, DuckDB and Spark read."""

import json
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from embedkit.exports.base import Subject, Written, column_of, in_python, quoted

KIND = "parquet"
KEY = b"embedkit"  # of the table's metadata


def write_table(subject: Subject, path: Path, name: str) -> Written:
    """Write what is known of each image and its vector, a row group for each shard of the store.

    Args:
        subject: to write.
        path: to write to.
        name: that the file will have.
    """
    vector = pa.field("vector", pa.list_(pa.float32(), subject.space.record.dimension))
    known = subject.known.table
    schema = known.schema.append(vector).with_metadata(metadata_of(subject, KIND))
    with path.open("wb") as stream, parquet.ParquetWriter(stream, schema, compression="zstd") as to:
        for row, vectors in subject.vectors():
            part = known.slice(row, len(vectors)).append_column(vector, column_of(vectors))
            to.write_table(part.replace_schema_metadata(schema.metadata))
    return Written(opens=in_python(f"import pandas; print(pandas.read_parquet({quoted(name)}))"))


def metadata_of(subject: Subject, kind: str) -> dict[bytes, bytes]:
    """Return what a table's metadata say of its vectors."""
    return {KEY: json.dumps({"kind": kind, **subject.facts()}).encode()}


def is_table(path: Path, kind: str = KIND) -> bool:
    """Say whether a file is a table that such an export wrote."""
    try:
        found = parquet.read_schema(path).metadata or {}
        return bool(json.loads(found[KEY])["kind"] == kind)
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return False
