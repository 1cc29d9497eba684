"""Searching an index where it lies: checked files are mapped, what they find is scored again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from embedkit.errors import EmbedkitError
from embedkit.rows import Rows
from embedkit.store.index import Neighbours, nearest
from embedkit.store.index_files import IndexRecord, whole_record
from embedkit.vectors import FloatArray, IntArray

# Candidates of an approximate index beyond those wanted: codes order them only roughly.
SPARE = {"flat": 16, "ivf": 16, "hnsw": 16, "ivfpq": 240}


class StoredIndex:
    """Search over the rows of one space by the index that was made for it.

    Safe to search from several threads. An index that is not exact leaves rows out that lie in
    lists or parts of its graph that are not looked at; what it finds has exact similarities and is
    in the right order, as `NeighbourIndex.search` gives it, but ties may be cut off, and fewer than
    k may come back though there are more rows.

    Attributes:
        record: what the index is.
        rows: that are searched.
    """

    def __init__(self, record: IndexRecord, rows: Rows, files: Sequence[Path]) -> None:
        """Map the files of an index, whose checksums must have been found right.

        Raises:
            EmbedkitError: they hold other numbers of rows.
        """
        self.record = record
        self.rows = rows
        self._parts: list[tuple[Any, Any]] = []  # the bytes must live as long as the index
        # (threaded, successive ids): rows are numbered on from file to file.
        self._index: Any = faiss.IndexShards(rows.shape[1], False, True)  # type: ignore[call-arg]
        for path in files:
            mapped = np.memmap(path, np.uint8, "r")
            # The bytes that were checked, not the name: a file put in its place is not seen. A
            # file of embedkit is never changed in place.
            reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(mapped), mapped.size)  # type: ignore[attr-defined]
            part: Any = faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC)
            self._parts.append((mapped, part))
            self._index.add_shard(part)
        if (self._index.ntotal, self._index.d) != rows.shape:
            raise EmbedkitError(
                f"index of {self._index.ntotal} x {self._index.d} over vectors of {rows.shape}"
            )
        self.effort = record.effort

    @property
    def effort(self) -> int:
        """Lists looked through for a query (ivf, ivfpq), or rows held at a time (hnsw)."""
        return self._effort

    @effort.setter
    def effort(self, effort: int) -> None:
        self._effort = effort
        for _, part in self._parts:
            if self.record.type == "hnsw":
                part.hnsw.efSearch = effort
            elif self.record.type != "flat":
                part.nprobe = effort

    def search(self, queries: FloatArray, k: int, *, exclude: IntArray | None = None) -> Neighbours:
        """Find the k nearest rows of each query, as `NeighbourIndex.search` does."""
        kind = self.record.type
        return nearest(
            self._index,
            self.rows,
            queries,
            k,
            exclude=exclude,
            spare=SPARE[kind] + (3 * k if kind != "flat" else 0),
            exact=kind == "flat",
        )


def open_index(folder: Path, rows: Rows, vectors_sha256: str) -> StoredIndex | None:
    """Open the index that was made for a space, if it is whole and of another kind than usual.

    All of it is read once for its checksum, about a second a gigabyte; what is searched is then
    mapped from the files.

    Returns:
        None where there is none, or an exact one in one file, which is read into memory.
    """
    record = whole_record(folder, vectors_sha256)
    if record is None or (record.type == "flat" and len(record.files) == 1):
        return None
    return StoredIndex(record, rows, [folder / one.file for one in record.files])
