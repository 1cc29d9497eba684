"""The items of a store as a table of which only the columns that are asked for are read."""

from functools import cached_property
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from embedkit.store.schema import ITEMS, decoding


class Columns:
    """A Parquet file in memory, or mapped into it; a table to whoever asks for one.

    A million items with their facts are gigabytes once they are read; an audit asks for five
    columns. What a table can do beyond its columns, such as slicing, reads it whole.
    """

    def __init__(self, data: pa.Buffer) -> None:
        # Without pyarrow's threads; see `parquet_table`.
        with decoding(ITEMS):
            self._file = parquet.ParquetFile(pa.BufferReader(data), pre_buffer=False)
        self._read: dict[str, pa.ChunkedArray] = {}

    @property
    def num_rows(self) -> int:
        """Items."""
        return int(self._file.metadata.num_rows)

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self._file.schema_arrow

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column; it is read once and kept.

        Raises:
            KeyError: there is no such column.
        """
        if name not in self._read:
            if name not in self.schema.names:
                raise KeyError(name)
            with decoding(ITEMS):
                self._read[name] = self._file.read([name], use_threads=False).column(name)
        return self._read[name]

    def select(self, names: list[str]) -> pa.Table:
        """Return some of the columns as a table."""
        schema = pa.schema([self.schema.field(name) for name in names])
        return pa.table([self.column(name) for name in names], schema=schema)

    @cached_property
    def whole(self) -> pa.Table:
        """All columns."""
        return self.select(self.column_names).replace_schema_metadata(self.schema.metadata)

    def __getattr__(self, name: str) -> Any:
        """Return what a table has beyond this."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.whole, name)
