"""Associations: what each nuisance column says of the label, all columns tested at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import ALPHA, Statement, rounded
from embedkit.audits.columns import Coded
from embedkit.audits.nuisance import SETS
from embedkit.audits.relabellings import Relabelled
from embedkit.statistics import Estimate, bootstrap, weighted_means
from embedkit.vectors import DoubleArray, IntArray

DRAWS = 999
LEAST = 0.01  # share of what there is to know of the label that is worth naming a column
NEARLY_ALL = 0.95  # of a class, and of the others without it, for a property of the whole class
SHOWN = 12  # columns that get an interval


@dataclass(frozen=True, slots=True)
class Marker:
    """The value of a column that tells one class best from the others.

    Attributes:
        words: the value.
        label: the class.
        inside: share of its images that have the value.
        outside: share of all other images that have it.
    """

    words: str
    label: str
    inside: float
    outside: float

    @property
    def class_wide(self) -> bool:
        """Whether (nearly) all images of the class have it, and (nearly) no others."""
        return self.inside >= NEARLY_ALL and self.outside <= 1 - NEARLY_ALL

    def sentence(self) -> str:
        """Say it, to go on after the column's name."""
        return (
            f"{self.words} in {self.inside:.0%} of {self.label!r} and in {self.outside:.0%} of "
            "the others"
        )


@dataclass(frozen=True, slots=True)
class Association:
    """What one column says of the label.

    Attributes:
        name: of the column.
        set: that it belongs to.
        explained: share of the label's entropy that the column explains beyond what labels that
            mean nothing give it by chance (adjusted mutual information), 0 to 1.
        accuracy: of the commonest class for each value, found on other clusters.
        gain: that accuracy less the one of the commonest class of all; with an interval for the
            strongest columns.
        p: by permutation of labels over clusters.
        adjusted: the same for the largest of all columns (max-T).
        marker: the value that tells a class best.
    """

    name: str
    set: str
    explained: float
    accuracy: float
    gain: Estimate
    p: float
    adjusted: float
    marker: Marker

    @property
    def present(self) -> bool:
        """Whether the column is tied to the label, and strongly enough to be named."""
        return self.adjusted < ALPHA and (self.explained >= LEAST or self.marker.class_wide)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "column": self.name,
            "set": self.set,
            "statistic": rounded(self.explained),
            "accuracy": rounded(self.accuracy),
            "above_majority": self.gain.to_dict(),
            "p": rounded(self.p),
            "p_adjusted": rounded(self.adjusted),
            "present": self.present,
            "class_wide": self.marker.class_wide,
            "marker": {
                "value": self.marker.words,
                "label": self.marker.label,
                "share_of_label": rounded(self.marker.inside),
                "share_of_others": rounded(self.marker.outside),
            },
            "statement": Statement.ASSOCIATION.value,
        }


def associate(
    coded: Sequence[Coded],
    y: IntArray,
    labels: Sequence[str],
    drawn: Relabelled,
    clusters: IntArray,
    folds: IntArray,
    *,
    seed: int,
) -> tuple[Association, ...]:
    """Test every column that varies against the label, the strongest first.

    The statistic is the mutual information of value and label. Its cube root is nearly normal; in
    standard deviations of its own permutations, columns of two values and of thirty can be
    compared, and the largest of all columns in each permutation is what a column has to exceed
    (P. Westfall, S. Young, "Resampling-based multiple testing", 1993). The share explained is
    adjusted for chance by the same permutations (N. Vinh, J. Epps, J. Bailey, JMLR 11, 2010).
    Accuracy alone would not do as a measure: in a set of one large class a column can say much of
    the small ones and never outvote the large one.

    A column that copies another ranks beside it; of columns that explain the same, to 2 in a
    hundred, the one that is nearest to the file goes first, for a picture follows from its file.

    Args:
        coded: columns of n images.
        y: (n,) class numbers.
        labels: names of the classes.
        drawn: (draws, n) of `relabellings`.
        clusters: (n,) of relatives.
        folds: (n,) of whole clusters.
        seed: of the bootstrap.
    """
    if not coded:
        return ()
    information = mutual_information(
        coded, np.concatenate([y[None].astype(np.int16), drawn]), len(labels)
    )
    chance = information[:, 1:].mean(axis=1)
    entropy = _entropy(np.bincount(y, minlength=len(labels))[None].astype(np.float64))[0]
    explained = np.clip((information[:, 0] - chance) / (entropy - chance), 0, 1)
    scores = _standardised(information)
    highest = scores.max(axis=0)
    n = scores.shape[1]
    p = [float((scores[c] >= scores[c, 0] - 1e-9).sum() / n) for c in range(len(coded))]
    adjusted = [float((highest >= scores[c, 0] - 1e-9).sum() / n) for c in range(len(coded))]
    right, commonest = crossfitted(coded, y, folds, len(labels))
    order = sorted(
        range(len(coded)),
        key=lambda c: (
            adjusted[c] >= ALPHA,
            coded[c].column.set == SETS[-1],
            -round(explained[c] / 0.02),
            SETS.index(coded[c].column.set),
            -explained[c],
            c,
        ),
    )
    markers = [_marker(one, y, labels) for one in coded]
    # What the whole of a class has goes before what many have.
    order.sort(
        key=lambda c: (
            not (adjusted[c] < ALPHA and markers[c].class_wide and coded[c].column.set != SETS[-1])
        )
    )
    shown = order[:SHOWN]
    difference = right - commonest
    gains = {c: Estimate(float(difference[c].mean()), np.nan, np.nan, len(y)) for c in order}
    made = bootstrap(weighted_means(difference[shown]), clusters, seed=seed, lowest=-1.0)
    gains.update(zip(shown, made, strict=True))
    return tuple(
        Association(
            coded[c].column.name,
            coded[c].column.set,
            float(explained[c]),
            float(right[c].mean()),
            gains[c],
            p[c],
            adjusted[c],
            markers[c],
        )
        for c in order
    )


def mutual_information(coded: Sequence[Coded], y: Relabelled, n_classes: int) -> DoubleArray:
    """Return the mutual information of columns with many labellings, in nats.

    Args:
        coded: c columns of n images.
        y: (m, n) class numbers.
        n_classes: of them.

    Returns:
        (c, m).
    """
    draws, n = y.shape
    of_class = _xlogx(np.stack([np.bincount(row, minlength=n_classes) for row in y])).sum(axis=1)
    total = n * np.log(n) - of_class
    made = np.empty((len(coded), draws))
    for c, one in enumerate(coded):
        values = len(one.names)
        counts = np.stack([value_counts(one.codes, row, values, n_classes) for row in y])
        joint, of_value = _xlogx(counts).sum(axis=(1, 2)), _xlogx(np.bincount(one.codes)).sum()
        made[c] = (joint - of_value + total) / n
    return np.asarray(made.clip(min=0))


def crossfitted(
    coded: Sequence[Coded], y: IntArray, folds: IntArray, n_classes: int
) -> tuple[DoubleArray, DoubleArray]:
    """Return whether the commonest class of each value is right, (c, n); and of all images, (n,).

    What is commonest is counted on the other folds.
    """
    right, commonest = np.zeros((len(coded), len(y))), np.zeros(len(y))
    for fold in np.unique(folds):
        inside, asked = folds != fold, folds == fold
        most = int(np.bincount(y[inside], minlength=n_classes).argmax())
        commonest[asked] = y[asked] == most
        for c, one in enumerate(coded):
            counts = value_counts(one.codes[inside], y[inside], len(one.names), n_classes)
            answer = np.where(counts.any(axis=1), counts.argmax(axis=1), most)
            # A value that two classes share alike does not speak against the commonest of all.
            answer = np.where(counts[:, most] == counts.max(axis=1), most, answer)
            right[c, asked] = answer[one.codes[asked]] == y[asked]
    return right, commonest


def value_counts(
    codes: IntArray, y: IntArray | Relabelled, n_values: int, n_classes: int
) -> IntArray:
    """Return the (n_values, n_classes) images of each value and class."""
    made = np.bincount(codes * n_classes + y, minlength=n_values * n_classes)
    return np.asarray(made.reshape(n_values, n_classes))


def by_value(one: Coded, y: IntArray, folds: IntArray, k: int) -> DoubleArray:
    """Return (n, k) probabilities of the classes by a column's value, counted on other folds."""
    made = np.zeros((len(y), k))
    for fold in np.unique(folds):
        inside, asked = folds != fold, folds == fold
        counts = value_counts(one.codes[inside], y[inside], len(one.names), k)
        prior = np.bincount(y[inside], minlength=k) / inside.sum()
        smooth = (counts + k * prior) / (counts.sum(axis=1, keepdims=True) + k)
        made[asked] = smooth[one.codes[asked]]
    return made


def _xlogx(counts: DoubleArray | IntArray) -> DoubleArray:
    return np.asarray(counts * np.log(np.maximum(counts, 1)))


def _entropy(counts: DoubleArray) -> DoubleArray:
    n = counts.sum(axis=1)
    return np.asarray(np.log(n) - _xlogx(counts).sum(axis=1) / n)


def _standardised(information: DoubleArray) -> DoubleArray:
    roots = np.cbrt(information)
    spread = roots.std(axis=1, keepdims=True)
    return np.asarray((roots - roots.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1))


def _marker(coded: Coded, y: IntArray, labels: Sequence[str]) -> Marker:
    counts = value_counts(coded.codes, y, len(coded.names), len(labels))
    tried = list(zip(coded.names, counts, strict=True))
    if not isinstance(coded.column.values, tuple):
        values = coded.column.values[coded.rows]
        known = np.flatnonzero(np.isfinite(values))
        order = known[np.argsort(values[known], kind="stable")]
        below = np.cumsum(y[order][:, None] == np.arange(len(labels)), axis=0)
        # Where one value ends and the next begins: two ways to part the numbers.
        ends = np.flatnonzero(np.diff(values[order]) > 0)
        if len(ends):
            low = ends[_apart(below[ends], y).argmax()]
            above = below[-1] - below[ends]
            high = ends[_apart(above, y).argmax()]
            tried.append((f"at most {values[order[low]]:.4g}", below[low]))
            tried.append((f"at least {values[order[high + 1]]:.4g}", below[-1] - below[high]))
    best = max(tried, key=lambda one: float(_apart(one[1][None], y)[0]))
    inside, outside = _shares(best[1][None], y)
    k = int((inside - outside)[0].argmax())
    return Marker(best[0], labels[k], float(inside[0, k]), float(outside[0, k]))


def _apart(counts: IntArray, y: IntArray) -> DoubleArray:
    """Return how far the class is told apart that is told best (Youden's index), (m,)."""
    inside, outside = _shares(counts, y)
    return np.asarray((inside - outside).max(axis=1))


def _shares(counts: IntArray, y: IntArray) -> tuple[DoubleArray, DoubleArray]:
    """Return the share of each class that has a value, and of all others, from (m, k) counts."""
    size = np.bincount(y, minlength=counts.shape[1])
    others = counts.sum(axis=1, keepdims=True) - counts
    return counts / size, others / (len(y) - size)
