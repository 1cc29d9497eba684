"""Rows: vectors that lie in several arrays, mapped files as a rule, read where they are needed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embedkit.vectors import FloatArray


class Rows:
    """Vectors in several parts, (n, d) float32 together, of which few need be in memory at once.

    Attributes:
        shape: (n, d).
    """

    def __init__(
        self, part: Callable[[int], FloatArray], lengths: Sequence[int], dimension: int
    ) -> None:
        """Take how to read them.

        Args:
            part: returns a part, (m, d); called again whenever it is needed, from any thread.
            lengths: rows of each part.
            dimension: d.
        """
        self._part = part
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.shape = (int(self._starts[-1]), dimension)

    @classmethod
    def of(cls, array: FloatArray) -> "Rows":
        """Return the rows of an array, which may be a mapped file."""
        return cls(lambda place: array, [len(array)], array.shape[1])

    def __len__(self) -> int:
        """Return n."""
        return self.shape[0]

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> FloatArray:
        """Return rows by a slice, (m,) numbers or (n,) marks, in the order asked for: (m, d)."""
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        elif rows.dtype == bool:
            rows = np.flatnonzero(rows)
        made = np.empty((len(rows), self.shape[1]), np.float32)
        places = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(places, kind="stable")
        there, firsts = np.unique(places[order], return_index=True)
        # Of no rows at all `split` makes one empty part.
        for place, asked in zip(there.tolist(), np.split(order, firsts[1:]), strict=False):
            made[asked] = self._part(place)[rows[asked] - self._starts[place]]
        return made

    def between(self, start: int, end: int) -> FloatArray:
        """Return the rows from `start` up to `end`; no copy where they are of one part."""
        end = min(end, len(self))
        first, last = np.searchsorted(self._starts, [start, max(end - 1, start)], side="right") - 1
        parts = [
            self._part(place)[max(start - low, 0) : end - low]
            for place, low in enumerate(self._starts[:-1].tolist())
            if first <= place <= last
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
