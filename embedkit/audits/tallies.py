"""Tallies: counts of images by group, label and answer, of many draws of groups at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedkit.audits.relabellings import Relabelled
from embedkit.vectors import DoubleArray, IntArray


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one or of many (m) draws: images by group, and by group and class."""

    total: DoubleArray  # (m, g)
    right: DoubleArray  # (m, g)
    given: DoubleArray  # (m, g, k) that carry the class
    picked: DoubleArray  # (m, g, k) that are answered with it
    both: DoubleArray  # (m, g, k)

    def parity(self) -> DoubleArray:
        """(m,) largest difference of the groups in how often a class is answered."""
        return _widest(_share(self.picked, self.total[..., None]))

    def odds(self) -> DoubleArray:
        """(m,) largest difference of the groups in true- or false-positive rates of a class."""
        hit = _share(self.both, self.given)
        false = _share(self.picked - self.both, self.total[..., None] - self.given)
        return np.asarray(np.fmax(_widest(hit), _widest(false)))

    def largest(self) -> tuple[DoubleArray, DoubleArray]:
        """(m,) the largest difference of accuracies in standard errors, and as it is."""
        accuracy = _share(self.right, self.total)
        p = self.right.sum(axis=1) / self.total.sum(axis=1)
        one = np.divide(1, self.total, out=np.full_like(self.total, np.inf), where=self.total > 0)
        spread = np.sqrt(p * (1 - p))
        scaled = _share(_farthest(accuracy, one), spread, empty=0.0)
        return scaled, _widest(accuracy[..., None])

    def at_one_mix(self) -> DoubleArray:
        """(m,) the largest difference at the mix of all groups together, in standard errors."""
        mix = self.given.sum(axis=1, keepdims=True)
        rate = _share(self.both.sum(axis=1, keepdims=True), mix, empty=0.0)
        weight = mix / mix.sum(axis=2, keepdims=True)
        every = weight**2 * rate * (1 - rate)
        told = ((self.given > 0) | (mix == 0)).all(axis=2)
        variance = _share(every, self.given, empty=0.0).sum(axis=2)
        accuracy = (weight * _share(self.both, self.given, empty=0.0)).sum(axis=2)
        return _farthest(np.where(told, accuracy, np.nan), variance)


class Counter:
    """Counts images of one set by group, label and answer.

    Args:
        y: (n,) class numbers.
        answers: (n,) class numbers answered.
        groups: number of groups.
        k: number of classes.
    """

    def __init__(self, y: IntArray, answers: IntArray, groups: int, k: int) -> None:
        kinds, self.kind = np.unique(y * k + answers, return_inverse=True)
        self.groups, self.kinds = groups, len(kinds)
        self.given = (kinds[:, None] // k == np.arange(k)).astype(np.float64)
        self.picked = (kinds[:, None] % k == np.arange(k)).astype(np.float64)

    def drawn(self, members: npt.NDArray[Any]) -> Tally:
        """Count (m, n) draws of groups."""
        start = np.arange(len(members))[:, None] * self.groups + members
        cells = len(members) * self.groups * self.kinds
        counts = np.bincount((start * self.kinds + self.kind).ravel(), minlength=cells)
        return self._tally(counts.astype(np.float64))

    def weighted(self, weights: DoubleArray, members: IntArray) -> Tally:
        """Count one division of the images with (m, n) weights."""
        cell = members * self.kinds + self.kind
        order = np.argsort(cell, kind="stable")
        used, starts = np.unique(cell[order], return_index=True)
        counts = np.zeros((len(weights), self.groups * self.kinds))
        counts[:, used] = np.add.reduceat(weights[:, order], starts, axis=1)
        return self._tally(counts)

    def _tally(self, counts: DoubleArray) -> Tally:
        counts = counts.reshape(-1, self.groups, self.kinds)
        both = counts @ (self.given * self.picked)
        return Tally(
            counts.sum(axis=2),
            both.sum(axis=2),
            counts @ self.given,
            counts @ self.picked,
            both,
        )


def tallies(counter: Counter, drawn: Relabelled) -> Iterator[Tally]:
    """Count the draws, (draws, n), as many at once as fit."""
    step = max(1, 2_000_000 // max(drawn.shape[1], counter.groups * counter.kinds))
    for start in range(0, len(drawn), step):
        yield counter.drawn(drawn[start : start + step])


def _farthest(values: DoubleArray, variances: DoubleArray) -> DoubleArray:
    """Return (m,) the largest difference of any two in standard errors; (m, g) each, NaN unknown.

    Two that do not vary at all are no error apart.
    """
    farthest = np.zeros(len(values))
    for g in range(values.shape[1] - 1):
        apart = np.abs(values[:, g + 1 :] - values[:, [g]])
        error = np.sqrt(variances[:, g + 1 :] + variances[:, [g]])
        scaled = np.divide(apart, error, out=np.zeros_like(apart), where=error > 0)
        np.fmax(farthest, np.nan_to_num(scaled).max(axis=1), out=farthest)
    return farthest


def _share(part: DoubleArray, whole: DoubleArray, *, empty: float = np.nan) -> DoubleArray:
    out = np.full(np.broadcast_shapes(part.shape, whole.shape), empty)
    return np.asarray(np.divide(part, whole, out=out, where=whole > 0))


def _widest(rates: DoubleArray) -> DoubleArray:
    """Return (m,) the largest difference between groups, of (m, g, k) rates in any class."""
    known = np.isfinite(rates)
    high = np.where(known, rates, -np.inf).max(axis=1)
    low = np.where(known, rates, np.inf).min(axis=1)
    return np.asarray(np.where(high >= low, high - low, 0.0).max(axis=1))
