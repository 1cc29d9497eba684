"""Bands: accuracies of several groups, and intervals that hold all their differences at once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from embedkit.statistics import CONFIDENCE, POWER, Estimate
from embedkit.vectors import BoolArray, DoubleArray, IntArray

DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Difference:
    """The gap between two groups.

    Attributes:
        better: the group answered rightly more often.
        worse: the other.
        gap: difference of their accuracies; the interval is simultaneous over all pairs.
    """

    better: str
    worse: str
    gap: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"better": self.better, "worse": self.worse, "gap": self.gap.to_dict()}


@dataclass(frozen=True, eq=False)
class Band:
    """Accuracies of groups, and what is known of their differences.

    Attributes:
        values: (g,) accuracy of each group.
        centres: (g,) the same, one right and one wrong answer added to each group.
        errors: (g, g) standard error of the difference of two groups.
        largest: (draws,) sorted, the largest difference of any two groups in standard errors, where
            none differ.
        n: images.
    """

    values: DoubleArray
    centres: DoubleArray
    errors: DoubleArray
    largest: DoubleArray
    n: int

    def critical(self, tests: int = 1) -> float:
        """Return the standard errors that the largest difference stays below, in 95% of cases.

        Args:
            tests: that are made at the same time; 5% is divided by them.
        """
        return float(np.quantile(self.largest, 1 - (1 - CONFIDENCE) / tests))

    @cached_property
    def limits(self) -> tuple[DoubleArray, DoubleArray]:
        """(g, g) simultaneous limits of the row's accuracy less the column's."""
        middle, points = (a[:, None] - a for a in (self.centres, self.values))
        spread = self.critical() * self.errors
        # A figure lies in its own interval, also where the added answers move the middle far.
        low, high = np.minimum(middle - spread, points), np.maximum(middle + spread, points)
        return np.maximum(low, -1.0), np.minimum(high, 1.0)

    @property
    def reach(self) -> float:
        """The largest difference that any two groups may have."""
        low, high = self.limits
        apart = ~np.eye(len(low), dtype=bool)
        return float(np.maximum(high, -low)[apart].max())

    def detectable(self, tests: int) -> float:
        """Return the gap that 4 of 5 such tests would have found, whichever two groups had it."""
        return float((self.critical(tests) + POWER) * self.errors.max())

    def gap(self, better: int, worse: int) -> Estimate:
        """Return the difference of two groups with its simultaneous interval."""
        low, high = self.limits
        value = float(self.values[better] - self.values[worse])
        return Estimate(value, float(low[better, worse]), float(high[better, worse]), self.n)


def band(
    right: BoolArray,
    members: IntArray,
    strata: IntArray,
    weights: DoubleArray,
    clusters: IntArray,
    *,
    seed: int,
) -> Band:
    """Estimate accuracies of groups at one mix of strata, and bands of their differences.

    The errors come from sums over clusters of relatives, which may lie in several groups, and the
    largest of all differences from normal draws with the same correlations: a Gaussian multiplier
    bootstrap over clusters (V. Chernozhukov, D. Chetverikov, K. Kato, Annals of Statistics 41,
    2013). That alone is too narrow where nearly all answers are right, so one right and one wrong
    answer are added to the independent images of each group (A. Agresti, B. Caffo, The American
    Statistician 54, 2000).

    Args:
        right: (n,) whether each image is answered rightly.
        members: (n,) number of its group, each group of every stratum in two clusters or more.
        strata: (n,) number of its stratum; all zero for accuracies as they are.
        weights: (s,) of the strata, summing to 1.
        clusters: (n,) of relatives.
        seed: of the draws.
    """
    groups, k = int(members.max()) + 1, len(weights)
    cell = members * k + strata
    size = np.bincount(cell, minlength=groups * k).astype(np.float64)
    hits = np.bincount(cell, weights=right, minlength=groups * k)
    owners = np.unique(np.stack([cell, clusters]), axis=1)[0]
    families = np.bincount(owners, minlength=groups * k).astype(np.float64)
    mean = hits / size
    values = mean.reshape(groups, k) @ weights
    scale = np.tile(weights, groups) / size * np.sqrt(families / (families - 1))
    _, member = np.unique(clusters, return_inverse=True)
    sums = np.zeros((int(member.max()) + 1, groups))
    np.add.at(sums, (member.ravel(), members), (right - mean[cell]) * scale[cell])
    with threadpool_limits(1, user_api="blas"):
        covariance = sums.T @ sums
    variance = np.diag(covariance).copy()
    # As many independent images would tell as much; each family counts once where all are alike.
    alike = 1 / (weights**2 / families.reshape(groups, k)).sum(axis=1)
    told = np.divide(values * (1 - values), variance, out=alike.copy(), where=variance > 1e-15)
    worth = np.minimum(np.where(told > 0, told, alike), np.bincount(members))
    centres = (values * worth + 1) / (worth + 2)
    spread = np.sqrt(centres * (1 - centres) / (worth + 2))
    unit = np.sqrt(np.where(variance > 1e-15, variance, 1.0))
    correlation = covariance / unit[:, None] / unit
    np.fill_diagonal(correlation, 1.0)
    errors = _errors(correlation, spread)
    return Band(values, centres, errors, _largest(correlation, spread, errors, seed), len(right))


def _errors(correlation: DoubleArray, spread: DoubleArray) -> DoubleArray:
    """Return (g, g) standard errors of differences; zero on the diagonal."""
    shared = correlation * spread[:, None] * spread
    squares = spread[:, None] ** 2 + spread**2 - 2 * shared
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


def _largest(
    correlation: DoubleArray, spread: DoubleArray, errors: DoubleArray, seed: int
) -> DoubleArray:
    """Draw the largest difference in standard errors, where no group differs; sorted."""
    with threadpool_limits(1, user_api="blas"):
        values, vectors = np.linalg.eigh(correlation)
        root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T * spread
        drawn = np.random.default_rng(seed).normal(size=(DRAWS, len(spread))) @ root
    largest = np.zeros(DRAWS)
    for one in range(len(spread) - 1):
        beyond = np.maximum(errors[one, one + 1 :], 1e-9)
        apart = np.abs(drawn[:, one + 1 :] - drawn[:, [one]]) / beyond
        np.maximum(largest, apart.max(axis=1), out=largest)
    return np.sort(largest)
