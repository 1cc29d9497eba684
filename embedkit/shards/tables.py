"""Parquet files with pictures in a column: the picture of one row."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from embedkit.errors import InputError, UnreadableImageError
from embedkit.files import open_plain
from embedkit.remote import is_url
from embedkit.shards.kept import Kept, key_of, open_shard

KEPT = 4  # files that are open at a time
BATCH = 32  # rows with their pictures that are read at once
BATCHES = 4  # of a file that are held: threads ask for pictures in nearly their order
BUFFER = 2**20  # bytes; without one Arrow reads all pictures of a row group
NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "bytes")


def holds_bytes(kind: pa.DataType) -> bool:
    """Say whether a column holds files: bytes, or `{bytes, path}` as Hugging Face writes them."""
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def picture_column(schema: pa.Schema) -> str | None:
    """Return the column that is likeliest to hold the pictures; None where none can."""
    columns = sorted((one for one in schema if holds_bytes(one.type)), key=_likely)
    return str(columns[0].name) if columns else None


def _likely(column: pa.Field) -> tuple[bool, bool]:
    return not pa.types.is_struct(column.type), column.name.lower() not in NAMES


def open_table(shard: Path) -> parquet.ParquetFile:
    """Open a Parquet file, here or behind a URL, to be read in little memory.

    Raises:
        OSError, ArrowException: it is not there, or damaged.
        FetchError: it could not be fetched this time.
    """
    if is_url(shard):
        source: Any = open_shard(shard)
    else:
        open_plain(shard).close()  # a pipe would be waited for
        source = shard
    return parquet.ParquetFile(source, pre_buffer=False, buffer_size=BUFFER)


def name_of(number: int) -> str:
    """Return the name of the picture in a row; the first row is 1."""
    return f"{number:06}"


def read_name(shard: Path, name: str, most: int) -> bytes:
    """Read the picture of the row of a name, at most so many bytes.

    Raises:
        UnreadableImageError: there is no such row, no picture in it, or the file is damaged.
        FetchError: it could not be fetched this time.
    """
    number = int(name) if name.isascii() and name.isdecimal() else 0
    if name != name_of(number):
        raise UnreadableImageError(f"not in {shard.name}")
    return read_row(shard, number, most)


def read_row(shard: Path, number: int, most: int) -> bytes:
    """Read the picture of a row, the first being 1; see `read_name`."""
    try:
        value = _TABLES.get(key_of(shard), _Table).value(number - 1)
    except (OSError, pa.ArrowException, InputError) as error:
        reason = str(error).split("\n", 1)[0]
        raise UnreadableImageError(f"{shard.name} cannot be read: {reason}") from None
    data = value.get("bytes") if isinstance(value, dict) else value
    if not data:
        raise UnreadableImageError("no picture in this row")
    return bytes(data[:most])


class _Table:
    """An open Parquet file; rows that follow one another are read from one to the next."""

    def __init__(self, shard: Path) -> None:
        self._name = shard.name
        self._file = open_table(shard)
        self._column = picture_column(self._file.schema_arrow)
        metadata = self._file.metadata
        sizes = [metadata.row_group(one).num_rows for one in range(metadata.num_row_groups)]
        self._starts = list(accumulate(sizes, initial=0))
        self._held: deque[tuple[int, pa.RecordBatch]] = deque(maxlen=BATCHES)
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._group = -1
        self._next = 0
        self._lock = Lock()

    def value(self, row: int) -> Any:
        """Return what is in the column of pictures in a row, counted from 0.

        Raises:
            UnreadableImageError: there is no such row, or no such column.
            OSError, ArrowException: the file is damaged.
        """
        if self._column is None or not 0 <= row < self._starts[-1]:
            raise UnreadableImageError(f"not in {self._name}")
        with self._lock:
            for first, batch in self._held:
                if first <= row < first + batch.num_rows:
                    return batch.column(self._column)[row - first].as_py()
            return self._sought(row)

    def _sought(self, row: int) -> Any:
        group = bisect_right(self._starts, row) - 1
        if group != self._group or row < self._next:
            self._next = self._starts[group]
            self._batches = self._file.iter_batches(
                BATCH, row_groups=[group], columns=[self._column], use_threads=False
            )
        self._group = -1  # until it has gone well
        for batch in self._batches:
            first, self._next = self._next, self._next + batch.num_rows
            self._held.append((first, batch))
            if row < self._next:
                self._group = group
                return batch.column(self._column)[row - first].as_py()
        raise UnreadableImageError(f"{self._name} has fewer rows than it says")


_TABLES: Kept[_Table] = Kept(KEPT)
