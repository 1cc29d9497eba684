"""The vectors of a space as they lie on disk: a matrix of which no copy is made in memory."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embedkit.vectors import FloatArray


class Shards:
    """Rows of a space, read from its mapped shards; each shard is checked when first touched.

    What is mapped belongs to the system's cache of files and is given up when memory is short.
    """

    def __init__(
        self, lengths: Sequence[int], dimension: int, shard: Callable[[int], FloatArray]
    ) -> None:
        """Look at shards.

        Args:
            lengths: rows of each.
            dimension: d.
            shard: maps one and checks it, by its place.
        """
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self._dimension = dimension
        self._shard = shard
        self._mapped: dict[int, FloatArray] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return int(self._starts[-1]), self._dimension

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> FloatArray:
        """Return rows by a slice, (m,) numbers or (n,) marks: (m, d) float32.

        Raises:
            StoreError: a shard of theirs is missing or damaged.
        """
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        elif rows.dtype == bool:
            rows = np.flatnonzero(rows)
        made = np.empty((len(rows), self._dimension), np.float32)
        places = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(places, kind="stable")
        there, firsts = np.unique(places[order], return_index=True)
        ends = [*firsts[1:].tolist(), len(rows)]
        for place, first, end in zip(there.tolist(), firsts.tolist(), ends, strict=False):
            asked = order[first:end]
            made[asked] = self._of(place)[rows[asked] - self._starts[place]]
        return made

    def _of(self, place: int) -> FloatArray:
        if place not in self._mapped:
            self._mapped[place] = np.asarray(self._shard(place))
        return self._mapped[place]
