"""FAISS: exact nearest neighbours; the index file is a checked, disposable copy of the shards."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from embedkit.errors import InputError
from embedkit.files import Buffer, write_parts
from embedkit.rows import Rows
from embedkit.store.index_files import IndexFile, IndexRecord
from embedkit.store.schema import INDEX
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


def build_index(vectors: FloatArray) -> faiss.IndexFlatIP:
    """Return an exact inner-product index of unit rows, (n, d), which it copies.

    Raises:
        EmbedkitError: they are no finite unit rows.
    """
    vectors = check_unit_rows(vectors)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def serialized(index: faiss.Index) -> bytes:
    """Return the bytes of FAISS's file; its `write_index` takes a full disk for a success."""
    return bytes(faiss.serialize_index(index))


def write_index(
    folder: Path, shards: Iterable[FloatArray], n: int, dimension: int, vectors_sha256: str
) -> None:
    """Write the exact index of a space beside its shards, and a record of what it was made from.

    Args:
        folder: of the space.
        shards: its vectors in item order, each (m, d) float32; held one at a time.
        n: rows of all shards.
        dimension: d.
        vectors_sha256: hash that stands for the vectors.
    """
    hash_ = write_parts(folder / INDEX, flat_parts(shards, n, dimension))
    files = (IndexFile(INDEX, n, hash_),)
    IndexRecord(faiss.__version__, vectors_sha256, files).write(folder)


def flat_parts(shards: Iterable[FloatArray], n: int, dimension: int) -> Iterator[Buffer]:
    """Yield the bytes of the file of an exact index over all shards together.

    FAISS's file of a flat index is a header and the vectors, so the whole need not be in memory.
    If a future FAISS writes it otherwise, it is built in memory after all.
    """
    two = np.eye(2, dimension, dtype=np.float32)
    if _flat_header(2, dimension) + two.tobytes() != serialized(build_index(two)):
        yield serialized(build_index(np.concatenate(list(shards))))
        return
    yield _flat_header(n, dimension)
    for rows in shards:
        yield np.ascontiguousarray(rows, "<f4").data


def _flat_header(n: int, dimension: int) -> bytes:
    """Return an empty index's bytes with the count of rows and of numbers put in."""
    empty = serialized(faiss.IndexFlatIP(dimension))
    rows, numbers = (count.to_bytes(8, "little") for count in (n, n * dimension))
    return empty[:8] + rows + empty[16:-8] + numbers


class NeighbourIndex:
    """Exact search over the rows of one space; safe to search from several threads.

    Attributes:
        note: what it leaves out, in words: nothing.
    """

    note = ""

    def __init__(self, vectors: FloatArray) -> None:
        """Index some rows, (n, d) float32.

        Raises:
            EmbedkitError: they are no finite unit rows.
        """
        self._vectors = vectors
        self._index = build_index(vectors)

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
        return nearest(self._index, self._vectors, queries, k, exclude=exclude)


def nearest(
    index: faiss.Index,
    vectors: FloatArray | Rows,
    queries: FloatArray,
    k: int,
    *,
    exclude: IntArray | None = None,
    spare: int = SPARE,
    exact: bool = True,
) -> Neighbours:
    """Search an index of FAISS and score what it finds again; see `NeighbourIndex.search`.

    Args:
        index: over the vectors.
        vectors: (n, d) unit rows.
        queries: as `search`.
        k: as `search`.
        exclude: as `search`.
        spare: candidates beyond those wanted.
        exact: whether the index leaves nothing out, so that the list can be widened until no tie
            is cut off; otherwise it is asked once.
    """
    queries = check_unit_rows(queries, vectors.shape[1])
    n = len(vectors)
    if k < 1:
        raise InputError(f"{k} neighbours were asked for; 1 or more are possible")
    k = min(k, n)
    rows = np.full((len(queries), k), -1, np.int64)
    similarities = np.full((len(queries), k), -np.inf)
    own = np.full(len(queries), -1) if exclude is None else exclude
    pending = np.arange(len(queries) if n else 0)
    fetch = k + 1 + spare
    while len(pending):
        fetch = min(fetch, n)
        _, found = index.search(queries[pending], fetch)
        open_ = []
        for query, fetched in zip(pending, found, strict=True):
            candidates = fetched[fetched >= 0]  # lists may hold fewer than were asked for
            scores = _scores(vectors[candidates], queries[query])
            # Another row might tie with the last one wanted beyond what was fetched.
            floor = scores.min(initial=np.inf)
            keep = candidates != own[query]
            order = np.lexsort((candidates[keep], -np.round(scores[keep], TIE_DECIMALS)))[:k]
            best = scores[keep][order]
            if exact and fetch < n and best[-1] <= floor + 2 * ROUNDING:
                open_.append(query)
                continue
            rows[query, : len(order)] = candidates[keep][order]
            similarities[query, : len(order)] = best
        pending = np.array(open_, np.int64)
        fetch *= 4
    return Neighbours(rows, similarities)


def _scores(near: FloatArray, query: FloatArray) -> DoubleArray:
    # einsum and not a BLAS product: a row's sum must not depend on the rows beside it.
    sums = np.einsum("ij,j->i", near.astype(np.float64), query.astype(np.float64))
    return np.asarray(np.clip(sums, -1, 1))
