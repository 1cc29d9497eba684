"""Nearest neighbours among very many rows: those listed with the centres next to a query.

For many queries at once. Every row is listed with its nearest centre, as `embedkit.joins.cells`
learns them, and a query is compared with the rows listed with a few centres next to it. How many
centres that takes is measured when it is first searched, and what it finds is said.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from embedkit.joins import Recall
from embedkit.joins.bounds import CHUNK, bounds_of, directions_of, sample_of
from embedkit.joins.cells import HEAD, Cells, Centres, assigned, learned
from embedkit.matrices import Matrix, blocks
from embedkit.rows import Rows
from embedkit.store.index import ROUNDING, SPARE, Neighbours
from embedkit.store.scan import Scan, above, best_of, scored
from embedkit.vectors import DoubleArray, FloatArray, IntArray, check_unit_rows

READ = 65_536  # rows that are held at once, of as many lists as have them
QUERIES = 16_384  # whose best are held at once; each row is read once for so many
NEAREST = 100  # of each row of the sample that are looked for
MEASURED = 200  # rows of the sample
ENOUGH = 0.99  # of the nearest found: no more is looked through than this takes


@dataclass(frozen=True, slots=True)
class _Lists:
    """Centres, and the rows listed with each.

    Attributes:
        head: (d, h) directions that centres are learned in; None for all.
        centres: short rows.
        cells: which rows are listed with which.
    """

    head: DoubleArray | None
    centres: Centres
    cells: Cells


class Listed:
    """Search over the rows of a matrix; what it finds is scored exactly, but some may be missed.

    Attributes:
        seed: of the sample that the centres are learned from.
    """

    def __init__(self, vectors: Matrix, *, seed: int = 0) -> None:
        self._vectors = vectors
        self.seed = seed

    @property
    def vectors(self) -> Matrix:
        """The rows that are searched, (n, d) float32, unit rows."""
        return self._vectors

    @cached_property
    def effort(self) -> int:
        """Centres whose lists are looked through for a query: as few as find enough."""
        return self._measured[0]

    @property
    def recall(self) -> Recall:
        """How many of the nearest rows of a sample it finds."""
        return self._measured[1]

    @property
    def note(self) -> str:
        """What it is and finds, in words."""
        found = self.recall
        return (
            f"neighbours from {self.effort} of {len(self._lists.cells)} lists, which hold "
            f"{found.value:.1%} of the {found.of // max(found.rows, 1)} nearest of {found.rows} "
            "images"
        )

    def search(self, queries: Matrix, k: int, *, exclude: IntArray | None = None) -> Neighbours:
        """Find the k nearest listed rows of each query; see `NeighbourIndex.search`.

        Fewer come back where the lists looked through hold fewer.
        """
        return self._search(queries, k, exclude, self.effort)

    @cached_property
    def _lists(self) -> _Lists:
        n, d = self._vectors.shape
        rows = Rows(
            lambda place: np.asarray(self._vectors[place * CHUNK : (place + 1) * CHUNK]),
            [part.stop - part.start for part in blocks(n, CHUNK)],
            d,
        )
        head = directions_of(rows, HEAD, seed=self.seed) if d > 2 * HEAD else None
        short = bounds_of(rows, head).rows
        centres = learned(short, max(1, round((2 * n) ** 0.5)), seed=self.seed)
        return _Lists(head, centres, Cells.of(assigned(short, centres, 1), len(centres)))

    @cached_property
    def _measured(self) -> tuple[int, Recall]:
        """Return how many lists find enough, and what they find."""
        n = len(self._vectors)
        chosen = sample_of(n, MEASURED, seed=self.seed + 1)
        queries = np.asarray(self._vectors[chosen])
        k = min(NEAREST, n - 1)
        # A row as near as the last of the nearest counts as it.
        least = Scan(self._vectors).search(queries, k, exclude=chosen).similarities[:, -1:]
        effort = 4
        while True:
            effort = min(effort, len(self._lists.cells))
            near = self._search(queries, k, chosen, effort).similarities >= least - ROUNDING
            found = Recall(int(near.sum()), near.size, len(chosen))
            if found.value >= ENOUGH or effort == len(self._lists.cells):
                return effort, found
            effort *= 2

    def _search(self, queries: Matrix, k: int, exclude: IntArray | None, effort: int) -> Neighbours:
        k = min(k, len(self._vectors))
        own = np.full(len(queries), -1) if exclude is None else exclude
        parts = [
            self._some(queries[part], k, own[part], effort)
            for part in blocks(len(queries), QUERIES)
        ]
        return Neighbours(
            np.concatenate([np.empty((0, k), np.int64), *(rows for rows, _ in parts)]),
            np.concatenate([np.empty((0, k)), *(similarities for _, similarities in parts)]),
        )

    def _some(
        self, queries: FloatArray, k: int, own: IntArray, effort: int
    ) -> tuple[IntArray, DoubleArray]:
        queries = check_unit_rows(queries, self._vectors.shape[1])
        lists = self._lists
        short = bounds_of(Rows.of(queries), lists.head).rows
        asked = Cells.of(assigned(short, lists.centres, effort), len(lists.cells))
        fetch = min(k + 1 + SPARE, len(self._vectors))
        nearest = np.full((len(queries), fetch), -1, np.int64)
        cosines = np.full((len(queries), fetch), -np.inf, np.float32)
        for asking, there, rows in self._looked_through(asked):
            kept = cosines[asking]
            table = queries[asking] @ rows.T
            columns, found = above(table, kept.min(axis=1))
            nearest[asking], cosines[asking] = best_of(
                np.concatenate([nearest[asking], there[columns]], axis=1),
                np.concatenate([kept, found], axis=1),
                fetch,
            )
        nearest[np.isneginf(cosines)] = -1  # the lists hold fewer
        return scored(self._vectors, queries, nearest, own, k)[:2]

    def _looked_through(self, asked: Cells) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
        """Yield the queries that ask each list, the rows in it and their vectors."""
        cells = self._lists.cells
        ends = np.searchsorted(cells.home_ends, np.arange(READ, cells.home_ends[-1] + READ, READ))
        for first, last in pairwise(np.unique([0, *ends.clip(max=len(cells))]).tolist()):
            start = cells.home_ends[first]
            # Lists are read several at once, for each touches nearly all shards.
            vectors = self._vectors[cells.homes[start : cells.home_ends[last]]]
            for cell in range(first, last):
                asking, own = asked.listed(cell), slice(*(cells.home_ends[cell : cell + 2] - start))
                if len(asking) and own.stop > own.start:
                    yield asking, cells.home(cell), vectors[own]
