"""Blindfolds: heads that see a file's nuisances and not its picture, in nested sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from embedkit.audits.base import ALPHA, Statement, rounded
from embedkit.audits.columns import Coded, matrix
from embedkit.audits.nuisance import SETS
from embedkit.audits.relabellings import Relabelled
from embedkit.heads.nuisance import NUISANCE_HEADS, nuisance_probabilities
from embedkit.statistics import Estimate, bootstrap, holm, weighted_means, wilson
from embedkit.vectors import BoolArray, DoubleArray, IntArray


@dataclass(frozen=True, slots=True)
class Score:
    """How a blindfolded head did on some images.

    Attributes:
        accuracy: of the head.
        majority: of the commonest class of its training images.
        gain: the former less the latter, paired.
        p: that its answers have nothing to do with the labels, by permutation over clusters.
        adjusted: the same by Holm over all heads of the report.
    """

    accuracy: Estimate
    majority: Estimate
    gain: Estimate
    p: float
    adjusted: float

    def tells(self, material: float) -> bool:
        """Whether it knows more than the commonest class, and enough to matter."""
        return self.gain.low > 0 and self.adjusted < ALPHA and self.gain.value >= material

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "majority": self.majority.to_dict(),
            "above_majority": self.gain.to_dict(),
            "p": rounded(self.p),
            "p_adjusted": rounded(self.adjusted),
        }


@dataclass(frozen=True, slots=True)
class Blindfold:
    """A head on all columns up to one set.

    Attributes:
        sets: whose columns it sees.
        kind: one of `NUISANCE_HEADS`.
        columns: how many vary.
        crossed: score on all images, by heads that saw neither them nor their relatives.
        split: score on the test split, by a head on train.
        probabilities: (n, k) of `crossed`.
    """

    sets: tuple[str, ...]
    kind: str
    columns: int
    crossed: Score
    split: Score
    probabilities: DoubleArray = field(repr=False, compare=False)

    def tells(self, material: float) -> bool:
        """Whether it knows more than the commonest class, on all images or on the test split."""
        return self.crossed.tells(material) or self.split.tells(material)

    def log_loss(self, y: IntArray) -> float:
        """Return the mean -log p of the images' classes."""
        own = self.probabilities[np.arange(len(y)), y]
        return float(-np.log(np.maximum(own, 1e-6)).mean())

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "sets": list(self.sets),
            "head": self.kind,
            "columns": self.columns,
            "cross_validation": self.crossed.to_dict(),
            "given_split": self.split.to_dict(),
            "statement": Statement.ASSOCIATION.value,
        }


def blindfold(
    coded: Sequence[Coded],
    y: IntArray,
    drawn: Relabelled,
    clusters: IntArray,
    folds: IntArray,
    train: BoolArray,
    test: BoolArray,
    *,
    n_classes: int,
    seed: int,
) -> tuple[Blindfold, ...]:
    """Train both kinds of heads on header, header and geometry, and so on.

    A set in which nothing varies adds no head. The p-value permutes the labels and keeps the
    answers, which were made without the images that they are compared with: nothing is trained
    again, and a head that always answers the commonest class has p = 1.

    Args:
        coded: columns of n images that vary.
        y: (n,) class numbers.
        drawn: (draws, n) of `relabellings`.
        clusters: (n,) of relatives.
        folds: (n,) of whole clusters.
        train: (n,) the given training images.
        test: (n,) the given test images.
        n_classes: number of classes.
        seed: of trees and bootstraps.
    """
    sets: list[tuple[tuple[str, ...], str, int]] = []
    probabilities, of_test = [], []
    for depth, last in enumerate(SETS, start=1):
        if not any(one.column.set == last for one in coded):
            continue
        seen = [one for one in coded if one.column.set in SETS[:depth]]
        names = tuple(name for name in SETS[:depth] if any(o.column.set == name for o in seen))
        x = matrix(seen)
        for kind in NUISANCE_HEADS:
            p = np.zeros((len(y), n_classes))
            for fold in np.unique(folds):
                inside, asked = folds != fold, folds == fold
                p[asked] = nuisance_probabilities(
                    kind, x[inside], y[inside], x[asked], n_classes=n_classes, seed=seed
                )
            sets.append((names, kind, len(seen)))
            probabilities.append(p)
            of_test.append(
                nuisance_probabilities(
                    kind, x[train], y[train], x[test], n_classes=n_classes, seed=seed
                )
            )
    if not sets:
        return ()
    most = np.zeros(len(y), np.int64)
    for fold in np.unique(folds):
        most[folds == fold] = np.bincount(y[folds != fold]).argmax()
    commonest = np.full(int(test.sum()), np.bincount(y[train]).argmax())
    crossed = scored(probabilities, most, y, drawn, clusters, seed=seed)
    split = scored(of_test, commonest, y[test], drawn[:, test], clusters[test], seed=seed)
    adjusted = holm([one.p for one in (*crossed, *split)])
    crossed, split = (
        [replace(one, adjusted=p) for one, p in zip(part, ps, strict=True)]
        for part, ps in ((crossed, adjusted[: len(sets)]), (split, adjusted[len(sets) :]))
    )
    return tuple(
        Blindfold(*given, whole, part, p)
        for given, whole, part, p in zip(sets, crossed, split, probabilities, strict=True)
    )


def scored(
    probabilities: Sequence[DoubleArray],
    commonest: IntArray,
    y: IntArray,
    drawn: Relabelled,
    clusters: IntArray,
    *,
    seed: int,
) -> list[Score]:
    """Score answers that were made without the images that they are compared with.

    The p-value permutes the labels and keeps the answers; see `blindfold`.

    Args:
        probabilities: (n, k) of each head.
        commonest: (n,) class that is the commonest among each image's training images.
        y: (n,) class numbers.
        drawn: (draws, n) of `relabellings`.
        clusters: (n,) of relatives.
        seed: of the bootstrap.

    Returns:
        A score of each head; p-values adjusted by Holm over them.
    """
    answers = np.stack([p.argmax(axis=1) for p in probabilities])
    right, guessed = answers == y, commonest == y
    rows = np.concatenate([right, [guessed], 1.0 * right - guessed])
    made = bootstrap(weighted_means(rows), clusters, seed=seed, lowest=-1.0)
    n, heads = len(y), len(answers)
    if len(np.unique(clusters)) == n:
        made[: heads + 1] = [wilson(int(row.sum()), n) for row in rows[: heads + 1]]
    scores = []
    for h in range(heads):
        by_chance = (drawn == answers[h]).sum(axis=1)
        p = float((1 + (by_chance >= right[h].sum()).sum()) / (1 + len(drawn)))
        scores.append(Score(made[h], made[heads], made[heads + 1 + h], p, p))
    adjusted = holm([one.p for one in scores])
    return [replace(one, adjusted=p) for one, p in zip(scores, adjusted, strict=True)]
