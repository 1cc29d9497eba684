"""Exact nearest neighbours in a matrix that is read block by block; nothing is built beforehand."""

import numpy as np

from embedkit.matrices import Matrix, blocks
from embedkit.store.index import ROUNDING, SPARE, Neighbours
from embedkit.vectors import TIE_DECIMALS, DoubleArray, FloatArray, IntArray, check_unit_rows

ROWS, QUERIES = 4096, 2048  # of a table of cosines that is held at once
GATHERED = 131_072  # candidates read at once: they lie in all shards, each opened anew
SCORED = 16_384  # of which so many are scored at once


class Scan:
    """Exact search over the rows of a matrix, n * n * d multiplications; answers as an index does.

    Each row is read once for each `QUERIES` queries.

    Attributes:
        note: what it leaves out, in words: nothing.
    """

    note = ""

    def __init__(self, vectors: Matrix) -> None:
        self._vectors = vectors

    @property
    def vectors(self) -> Matrix:
        """The rows that are searched, (n, d) float32, unit rows."""
        return self._vectors

    def search(self, queries: Matrix, k: int, *, exclude: IntArray | None = None) -> Neighbours:
        """Find the k nearest rows of each query; see `NeighbourIndex.search`."""
        k = min(k, len(self._vectors))
        own = np.full(len(queries), -1) if exclude is None else exclude
        parts = [self._some(queries[part], k, own[part]) for part in blocks(len(queries), QUERIES)]
        return Neighbours(
            np.concatenate([np.empty((0, k), np.int64), *(rows for rows, _ in parts)]),
            np.concatenate([np.empty((0, k)), *(similarities for _, similarities in parts)]),
        )

    def _some(self, queries: FloatArray, k: int, own: IntArray) -> tuple[IntArray, DoubleArray]:
        queries = check_unit_rows(queries, self._vectors.shape[1])
        rows = np.full((len(queries), k), -1, np.int64)
        similarities = np.full((len(queries), k), -np.inf)
        pending, fetch = np.arange(len(queries)), k + 1 + SPARE
        while len(pending):
            fetch = min(fetch, len(self._vectors))
            candidates = self._candidates(queries[pending], fetch)
            found, best, floor = scored(
                self._vectors, queries[pending], candidates, own[pending], k
            )
            done = np.full(len(pending), fetch == len(self._vectors))
            # Another row might tie with the last one wanted beyond what was fetched.
            done |= best[:, -1] > floor + 2 * ROUNDING
            rows[pending[done]], similarities[pending[done]] = found[done], best[done]
            pending = pending[~done]
            fetch *= 4
        return rows, similarities

    def _candidates(self, queries: FloatArray, fetch: int) -> IntArray:
        """Return (m, fetch) rows that are nearest to each query, to float32's precision."""
        m = len(queries)
        nearest, cosines = np.empty((m, 0), np.int64), np.empty((m, 0), np.float32)
        floor = None  # (m,) that `fetch` rows are known to reach
        for part in blocks(len(self._vectors), ROWS):
            table = queries @ self._vectors[part].T
            if floor is None:
                fresh, found = np.broadcast_to(np.arange(table.shape[1]), table.shape), table
            else:
                fresh, found = above(table, floor)
            nearest = np.concatenate([nearest, part.start + fresh], axis=1)
            cosines = np.concatenate([cosines, found], axis=1)
            if nearest.shape[1] >= 2 * fetch:
                nearest, cosines = best_of(nearest, cosines, fetch)
                floor = cosines.min(axis=1)
        return best_of(nearest, cosines, fetch)[0]


def scored(
    vectors: Matrix, queries: FloatArray, candidates: IntArray, own: IntArray, k: int
) -> tuple[IntArray, DoubleArray, DoubleArray]:
    """Score candidates exactly and put the best first.

    Args:
        vectors: (n, d) float32, unit rows.
        queries: (m, d) likewise.
        candidates: (m, c) rows, -1 for none.
        own: (m,) a row that is not to be returned for each query; -1 for none.
        k: at most c are returned.

    Returns:
        (m, k) rows and similarities, as `Neighbours` has them, and (m,) the least similarity of
        all candidates.
    """
    scores = np.empty(candidates.shape)
    width = max(1, candidates.shape[1])
    for read in blocks(len(candidates), max(1, GATHERED // width)):
        gathered = vectors[candidates[read].ravel()].reshape(*candidates[read].shape, -1)
        for part in blocks(len(gathered), max(1, SCORED // width)):
            near, asked = gathered[part].astype(np.float64), queries[read][part].astype(np.float64)
            # einsum and not a BLAS product: a row's sum must not depend on the rows beside it.
            scores[read][part] = np.einsum("qij,qj->qi", near, asked)
    scores = np.clip(scores, -1, 1)
    floor = scores.min(axis=1, initial=np.inf)
    scores[(candidates == own[:, None]) | (candidates < 0)] = -np.inf
    order = np.lexsort((candidates, -np.round(scores, TIE_DECIMALS)))[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    found = np.where(best > -np.inf, np.take_along_axis(candidates, order, axis=1), -1)
    return found, best, floor


def best_of(nearest: IntArray, cosines: FloatArray, fetch: int) -> tuple[IntArray, FloatArray]:
    """Keep the `fetch` columns of each row whose cosines are highest."""
    kept = np.argpartition(cosines, -fetch, axis=1)[:, -fetch:]
    return np.take_along_axis(nearest, kept, axis=1), np.take_along_axis(cosines, kept, axis=1)


def above(table: FloatArray, floor: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the columns of each row whose value is above its floor, and the values.

    Returns:
        (m, w) columns and values, as many as the row with the most; -inf beside what fills up.
    """
    marks = table > floor[:, None]
    counts = np.count_nonzero(marks, axis=1)
    flat = np.flatnonzero(marks)  # two to three times as fast as both numbers of each at once
    rows, columns = np.divmod(flat, table.shape[1])
    place = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = len(table), int(counts.max(initial=0))
    made, values = np.zeros(shape, np.int64), np.full(shape, -np.inf, np.float32)
    made[rows, place], values[rows, place] = columns, table[rows, columns]
    return made, values
