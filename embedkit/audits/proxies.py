"""Proxies: whether attributes tell the label, and whether the vectors tell the attributes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.blindfolds import Score, scored
from embedkit.audits.columns import code, matrix
from embedkit.audits.groups import Attribute
from embedkit.audits.nuisance import Column
from embedkit.audits.opinions import Panel
from embedkit.audits.refits import Bench
from embedkit.audits.relabellings import relabellings
from embedkit.heads.classifier import fold_numbers
from embedkit.heads.nuisance import NUISANCE_HEADS, nuisance_probabilities
from embedkit.statistics import Estimate, bootstrap, weighted_means
from embedkit.vectors import IntArray

DRAWS = 999
FEWEST = 5  # independent images of a class or value
MOST = 1500  # images that show an attribute
ALL = "all of them"


@dataclass(frozen=True, slots=True)
class Proxy:
    """How well attributes alone tell the label.

    Attributes:
        name: of the attribute, or `ALL`.
        head: kind.
        score: over all labelled images, by heads that saw neither them nor their relatives.
    """

    name: str
    head: str
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"attribute": self.name, "head": self.head, **self.score.to_dict()}


@dataclass(frozen=True, slots=True)
class Shown:
    """How well the vectors tell an attribute.

    Attributes:
        name: of the attribute.
        accuracy: of a logistic head over all images, by heads that saw no relative of them.
        majority: of the commonest value.
        gain: the former less the latter, paired.
        reason: why it was not measured; empty if it was.
    """

    name: str
    accuracy: Estimate
    majority: Estimate
    gain: Estimate
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "attribute": self.name,
            "accuracy": self.accuracy.to_dict(),
            "majority": self.majority.to_dict(),
            "above_majority": self.gain.to_dict(),
            "not_run_reason": self.reason or None,
        }


def find_proxies(bench: Bench, attributes: Sequence[Attribute]) -> tuple[Proxy, ...] | str:
    """Tell the label from attributes alone: from all together, and from each.

    P-values permute the labels over clusters and keep the answers, adjusted by Holm over all heads.

    Args:
        bench: with the labelled images of all splits.
        attributes: of all images; an image without a value counts as one of another value.

    Returns:
        What tells the label best first, all together before each; a sentence where images are too
        few.
    """
    rows = _enough(bench.pool, bench.y, bench.clusters)
    classes, y = np.unique(bench.y[rows], return_inverse=True)
    if len(classes) < 2:
        return f"fewer than two classes have {FEWEST} independent images"
    clusters, y = bench.clusters[rows], y.ravel().astype(np.int64)
    folds = fold_numbers(y, clusters, seed=bench.seed)
    coded = [code(Column(one.name, "attribute", one.values), rows) for one in attributes]
    asked = [(ALL, kind, coded) for kind in NUISANCE_HEADS] if len(coded) > 1 else []
    asked += [(one.column.name, "logistic", [one]) for one in coded]
    made, most = [], np.zeros(len(y), np.int64)
    for fold in np.unique(folds):
        most[folds == fold] = np.bincount(y[folds != fold]).argmax()
    for _, kind, columns in asked:
        x, p = matrix(columns), np.zeros((len(y), len(classes)))
        for fold in np.unique(folds):
            inside, outside = folds != fold, folds == fold
            p[outside] = nuisance_probabilities(
                kind, x[inside], y[inside], x[outside], n_classes=len(classes), seed=bench.seed
            )
        made.append(p)
    drawn = relabellings(y, clusters, draws=DRAWS, seed=bench.seed)
    scores = scored(made, most, y, drawn, clusters, seed=bench.seed)
    found = [Proxy(name, kind, s) for (name, kind, _), s in zip(asked, scores, strict=True)]
    return tuple(sorted(found, key=lambda one: (one.name != ALL, -one.score.gain.value)))


def shown_attributes(bench: Bench, attributes: Sequence[Attribute]) -> tuple[Shown, ...]:
    """Tell each attribute from the vectors, with a logistic head.

    Args:
        bench: with the labelled images of all splits; `MOST` of them at most, drawn by clusters.
        attributes: of all images.
    """
    return tuple(_shown(bench, one) for one in attributes)


def _shown(bench: Bench, attribute: Attribute) -> Shown:
    values = sorted({value for value in attribute.values if value is not None})
    number = {value: place for place, value in enumerate(values)}
    every = np.array([number.get(one or "", -1) for one in attribute.values], np.int64)
    rows = bench.pool[every[bench.pool] >= 0]
    rows = _enough(_some(rows, bench.clusters, seed=bench.seed), every, bench.clusters)
    there, y = np.unique(every[rows], return_inverse=True)
    if len(there) < 2:
        unknown = Estimate(float("nan"), float("nan"), float("nan"), len(rows))
        few = f"fewer than two of its values have {FEWEST} independent images"
        return Shown(attribute.name, unknown, unknown, unknown, few)
    clusters, y = bench.clusters[rows], y.ravel().astype(np.int64)
    panel = Panel(bench.vectors[rows], y, clusters, n_classes=len(there), seed=bench.seed)
    right = panel.head.argmax(axis=1) == y
    commonest = y == np.bincount(y).argmax()
    rates = np.stack([right, commonest, 1.0 * right - commonest])
    accuracy, majority, gain = bootstrap(
        weighted_means(rates), clusters, seed=bench.seed, lowest=-1.0
    )
    return Shown(attribute.name, accuracy, majority, gain)


def _some(rows: IntArray, clusters: IntArray, *, seed: int) -> IntArray:
    """Draw at most `MOST` images, of every cluster as many if there are more."""
    order = np.random.default_rng(seed).permutation(len(rows))
    _, member = np.unique(clusters[rows[order]], return_inverse=True)
    member = member.ravel()
    # How many of its cluster come before each image: first one of each, then a second, and so on.
    by_cluster = np.argsort(member, kind="stable")
    starts = np.searchsorted(member[by_cluster], member[by_cluster])
    turn = np.empty(len(rows), np.int64)
    turn[by_cluster] = np.arange(len(rows)) - starts
    return np.asarray(np.sort(rows[order[np.argsort(turn, kind="stable")[:MOST]]]))


def _enough(rows: IntArray, y: IntArray, clusters: IntArray) -> IntArray:
    """Keep the rows whose value, (n,) of all images, has enough independent images among them."""
    kept = [
        value
        for value in np.unique(y[rows])
        if len(np.unique(clusters[rows[y[rows] == value]])) >= FEWEST
    ]
    return np.asarray(rows[np.isin(y[rows], kept)])
