"""Ordered classes: ranges such as bins of age, and by how much an answer misses in them."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.statistics import Estimate, bootstrap
from embedkit.vectors import DoubleArray, IntArray

FEWEST = 3  # classes: of two, one is always next to the other
_NUMBER = r"(\d+(?:\.\d+)?)"
_RANGE = re.compile(rf"{_NUMBER}\s*(?:-|–|to)\s*{_NUMBER}")
_ABOVE = re.compile(rf"(?:(?:more than|over|above|>=?)\s*{_NUMBER}|{_NUMBER}\s*(?:\+|and more))")
_BELOW = re.compile(rf"(?:less than|under|below|up to|<=?)\s*{_NUMBER}")


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


def in_order(labels: Sequence[str]) -> tuple[str, ...] | None:
    """Return classes from the lowest to the highest; None where they are no ranges of numbers.

    Ranges are written `4-10`, `0 to 2`, `70+`, `more than 70`, `under 3` and the like, and do not
    overlap but at their ends.
    """
    found = [_ends(label.strip().lower()) for label in labels]
    ends = [one for one in found if one is not None]
    if len(ends) < max(FEWEST, len(labels)):
        return None
    order = sorted(range(len(labels)), key=lambda place: ends[place])
    apart = all(ends[a][1] <= ends[b][0] for a, b in itertools.pairwise(order))
    return tuple(labels[place] for place in order) if apart else None


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
    k = int(max(y.max(), answers.max())) + 1
    places = np.arange(k)
    given, said = (np.asarray(of[:, None] == places, np.float64) for of in (y, answers))
    penalty = np.subtract.outer(places, places).astype(np.float64) ** 2

    def figures(weights: DoubleArray) -> DoubleArray:
        total = weights.sum(axis=1)
        expected = ((weights @ given) @ penalty * (weights @ said)).sum(axis=1) / total
        observed = weights @ off.astype(np.float64) ** 2
        ratio = np.divide(observed, expected, out=np.full_like(total, np.nan), where=expected > 0)
        return np.column_stack([weights @ off / total, weights @ (off <= 1) / total, 1 - ratio])

    error, within, kappa = bootstrap(figures, clusters, seed=seed, lowest=-1.0)
    constant = float(np.abs(y[:, None] - places).mean(axis=0).min())
    return OrderedMetrics(error, constant, within, kappa)


def _ends(label: str) -> tuple[float, float] | None:
    if match := _RANGE.fullmatch(label):
        low, high = map(float, match.groups())
        return (low, high) if low <= high else None
    if match := _ABOVE.fullmatch(label):
        return float(match[1] or match[2]), np.inf
    if match := _BELOW.fullmatch(label):
        return -np.inf, float(match[1])
    return None
