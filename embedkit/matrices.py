"""Matrices too large to be copied: rows are gathered block by block, when they are asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embedkit.vectors import FloatArray, IntArray

LARGE = 100_000  # rows; beyond it nothing is copied whole, and choices are made on samples
BLOCK = 4096  # rows that are held at once


class Matrix(Protocol):
    """(n, d) float32, of which rows can be had; an array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""

    def __len__(self) -> int:
        """Return n."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Return rows, by a slice or their (m,) numbers or marks: (m, d) float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some rows of a matrix, in an order of their own; none is read before it is asked for."""

    whole: Matrix
    rows: IntArray

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self.rows), self.whole.shape[1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> FloatArray:
        """Return some of them."""
        return np.asarray(self.whole[self.rows[rows]])


def large(n: int) -> bool:
    """Say whether so many rows are too many to be copied whole."""
    return n > LARGE


def part_of(matrix: Matrix, rows: IntArray) -> Matrix:
    """Return rows of a matrix: an array of their own, or a `Part` where they are too many."""
    if not large(len(rows)):
        return np.asarray(matrix[rows])
    return Part(matrix.whole, matrix.rows[rows]) if isinstance(matrix, Part) else Part(matrix, rows)


def blocks(n: int, size: int = 0) -> Iterator[slice]:
    """Yield slices of at most `size` rows that make up `n`."""
    step = size or BLOCK
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
