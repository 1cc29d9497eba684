"""Ordered classes: ranges such as bins of age, and by how much an answer misses in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.ranges import in_order
from embedkit.statistics import Estimate, bootstrap
from embedkit.vectors import DoubleArray, IntArray

FEWEST = 3  # classes: of two, one is always next to the other


@dataclass(frozen=True, slots=True)
class OrderedMetrics:
    """How far answers are from the label, in classes.

    Attributes:
        error: mean absolute difference of the places of answer and label.
        constant: the least that always the same answer reaches on these images.
        within_one: share of answers that are right or next to it.
        kappa: Cohen's kappa with quadratic weights (J. Cohen, "Weighted kappa", Psychological
            Bulletin 70, 1968).
    """

    error: Estimate
    constant: float
    within_one: Estimate
    kappa: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "mean_absolute_error_in_classes": self.error.to_dict(),
            "of_the_best_constant": round(self.constant, 6),
            "within_one_class": self.within_one.to_dict(),
            "quadratic_kappa": self.kappa.to_dict(),
        }


def ordered_classes(labels: Sequence[str]) -> tuple[str, ...] | None:
    """Return classes from the lowest to the highest; None where they are no ranges of numbers."""
    return in_order(labels) if len(labels) >= FEWEST else None


def measure_ordered(
    y: IntArray, answers: IntArray, clusters: IntArray, *, seed: int
) -> OrderedMetrics:
    """Compare the places of answers and labels.

    Args:
        y: (n,) places of the labels in their order.
        answers: (n,) of the answers.
        clusters: (n,) images that belong together.
        seed: of the bootstrap.
    """
    off = np.abs(y - answers)
    k = max(2, int(max(y.max(), answers.max())) + 1)
    places = np.arange(k)
    given, said = (np.asarray(of[:, None] == places, np.float64) for of in (y, answers))
    penalty = np.subtract.outer(places, places).astype(np.float64) ** 2

    def distances(weights: DoubleArray) -> DoubleArray:
        total = weights.sum(axis=1)
        return np.column_stack([weights @ off / (k - 1) / total, weights @ (off <= 1) / total])

    def agreement(weights: DoubleArray) -> DoubleArray:
        total = weights.sum(axis=1)
        expected = ((weights @ given) @ penalty * (weights @ said)).sum(axis=1) / total
        observed = weights @ off.astype(np.float64) ** 2
        ratio = np.divide(observed, expected, out=np.full_like(total, np.nan), where=expected > 0)
        return np.asarray(1 - ratio)[:, None]

    share, within = bootstrap(distances, clusters, seed=seed)
    (kappa,) = bootstrap(agreement, clusters, seed=seed, lowest=-1.0)
    value, low, high = ((k - 1) * one for one in (share.value, share.low, share.high))
    constant = float(np.abs(y[:, None] - places).mean(axis=0).min())
    return OrderedMetrics(Estimate(value, low, high, share.n), constant, within, kappa)
