"""Rankings: how far scores order images by class, for many scores or many labellings at once."""

import itertools
from collections.abc import Callable

import numpy as np
from scipy import stats

from embedkit.audits.relabellings import Relabelled
from embedkit.vectors import BoolArray, DoubleArray, IntArray

STEP = 250  # labellings at once


def ranks_of(scores: DoubleArray) -> DoubleArray:
    """Return the ranks of each column, 1 to n; equal scores share theirs."""
    return np.asarray(stats.rankdata(scores, axis=0), np.float64)


def explained_by_class(y: Relabelled | IntArray, ranks: DoubleArray, k: int) -> DoubleArray:
    """Return the share of the variance of c columns of ranks between classes, (m, c).

    Args:
        y: (m, n) labellings.
        ranks: (n, c).
        k: classes.
    """
    centred = ranks - (len(ranks) + 1) / 2
    whole = np.maximum((centred**2).sum(axis=0), 1e-9)
    made = np.zeros((len(y), ranks.shape[1]))
    for start, label in itertools.product(range(0, len(y), STEP), range(k)):
        part = slice(start, start + STEP)
        inside = (y[part] == label).astype(np.float64)
        made[part] += (inside @ centred) ** 2 / np.maximum(inside.sum(axis=1), 1)[:, None]
    return np.asarray(made / whole)


def areas_by_class(y: IntArray, ranks: DoubleArray, k: int) -> DoubleArray:
    """Return the share of pairs in which an image of a class ranks above another, (k, c)."""
    inside = (y == np.arange(k)[:, None]).astype(np.float64)
    size = inside.sum(axis=1, keepdims=True)
    return np.asarray((inside @ ranks - size * (size + 1) / 2) / (size * (len(y) - size)))


def placements(scores: DoubleArray, inside: BoolArray) -> DoubleArray:
    """Return how each image lies to those of the other side, (n,); 0 to 1.

    Of an image inside it is the share of those outside that score less, of one outside the share
    of those inside that score more; equal scores count half. The mean of either side is the area
    under the ROC curve.
    """
    place = stats.rankdata(scores)
    for side, others in ((inside, ~inside), (~inside, inside)):
        place[side] = (place[side] - stats.rankdata(scores[side])) / others.sum()
    return np.asarray(np.where(inside, place, 1 - place), np.float64)


def areas_of(placed: DoubleArray, inside: DoubleArray) -> Callable[[DoubleArray], DoubleArray]:
    """Return the statistic "area under the ROC curve" of each of p scores, for `bootstrap`.

    Placements stay what they are among the images as they were, which is exact to the first order
    (E. DeLong and others, Biometrics 44, 1988; for clusters N. Obuchowski, Biometrics 53, 1997).

    Args:
        placed: (n, p) of `placements`.
        inside: (n, p) one where the image is inside, else zero.
    """
    outside = 1 - inside
    whole = (placed * inside).sum(axis=0) / inside.sum(axis=0)

    def mean(weights: DoubleArray, side: DoubleArray) -> DoubleArray:
        total = weights @ side
        return np.asarray(weights @ (placed * side) / np.where(total > 0, total, np.nan))

    def statistic(weights: DoubleArray) -> DoubleArray:
        return np.asarray(np.clip(mean(weights, inside) + mean(weights, outside) - whole, 0, 1))

    return statistic
