"""Searching an index that leaves rows out: what it finds among checked bytes is scored again."""

from pathlib import Path
from threading import Lock
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from embedkit.errors import StoreError
from embedkit.files import content, open_plain, read_plain, sha256
from embedkit.rows import Rows
from embedkit.store.index import Neighbours, nearest
from embedkit.store.index_files import IndexRecord, parsed
from embedkit.store.made_here import made_here
from embedkit.store.schema import INDEX_RECORD
from embedkit.vectors import FloatArray, IntArray

# Candidates of an approximate index beyond those wanted: codes order them only roughly.
SPARE = {"ivf": 16, "hnsw": 16, "ivfpq": 240}
TABLES = {"ivfpq": 2**31}  # bytes of tables that FAISS makes when it reads; its own limit
_LIMITS = Lock()  # FAISS's are of the whole process


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

    def __init__(self, record: IndexRecord, rows: Rows, folder: Path) -> None:
        """Read the files of an index that this process or user made; large ones are mapped.

        Raises:
            StoreError: they are missing or damaged, or hold other numbers of rows.
        """
        self.record = record
        self.rows = rows
        self._parts: list[tuple[Any, Any]] = []  # the bytes must live as long as the index
        # (threaded, successive ids): rows are numbered on from file to file.
        self._index: Any = faiss.IndexShards(rows.shape[1], False, True)  # type: ignore[call-arg]
        for one in record.files:
            data, part = _part(folder / one.file, one.sha256, TABLES.get(record.type, 0))
            self._parts.append((data, part))
            self._index.add_shard(part)
        if (self._index.ntotal, self._index.d) != rows.shape:
            raise StoreError(
                f"{folder} has an index of {self._index.ntotal} x {self._index.d} over vectors of "
                f"{rows.shape}"
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
            else:
                part.nprobe = effort

    def search(self, queries: FloatArray, k: int, *, exclude: IntArray | None = None) -> Neighbours:
        """Find the k nearest rows of each query, as `NeighbourIndex.search` does."""
        return nearest(
            self._index,
            self.rows,
            queries,
            k,
            exclude=exclude,
            spare=SPARE[self.record.type] + 3 * k,
            exact=False,
        )


def open_index(folder: Path, rows: Rows, vectors_sha256: str) -> StoredIndex | None:
    """Open the index that was made for a space, where it leaves rows out.

    All of it is read once for its checksum, about a second a gigabyte.

    Returns:
        None where there is none, one of other vectors, or an exact one: vectors are compared as
        fast without its file.

    Raises:
        StoreError: there is one, and it is damaged or was made elsewhere.
    """
    path = folder / INDEX_RECORD
    try:
        data = read_plain(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    record = parsed(data, folder)
    if record.vectors_sha256 != vectors_sha256 or record.type == "flat":
        return None
    if not made_here(data):
        raise StoreError(
            f"the {record.type} index of {folder} was not made by you on this machine, so it is "
            "not read; 'embedkit index' makes it here"
        )
    return StoredIndex(record, rows, folder)


def _part(path: Path, expected: str, more: int) -> tuple[npt.NDArray[np.uint8], Any]:
    """Return the bytes of a file, and the index that FAISS reads from these very bytes.

    Args:
        path: of the file.
        expected: hash of its bytes.
        more: bytes that FAISS may take for a table beside what the file holds.
    """
    try:
        with open_plain(path) as file:
            data = np.frombuffer(content(file), np.uint8)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    if sha256(data.data) != expected:
        raise StoreError(f"{path} is damaged: its checksum does not fit")
    reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(data), data.size)  # type: ignore[attr-defined]
    with _LIMITS:
        before = faiss.get_deserialization_vector_byte_limit()
        loops = faiss.get_deserialization_loop_limit()
        try:
            # Nothing in a file can be larger than the file, or more than its bytes.
            faiss.set_deserialization_vector_byte_limit(data.size + more)
            faiss.set_deserialization_loop_limit(data.size)
            return data, faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            first = str(error).splitlines()[0][:120]
            raise StoreError(f"{path} is not read by FAISS: {first}") from None
        finally:
            faiss.set_deserialization_vector_byte_limit(before)
            faiss.set_deserialization_loop_limit(loops)
