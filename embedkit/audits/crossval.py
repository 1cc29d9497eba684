"""Grouped against plain cross-validation: what relatives are worth, with every image tested."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.audits.base import Statement
from embedkit.audits.fits import Question
from embedkit.audits.refits import Bench
from embedkit.heads.classifier import fold_numbers
from embedkit.statistics import Estimate, corrected_resampled
from embedkit.vectors import DoubleArray, IntArray

REPEATS = 3


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Accuracy of folds that split clusters of relatives, and of folds that keep them together.

    Attributes:
        plain: accuracy with folds drawn image by image, each class in the same proportion.
        grouped: accuracy with folds of whole clusters.
        difference: plain less grouped.
        folds: in each repeat.
        clusters: independent clusters among the images.
        reason: why nothing was measured; empty if it was.
    """

    plain: Estimate
    grouped: Estimate
    difference: Estimate
    folds: int
    clusters: int
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "plain": self.plain.to_dict(),
            "grouped": self.grouped.to_dict(),
            "difference": self.difference.to_dict(),
            "folds": self.folds,
            "repeats": REPEATS,
            "clusters": self.clusters,
            "statement": Statement.MATCHED.value,
            "reason": self.reason or None,
        }

    def sentence(self) -> str:
        """Say it in a line."""
        if self.reason:
            return f"Cross-validation did not run: {self.reason}."
        gap = self.difference
        return (
            f"Cross-validation over all {gap.n} images: {self.plain.value:.1%} where folds part "
            f"relatives, {self.grouped.value:.1%} where they do not; relatives are worth "
            f"{100 * gap.value:.1f} points [{100 * gap.low:.1f}, {100 * gap.high:.1f}] there "
            f"({Statement.MATCHED.value})."
        )


def cross_validate(bench: Bench) -> CrossValidation:
    """Test every labelled image of all splits twice: with its relatives in train, and without.

    A plain fold has exactly as many images of each class as the grouped fold beside it, and both
    heads have the same hyper-parameter, chosen once a repeat inside the first grouped fold's
    training part: what is left between the two is what relatives on both sides are worth.

    Args:
        bench: with the rows and clusters of all splits.
    """
    rows = bench.pool
    y, clusters = bench.y[rows], bench.clusters[rows]
    n_clusters = len(np.unique(clusters))
    reason = _why_not(y, clusters)
    if reason:
        nothing = Estimate(np.nan, np.nan, np.nan, len(rows))
        return CrossValidation(nothing, nothing, nothing, 0, n_clusters, reason)
    repeats = []
    for repeat in range(REPEATS):
        generator = np.random.default_rng([bench.seed, repeat])
        whole = fold_numbers(y, clusters, seed=int(generator.integers(2**31)))
        split = whole.copy()
        for label in np.unique(y):
            of_label = np.flatnonzero(y == label)
            split[of_label] = generator.permutation(whole[of_label])
        repeats.append(_questions(rows, whole) + _questions(rows, split))
    folds = len(repeats[0]) // 2
    shares = _shares(bench, repeats)
    first = np.array([share for one in shares for share in one[folds:]])
    second = np.array([share for one in shares for share in one[:folds]])

    def mean(figures: DoubleArray, lowest: float = 0.0) -> Estimate:
        return corrected_resampled(
            figures, share=1 / (folds - 1), clusters=n_clusters, n=len(rows), lowest=lowest
        )

    return CrossValidation(mean(first), mean(second), mean(first - second, -1.0), folds, n_clusters)


def _why_not(y: IntArray, clusters: IntArray) -> str:
    if len(np.unique(clusters)) == len(y):
        return "no two images are related, so plain and grouped folds are the same"
    if min(len(np.unique(clusters[y == label])) for label in np.unique(y)) < 2:
        return "all images of a class are related, so no fold of it could be tested without them"
    return ""


def _questions(rows: IntArray, folds: IntArray) -> list[Question]:
    return [Question(rows[folds == one], rows[folds != one]) for one in np.unique(folds)]


def _learnable(bench: Bench, question: Question) -> bool:
    return len(np.unique(bench.y[question.rows])) > 1


def _shares(bench: Bench, repeats: Sequence[Sequence[Question]]) -> list[list[float]]:
    """Return the share of each fold that is answered rightly.

    The first fold of a repeat that leaves two classes to learn chooses for all of them.
    """
    places = [
        next((place for place, one in enumerate(folds) if _learnable(bench, one)), 0)
        for folds in repeats
    ]
    leads = bench.ask([folds[place] for folds, place in zip(repeats, places, strict=True)])
    others = iter(
        bench.ask(
            [
                replace(one, value=lead.value)
                for folds, first, lead in zip(repeats, places, leads, strict=True)
                for place, one in enumerate(folds)
                if place != first
            ]
        )
    )
    return [
        [
            float(np.mean((lead if place == first else next(others)).classes == bench.y[one.asked]))
            for place, one in enumerate(folds)
        ]
        for folds, first, lead in zip(repeats, places, leads, strict=True)
    ]
