"""Blocks: every pair of rows with at least some cosine, exactly."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from embedkit.errors import InputError
from embedkit.joins.bounds import bounds_of, directions_of, sample_of, single_threads
from embedkit.rows import Rows
from embedkit.vectors import TIE_DECIMALS, DoubleArray, FloatArray, IntArray

ROWS, COLUMNS = 1024, 2048  # of a block: its products stay in the cache
HEADS = (31, 63, 127, 255)  # directions tried; one more number holds the rest
RESCORE = 400.0  # scoring a pair in float64 costs as much as so many products of short rows
SAMPLE = 2048  # rows by which the directions are chosen
SLACK = 0.01  # about the margin, which is known only later
SCORED = 2048  # pairs scored again at once
MOST = 50_000_000

Hit = tuple[IntArray, IntArray]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows, each once and the smaller row first, in the order of their rows.

    Attributes:
        rows: (m, 2).
        cosines: (m,) float64, at most 1.
    """

    rows: IntArray
    cosines: DoubleArray

    def __len__(self) -> int:
        return len(self.rows)


def every_pair(
    rows: Rows | FloatArray, threshold: float, *, threads: int | None = None, most: int = MOST
) -> Pairs:
    """Return all pairs of unit rows whose cosine is at least `threshold`.

    Exact: blocks of products of short bf16 rows, never below the cosine but for a proven margin
    (see `embedkit.joins.bounds`), leave few pairs, and those are scored in float64. What comes out
    depends on neither threads, blocks nor machine. Cost: n * n * (h + 1) multiplications, h at
    most d and the less the faster the variances of the rows fall off; beside the rows, which are
    read through once, 2 (h + 1) bytes a row.

    Args:
        rows: (n, d) unit rows.
        threshold: above 0, at most 1; a cosine counts as rounded to 7 decimals.
        threads: that compute; by default one a core.
        most: pairs that may be found.

    Raises:
        ValueError: another threshold.
        InputError: there are more pairs than `most`.
    """
    rows = checked(rows, threshold)
    if len(rows) < 2:
        return joined([])
    bounds = bounds_of(
        rows, best_head(rows, [sample_of(len(rows), SAMPLE, seed=0)], threshold), threads=threads
    )
    cutoff = bounds.cutoff(least(threshold))

    def look(start: int) -> Pairs:
        found = []
        for column in range(start - start % COLUMNS, len(rows), COLUMNS):
            ours, theirs = bounds.rows[start : start + ROWS], bounds.rows[column : column + COLUMNS]
            first, second = hits(ours, theirs, cutoff)
            first, second = first + start, second + column
            later = first < second
            found.append((first[later], second[later]))
        first, second = (np.concatenate(side) for side in zip(*found, strict=True))
        return rescored(rows, first, second, threshold)

    return joined(gathered(look, range(0, len(rows), ROWS), threads, most))


def checked(rows: Rows | FloatArray, threshold: float) -> Rows:
    """Return rows to be joined.

    Raises:
        ValueError: the threshold is none.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold {threshold} was given, above 0 and at most 1 expected")
    return rows if isinstance(rows, Rows) else Rows.of(rows)


def least(threshold: float) -> float:
    """Return the least cosine that rounds to the threshold."""
    return float(threshold - 10.0**-TIE_DECIMALS)


def best_head(rows: Rows, groups: Iterable[IntArray], threshold: float) -> DoubleArray | None:
    """Return the directions with which a join of such groups of rows takes least time.

    Args:
        rows: (n, d).
        groups: some rows each, of which every pair would be looked at.
        threshold: of the join.

    Returns:
        (d, h) orthonormal; None where nothing is gained by them.
    """
    d = rows.shape[1]
    heads = [h for h in HEADS if 2 * h < d]
    if not heads:
        return None
    widest = directions_of(rows, heads[-1], seed=0)
    passed, pairs = np.zeros(len(heads)), 1
    for group in groups:
        head = rows[group] @ widest.astype(np.float32)
        for place, h in enumerate(heads):
            rest = np.sqrt(np.maximum(1 - np.square(head[:, :h]).sum(axis=1), 0))
            above = head[:, :h] @ head[:, :h].T + np.outer(rest, rest) >= threshold - SLACK
            passed[place] += above.sum() - len(group)
        pairs += len(group) * (len(group) - 1)
    cost = np.array(heads) + 1 + RESCORE * d * passed / pairs
    best = int(cost.argmin())
    return directions_of(rows, heads[best], seed=0) if cost[best] < d else None


def hits(ours: torch.Tensor, theirs: torch.Tensor, cutoff: float) -> Hit:
    """Return (row, column) where a product of two sets of short rows reaches the cutoff."""
    products = _products(ours, theirs)
    if products.dtype == torch.bfloat16 and cutoff > 0:
        # The bits of positive bf16 numbers are in the order of the numbers, those of negative ones
        # are negative; and whole numbers are compared much faster here.
        products = products.view(torch.int16)
        limit = torch.tensor(cutoff, dtype=torch.bfloat16).view(torch.int16)
    else:
        limit = torch.tensor(cutoff, dtype=products.dtype)
    found = torch.nonzero(products.amax(dim=1) >= limit)[:, 0]
    row, column = torch.nonzero(products[found] >= limit, as_tuple=True)
    return found[row].numpy(), column.numpy()


_held = threading.local()


def _products(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Multiply into memory that this thread keeps: fresh pages cost as much as the product."""
    size = len(ours) * len(theirs)
    kept: torch.Tensor | None = getattr(_held, "memory", None)
    if kept is None or kept.dtype != ours.dtype or len(kept) < size:
        _held.memory = kept = torch.empty(max(size, ROWS * COLUMNS), dtype=ours.dtype)
    return torch.mm(ours, theirs.T, out=kept[:size].view(len(ours), len(theirs)))


def rescored(rows: Rows, first: IntArray, second: IntArray, threshold: float) -> Pairs:
    """Return those of some pairs whose cosine is at least the threshold."""
    kept = []
    for start in range(0, len(first), SCORED):
        pairs = np.stack([first[start : start + SCORED], second[start : start + SCORED]], axis=1)
        cosines = _cosines(rows, pairs)
        enough = np.round(cosines, TIE_DECIMALS) >= threshold
        kept.append(Pairs(pairs[enough], cosines[enough]))
    return joined(kept, ordered=False)


def _cosines(rows: Rows, pairs: IntArray) -> DoubleArray:
    used, places = np.unique(pairs, return_inverse=True)
    near = rows[used].astype(np.float64)
    first, second = places.reshape(-1, 2).T
    # einsum and not a BLAS product: a pair's sum must not depend on the pairs beside it.
    return np.asarray(np.minimum(np.einsum("ij,ij->i", near[first], near[second]), 1))


def joined(parts: Iterable[Pairs], *, ordered: bool = True) -> Pairs:
    """Return the pairs of several parts as one; in order, and each once, unless told otherwise."""
    parts = list(parts)
    rows = np.concatenate([np.empty((0, 2), np.int64), *(one.rows for one in parts)])
    cosines = np.concatenate([np.empty(0), *(one.cosines for one in parts)])
    if ordered:
        rows, first = np.unique(rows, axis=0, return_index=True)
        cosines = cosines[first]
    return Pairs(rows, cosines)


def gathered(
    look: Callable[[int], Pairs], work: Iterable[int], threads: int | None, most: int
) -> Iterator[Pairs]:
    """Yield what is found in each piece of work, several at a time on a thread each.

    Raises:
        InputError: more pairs than `most`.
    """
    found = 0
    with single_threads(threads) as run:
        for pairs in run(look, work):
            found += len(pairs)
            if found > most:
                raise InputError(
                    f"more than {most:,} pairs are that alike; ask for a higher cosine, or leave "
                    "out copies first"
                )
            yield pairs
