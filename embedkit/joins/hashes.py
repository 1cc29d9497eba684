"""Hashes of 64 bits that differ in few: exactly, by products of rows of plus and minus one."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from embedkit.hardware import has_bf16
from embedkit.joins.blocks import COLUMNS, ROWS, Hit, hits
from embedkit.joins.bounds import single_threads
from embedkit.vectors import IntArray

Hashes = npt.NDArray[np.uint64]
WIDTH = 64
MANY = 2_000_000  # pairs that are held before only the nearest of each row are kept


def close_hashes(
    hashes: Hashes, others: Sequence[Hashes], *, bits: int, crowd: int, threads: int | None = None
) -> IntArray:
    """Return the pairs of rows whose hashes differ in at most so many bits.

    The product of two rows of plus and minus one is 64 less twice the bits in which they differ, a
    whole number that bf16 holds exactly. n * n * 64 multiplications for each of `others`.

    Args:
        hashes: (n,) of the rows.
        others: forms of the same, (n,) each, of which the nearest counts; `hashes` among them.
        bits: that may differ.
        crowd: of later rows, the nearest that are kept of each row; of equals the first.
        threads: that compute; the result does not depend on it.

    Returns:
        (m, 2), the smaller row first, in no order.
    """
    signs = _signs(hashes)
    theirs = [_signs(one) for one in others]

    def look(start: int) -> IntArray:
        found: list[Hit] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        held = 0
        for column in range(start - start % COLUMNS, len(hashes), COLUMNS):
            for form in theirs:
                row, other = hits(
                    signs[start : start + ROWS], form[column : column + COLUMNS], WIDTH - 2 * bits
                )
                later = row + start < other + column
                found.append((row[later] + start, other[later] + column))
                held += int(later.sum())
            if held > MANY:
                found = [_nearest(found, hashes, others, crowd)]
                held = len(found[0][0])
        return np.stack(_nearest(found, hashes, others, crowd), axis=1)

    with single_threads(threads) as run:
        made = list(run(look, range(0, len(hashes), ROWS)))
    return np.concatenate([np.empty((0, 2), np.int64), *made])


def _signs(hashes: Hashes) -> torch.Tensor:
    flags = np.unpackbits(hashes.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1)
    signs = torch.from_numpy(flags.astype(np.int8) * 2 - 1)
    return signs.to(torch.bfloat16 if has_bf16() else torch.float32)


def _nearest(found: list[Hit], hashes: Hashes, others: Sequence[Hashes], crowd: int) -> Hit:
    """Return the pairs, each once, of every row with its nearest."""
    rows, columns = (np.concatenate(side) for side in zip(*found, strict=True))
    rows, columns = np.unique(np.stack([rows, columns]), axis=1)
    differ = np.min([np.bitwise_count(hashes[rows] ^ one[columns]) for one in others], axis=0)
    order = np.lexsort((columns, differ, rows))
    rows, columns = rows[order], columns[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return rows[rank < crowd], columns[rank < crowd]
