"""Cells: pairs of alike rows found by looking only where both rows are near one centre.

Every row has a home, the cell of its nearest centre, and is listed in a few cells next to it. A
pair is met in the home of either row if the other is listed there. Rows that are alike are at about
the same distances from all centres, so hardly a pair is lost; how many are is measured on a sample.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from embedkit.joins.blocks import (
    COLUMNS,
    MOST,
    Pairs,
    best_head,
    checked,
    gathered,
    hits,
    joined,
    least,
    rescored,
)
from embedkit.joins.bounds import CHUNK, Bounds, bounds_of, directions_of, sample_of, single_threads
from embedkit.rows import Rows
from embedkit.vectors import DoubleArray, FloatArray, IntArray

LISTED = 4  # cells that a row is listed in, its home among them
HEAD = 127  # directions that the cells are made in
PER_CELL = 64  # rows of the sample that centres are learned from
ROUNDS = 8
Centres = torch.Tensor

BLOCK = 1024  # rows compared with the centres, or with the listed, at once
LOOKED_AT = 32  # cells by which the directions are chosen
CROWDED = 2048  # rows of one of them, at most
SAMPLE = 2000  # rows whose pairs are looked for among all


@dataclass(frozen=True, slots=True)
class Recall:
    """How many of the pairs of some rows a search found.

    Attributes:
        found: pairs it found.
        of: pairs there are.
        rows: whose pairs were looked for among all.
    """

    found: int
    of: int
    rows: int

    @property
    def value(self) -> float:
        """Share that was found; 1 where there was nothing to find."""
        return self.found / self.of if self.of else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**asdict(self), "recall": round(self.value, 6)}


def pairs_in_cells(
    rows: Rows | FloatArray,
    threshold: float,
    *,
    listed: int = LISTED,
    threads: int | None = None,
    seed: int = 0,
    most: int = MOST,
) -> Pairs:
    """Return nearly all pairs of unit rows whose cosine is at least `threshold`.

    What is returned is exact; a pair is missing where neither row is listed in the home of the
    other. Cost: n ** 1.5 products of short rows, so that a million rows take minutes less than
    `every_pair` takes hours; beside the rows, which are read through three times, about
    4 (h + 1) + 16 `listed` bytes a row.

    Args:
        rows: (n, d) unit rows.
        threshold: above 0, at most 1; a cosine counts as rounded to 7 decimals.
        listed: cells that each row is listed in; more find more and cost in proportion.
        threads: that compute; the result does not depend on it.
        seed: of the sample that the centres are learned from.
        most: pairs that may be found.

    Raises:
        ValueError: another threshold.
        InputError: there are more pairs than `most`.
    """
    rows = checked(rows, threshold)
    if len(rows) < 2:
        return joined([])
    cells, coarse, head = cells_of(rows, listed=listed, threads=threads, seed=seed)
    some = sample_of(len(cells), LOOKED_AT, seed=seed).tolist()
    fine = best_head(rows, [cells.listed(cell)[:CROWDED] for cell in some], threshold)
    same = fine is head if fine is None or head is None else fine.shape == head.shape
    bounds = coarse if same else bounds_of(rows, fine, threads=threads)
    cutoff = bounds.cutoff(least(threshold))

    def look(cell: int) -> Pairs:
        home, near = cells.home(cell), cells.listed(cell)
        found = [(home[:0], home[:0])]
        for row in range(0, len(home), BLOCK):
            ours = home[row : row + BLOCK]
            for column in range(0, len(near), COLUMNS):
                theirs = near[column : column + COLUMNS]
                first, second = hits(bounds.rows[ours], bounds.rows[theirs], cutoff)
                first, second = ours[first], theirs[second]
                # Two of one home meet twice.
                once = (first < second) | ((cells.home_of[second] != cell) & (first != second))
                found.append((first[once], second[once]))
        pairs = np.sort(np.concatenate([np.stack(one, axis=1) for one in found]), axis=1)
        return rescored(rows, pairs[:, 0], pairs[:, 1], threshold)

    return joined(gathered(look, range(len(cells)), threads, most))


def cells_of(
    rows: Rows, *, listed: int = LISTED, threads: int | None = None, seed: int = 0
) -> tuple["Cells", Bounds, DoubleArray | None]:
    """Return cells of rows, about as many as make a look at all of them take least time.

    Also the short rows that they were made by, and the directions of those. Arguments are those of
    `pairs_in_cells`.
    """
    head = directions_of(rows, HEAD, seed=0) if rows.shape[1] > 2 * HEAD else None
    coarse = bounds_of(rows, head, threads=threads)
    k = max(1, round((len(rows) * (listed - 0.5)) ** 0.5))
    centres = learned(coarse.rows, k, threads=threads, seed=seed)
    lists = assigned(coarse.rows, centres, listed, threads=threads)
    return Cells.of(lists, len(centres)), coarse, head


@dataclass(frozen=True, slots=True)
class Cells:
    """Which rows are at home in each cell, and which are listed there.

    Attributes:
        home_of: (n,) the cell that each row is at home in.
        homes, home_ends: rows by home, and where those of each cell end.
        lists, list_ends: the same of all that are listed.
    """

    home_of: IntArray
    homes: IntArray
    home_ends: IntArray
    lists: IntArray
    list_ends: IntArray

    @classmethod
    def of(cls, lists: IntArray, k: int) -> "Cells":
        """Take the cells of each row, (n, m), its home first."""
        made = [lists[:, 0]]
        for cells in (lists[:, 0], lists.ravel()):
            order = np.argsort(cells, kind="stable") // (cells.size // len(lists))
            made += [order, np.concatenate([[0], np.cumsum(np.bincount(cells, minlength=k))])]
        return cls(*made)

    def __len__(self) -> int:
        """Return how many cells there are."""
        return len(self.home_ends) - 1

    def home(self, cell: int) -> IntArray:
        """Return the rows at home in a cell."""
        return self.homes[self.home_ends[cell] : self.home_ends[cell + 1]]

    def listed(self, cell: int) -> IntArray:
        """Return the rows listed in a cell, in order."""
        return self.lists[self.list_ends[cell] : self.list_ends[cell + 1]]


def learned(
    rows: torch.Tensor,
    k: int,
    *,
    rounds: int = ROUNDS,
    threads: int | None = None,
    seed: int = 0,
) -> Centres:
    """Return k centres of short rows, (k, K) of unit length, by k-means on the sphere.

    Args:
        rows: (n, K).
        k: centres, at most n.
        rounds: of k-means.
        threads: that compute; the result does not depend on it.
        seed: of the sample and of the first centres.
    """
    generator = np.random.default_rng(seed)
    chosen = sample_of(len(rows), PER_CELL * k, seed=seed)
    sample = rows[torch.from_numpy(chosen)]
    k = min(k, len(sample))
    first = np.sort(generator.choice(len(sample), k, replace=False))
    centres = sample[torch.from_numpy(first)]
    for _ in range(rounds):
        nearest = assigned(sample, centres, 1, threads=threads)[:, 0]
        sums = torch.zeros((k, rows.shape[1]), dtype=torch.float64)
        for start in range(0, len(sample), CHUNK):
            some = torch.from_numpy(nearest[start : start + CHUNK])
            sums.index_add_(0, some, sample[start : start + CHUNK].double())
        lengths = sums.norm(dim=1, keepdim=True)
        # A centre that nobody is near stays where it is.
        moved = (sums / lengths.clamp(min=1e-12)).to(rows.dtype)
        centres = torch.where(lengths > 0, moved, centres)
    return centres


def assigned(
    rows: torch.Tensor, centres: Centres, m: int, *, threads: int | None = None
) -> IntArray:
    """Return the m nearest centres of each row, nearest first, (n, m).

    Args:
        rows: (n, K) short rows.
        centres: (k, K).
        m: at most k are returned.
        threads: that compute; the result does not depend on it.
    """
    m = min(m, len(centres))

    def nearest(start: int) -> torch.Tensor:
        products = torch.mm(rows[start : start + BLOCK], centres.T).float()
        return products.argmax(dim=1, keepdim=True) if m == 1 else products.topk(m, dim=1).indices

    made = np.empty((len(rows), m), np.int64)
    with single_threads(threads) as run:
        starts = range(0, len(rows), BLOCK)
        for start, found in zip(starts, run(nearest, starts), strict=True):
            made[start : start + BLOCK] = found.numpy()
    return made


def recall_on_sample(
    rows: Rows | FloatArray,
    pairs: Pairs,
    threshold: float,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
) -> Recall:
    """Measure how many pairs a search found: some rows are compared with all, exactly.

    Args:
        rows: that were searched.
        pairs: that were found.
        threshold: that was asked for.
        sample: rows that are compared with all; n * n * d / (n / sample) multiplications.
        seed: of the sample.
    """
    rows = checked(rows, threshold)
    chosen = sample_of(len(rows), sample, seed=seed)
    every = _pairs_of(rows, chosen, threshold)
    n = max(len(rows), 1)
    numbers = [one.rows[:, 0] * n + one.rows[:, 1] for one in (every, pairs)]
    return Recall(int(np.isin(numbers[0], numbers[1]).sum()), len(every), len(chosen))


def _pairs_of(rows: Rows, chosen: IntArray, threshold: float) -> Pairs:
    """Return all pairs of which one row is among those chosen."""
    short = bounds_of(Rows.of(rows[chosen]), None)
    found = []
    for start in range(0, len(rows), CHUNK):
        theirs = bounds_of(Rows.of(rows.between(start, start + CHUNK)), None, threads=1)
        margin = max(short.margin, theirs.margin)
        cutoff = Bounds(short.rows, margin).cutoff(least(threshold))
        first, second = hits(theirs.rows, short.rows, cutoff)
        pairs = np.sort(np.stack([first + start, chosen[second]], axis=1), axis=1)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        found.append(rescored(rows, pairs[:, 0], pairs[:, 1], threshold))
    return joined(found)
