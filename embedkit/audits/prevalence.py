"""Prevalence: how many images have a defect, in which class, and whether that is chance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.audits.base import ALPHA, rounded
from embedkit.audits.relabellings import Relabelled, relabellings
from embedkit.statistics import Estimate, benjamini_hochberg, proportion
from embedkit.vectors import BoolArray, DoubleArray, IntArray

DRAWS = 999
PER_CLASS = 10  # clusters, for a class to be compared with the others
ENOUGH = 5  # images with a defect in a class, to say that it sits there


@dataclass(frozen=True, slots=True)
class ClassShare:
    """How many images of one class have a defect."""

    label: str
    failing: int
    share: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"label": self.label, "failing": self.failing, "share": self.share.to_dict()}


@dataclass(frozen=True, slots=True)
class Prevalence:
    """How many images have a defect, and where they are.

    Attributes:
        failing: images.
        share: of those that were looked at.
        classes: in which there are some, largest share first.
        fullest: the class that has more of them than chance would give it by most; empty without
            one to compare.
        here: images of that class that have it.
        inside: share of that class.
        outside: share of all other classes.
        p: that some class gets as many by chance, by permutation of labels over clusters.
        adjusted: the same among all defects that some image has (Benjamini and Hochberg).
        material: least difference of shares that is worth naming.
    """

    failing: int
    share: Estimate
    classes: tuple[ClassShare, ...]
    fullest: str
    here: int
    inside: float
    outside: float
    p: float
    adjusted: float
    material: float

    @property
    def sits_in(self) -> str:
        """The class that the defect sits in; empty if it sits in none."""
        told = self.adjusted < ALPHA and self.inside - self.outside >= self.material
        return self.fullest if told and self.here >= ENOUGH else ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "failing": self.failing,
            "share": self.share.to_dict(),
            "classes": [one.to_dict() for one in self.classes],
            "fullest_class": None
            if not self.fullest
            else {
                "label": self.fullest,
                "share_of_class": rounded(self.inside),
                "share_of_others": rounded(self.outside),
                "p": rounded(self.p),
                "p_adjusted": rounded(self.adjusted),
                "sits_there": bool(self.sits_in),
            },
        }


def count_defects(
    marks: Sequence[tuple[BoolArray, BoolArray]],
    y: IntArray,
    labels: Sequence[str],
    clusters: IntArray,
    *,
    material: float,
    seed: int,
) -> list[Prevalence]:
    """Count the images with each defect, by class, and ask whether one class has too many.

    Args:
        marks: of each defect, (n,) the images that have it and (n,) those that were looked at.
        y: (n,) class numbers, -1 without a label.
        labels: names of the classes.
        clusters: (n,) images that are related.
        material: least difference of shares that is worth naming.
        seed: of everything drawn.
    """
    labelled = np.flatnonzero(y >= 0)
    large = [k for k in range(len(labels)) if len(np.unique(clusters[y == k])) >= PER_CLASS]
    drawn: Relabelled | None = None
    made = []
    for failing, judged in marks:
        found = np.flatnonzero(failing[labelled])
        fullest, here, p = "", 0, float("nan")
        inside = outside = float("nan")
        if len(found) and len(large) > 1:
            if drawn is None:
                drawn = relabellings(y[labelled], clusters[labelled], draws=DRAWS, seed=seed)
            excess = _excess(y[labelled], drawn, found, len(labels))[:, large]
            k = large[int(excess[0].argmax())]
            p = float((excess.max(axis=1) >= excess[0].max() - 1e-9).mean())
            fullest, here = labels[k], int(failing[y == k].sum())
            inside = float(failing[judged & (y == k)].mean())
            others = judged & (y >= 0) & (y != k)
            outside = float(failing[others].mean()) if others.any() else 0.0
        made.append(
            Prevalence(
                int(failing.sum()),
                _share(failing, judged, clusters, seed),
                _by_class(failing, judged, y, labels, clusters, seed),
                fullest,
                here,
                inside,
                outside,
                p,
                float("nan"),
                material,
            )
        )
    adjusted = benjamini_hochberg([one.p for one in made])
    return [replace(one, adjusted=p) for one, p in zip(made, adjusted, strict=True)]


def _excess(y: IntArray, drawn: Relabelled, found: IntArray, k: int) -> DoubleArray:
    """Return how many more each class has than its size gives it, in spreads: (1 + draws, k)."""
    every = np.concatenate([y[None, found], drawn[:, found]]).astype(np.int64)
    place = every + k * np.arange(len(every))[:, None]
    counts = np.bincount(place.ravel(), minlength=k * len(every)).reshape(len(every), k)
    size = np.bincount(y, minlength=k) / len(y)
    spread = np.sqrt(np.maximum(len(found) * size * (1 - size), 1e-12))
    return np.asarray((counts - len(found) * size) / spread)


def _share(failing: BoolArray, judged: BoolArray, clusters: IntArray, seed: int) -> Estimate:
    return proportion(failing[judged], clusters[judged], seed=seed)


def _by_class(
    failing: BoolArray,
    judged: BoolArray,
    y: IntArray,
    labels: Sequence[str],
    clusters: IntArray,
    seed: int,
) -> tuple[ClassShare, ...]:
    made = [
        ClassShare(
            labels[k],
            int(failing[y == k].sum()),
            _share(failing, judged & (y == k), clusters, seed),
        )
        for k in np.unique(y[failing & (y >= 0)])
    ]
    return tuple(sorted(made, key=lambda one: (-one.share.value, one.label)))
