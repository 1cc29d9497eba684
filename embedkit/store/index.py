"""FAISS: exact nearest neighbours; the index file is a checked, disposable copy of the shards."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from embedkit.errors import EmbedkitError, StoreError
from embedkit.files import Buffer, sha256, sha256_of_file, write_parts, write_whole
from embedkit.store.schema import INDEX, INDEX_RECORD, SCHEMA, sealed, unsealed
from embedkit.vectors import TIE_DECIMALS, DoubleArray, FloatArray, IntArray, check_unit_rows

# FAISS returns float32 products that depend on the batch; this much apart, two are one.
ROUNDING = 1e-6
SPARE = 16


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Nearest rows, closest first; ties go to the smaller row.

    Attributes:
        rows: (n, k) row numbers, k at most the rows there are; -1 where fewer are left.
        similarities: (n, k) cosine, -1 to 1, computed in float64; -inf beside row -1.
    """

    rows: IntArray
    similarities: DoubleArray


def build_index(vectors: FloatArray) -> bytes:
    """Return the bytes of an exact inner-product index of unit rows, (n, d)."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    # Never faiss.write_index: on a full disk it returns as if all were well.
    return bytes(faiss.serialize_index(index))


def write_index(
    folder: Path, shards: Iterable[FloatArray], n: int, dimension: int, vectors_sha256: str
) -> None:
    """Write the index of a space beside its shards, and a record of what it was made from.

    Args:
        folder: of the space.
        shards: its vectors in item order, each (m, d) float32; held one at a time.
        n: rows of all shards.
        dimension: d.
        vectors_sha256: hash that stands for the vectors.
    """
    index = write_parts(folder / INDEX, _index_parts(shards, n, dimension))
    record = {
        "schema": SCHEMA,
        "faiss": faiss.__version__,
        "sha256": index,
        "vectors_sha256": vectors_sha256,
    }
    write_whole(folder / INDEX_RECORD, sealed(record))


def _index_parts(shards: Iterable[FloatArray], n: int, dimension: int) -> Iterator[Buffer]:
    """Yield the bytes that `build_index` would return for all shards together.

    FAISS's file of a flat index is a header and the vectors, so the whole need not be in memory.
    If a future FAISS writes it otherwise, it is built in memory after all.
    """
    two = np.eye(2, dimension, dtype=np.float32)
    if _flat_header(2, dimension) + two.tobytes() != build_index(two):
        yield build_index(np.concatenate(list(shards)))
        return
    yield _flat_header(n, dimension)
    for rows in shards:
        yield np.ascontiguousarray(rows, "<f4").data


def _flat_header(n: int, dimension: int) -> bytes:
    """Return an empty index's bytes with the count of rows and of numbers put in."""
    empty = bytes(faiss.serialize_index(faiss.IndexFlatIP(dimension)))
    rows, numbers = (count.to_bytes(8, "little") for count in (n, n * dimension))
    return empty[:8] + rows + empty[16:-8] + numbers


def read_index(folder: Path, vectors_sha256: str) -> bytes | None:
    """Return the bytes of a space's index, or None if it is missing, damaged or out of date.

    FAISS files carry no checksum, and a third of damaged ones load and answer wrongly, so the
    bytes are checked before FAISS sees them.
    """
    expected = _recorded(folder, vectors_sha256)
    try:
        data = (folder / INDEX).read_bytes()
    except OSError:
        return None
    return data if sha256(data) == expected else None


def has_index(folder: Path, vectors_sha256: str) -> bool:
    """Say whether a space's index is there, whole and of these vectors."""
    try:
        return sha256_of_file(folder / INDEX) == _recorded(folder, vectors_sha256)
    except OSError:
        return False


def _recorded(folder: Path, vectors_sha256: str) -> str | None:
    """Return the hash that the index of these vectors must have, None if it is of others."""
    try:
        record = unsealed((folder / INDEX_RECORD).read_bytes(), folder / INDEX_RECORD)
    except (OSError, StoreError):
        return None
    return record.get("sha256") if record.get("vectors_sha256") == vectors_sha256 else None


class NeighbourIndex:
    """Exact search over the rows of one space; safe to search from several threads."""

    def __init__(self, index: bytes, vectors: FloatArray) -> None:
        self._vectors = vectors
        self._index = faiss.deserialize_index(np.frombuffer(index, np.uint8))
        if (self._index.ntotal, self._index.d) != vectors.shape:
            raise EmbedkitError(
                f"index of {self._index.ntotal} x {self._index.d} over vectors of {vectors.shape}"
            )

    @property
    def vectors(self) -> FloatArray:
        """The rows that are searched, (n, d) float32, unit rows."""
        return self._vectors

    def search(self, queries: FloatArray, k: int, *, exclude: IntArray | None = None) -> Neighbours:
        """Find the k nearest rows of each query.

        The answer depends on the query alone, not on the others in the call: candidates are
        scored again in float64 and the list is widened until no tie is cut off.

        Args:
            queries: (n, d) float32, unit rows.
            k: neighbours wanted; fewer come back if there are fewer rows.
            exclude: (n,) a row that is not to be returned for each query, as its own; -1 for none.

        Raises:
            EmbedkitError: queries of another width, not finite or not of unit length.
        """
        queries = check_unit_rows(queries, self._vectors.shape[1])
        k = min(k, len(self._vectors))
        rows = np.full((len(queries), k), -1, np.int64)
        similarities = np.full((len(queries), k), -np.inf)
        own = np.full(len(queries), -1) if exclude is None else exclude
        pending = np.arange(len(queries))
        fetch = k + 1 + SPARE
        while len(pending):
            fetch = min(fetch, len(self._vectors))
            _, found = self._index.search(queries[pending], fetch)
            open_ = []
            for query, candidates in zip(pending, found, strict=True):
                scores = self._scores(queries[query], candidates)
                # Another row might tie with the last one wanted beyond what was fetched.
                floor = scores.min(initial=np.inf)
                keep = candidates != own[query]
                order = np.lexsort((candidates[keep], -np.round(scores[keep], TIE_DECIMALS)))[:k]
                best = scores[keep][order]
                if fetch < len(self._vectors) and best[-1] <= floor + 2 * ROUNDING:
                    open_.append(query)
                    continue
                rows[query, : len(order)] = candidates[keep][order]
                similarities[query, : len(order)] = best
            pending = np.array(open_, np.int64)
            fetch *= 4
        return Neighbours(rows, similarities)

    def _scores(self, query: FloatArray, rows: IntArray) -> DoubleArray:
        near = self._vectors[rows].astype(np.float64)
        # einsum and not a BLAS product: a row's sum must not depend on the rows beside it.
        return np.asarray(np.clip(np.einsum("ij,j->i", near, query.astype(np.float64)), -1, 1))
