"""k nearest neighbours by cosine, weighted by distance, k chosen inside the training set."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from embedkit.heads.classifier import Choice
from embedkit.heads.emphasis import PLAIN, Emphasis
from embedkit.heads.samples import sample_of
from embedkit.matrices import Matrix, large
from embedkit.store.index import NeighbourIndex
from embedkit.store.scan import Scan
from embedkit.vectors import DoubleArray, FloatArray, IntArray

if TYPE_CHECKING:  # brings torch
    from embedkit.store.listed import Listed

MANY = 20_000  # training images beyond which only `SAMPLE` are left out in turn
SAMPLE = 10_000
# Images up to which neighbours are looked for among all; comparing 1 M with 10,000 takes minutes.
ALL_COMPARED = 200_000
GRID = (1, 3, 5, 9, 15, 25, 51, 101)
# Two vectors nearer than this are one; without it a copy's weight would be a division by zero.
NEAREST = 1e-6

Voters = Union[NeighbourIndex, Scan, "Listed"]


@dataclass(frozen=True, slots=True)
class NearestNeighbours:
    """A kNN classifier over its training rows.

    Attributes:
        index: over the training vectors.
        y: (n,) class of each training image.
        n_classes: number of classes.
        choice: of k.
        weights: (n,) of the training images' votes; None where all count alike.
    """

    index: Voters
    y: IntArray
    n_classes: int
    choice: Choice
    weights: DoubleArray | None = None

    def probabilities(self, vectors: FloatArray) -> DoubleArray:
        """Return (n, k) probabilities; see `Classifier`."""
        found = self.index.search(vectors, int(self.choice.value))
        prior = class_frequencies(self.y, self.n_classes, self.weights)
        return vote(found.rows, found.similarities, self.y, prior, self.weights)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights, if any: the training rows in the store are the classifier."""
        return {} if self.weights is None else {"weights": self.weights}


def vote(
    rows: IntArray,
    similarities: DoubleArray,
    y: IntArray,
    prior: DoubleArray,
    weights: DoubleArray | None = None,
) -> DoubleArray:
    """Turn neighbours into probabilities.

    Each neighbour votes for its class with the weight 1 / (1 - cosine), times its own. The votes
    count as many images as there are neighbours, beside one more that votes the class frequencies
    of the training set: so no class is ever impossible.

    Args:
        rows: (n, k) training rows, -1 where there are fewer.
        similarities: (n, k) cosine.
        y: (m,) class of each training row.
        prior: (c,) frequency of each class.
        weights: (m,) of each training row.

    Returns:
        (n, c) float64, rows summing to 1.
    """
    n, k = rows.shape
    weight = np.where(rows >= 0, 1 / np.maximum(1 - similarities, NEAREST), 0.0)
    if weights is not None:
        weight = weight * weights[rows]
    votes = np.zeros((n, len(prior)))
    for place in range(k):
        np.add.at(votes, (np.arange(n), y[rows[:, place]]), weight[:, place])
    total = votes.sum(axis=1, keepdims=True)
    share = np.divide(votes, total, out=np.tile(prior, (n, 1)), where=total > 0)
    return np.asarray((k * share + prior) / (k + 1))


def fit_knn(
    vectors: Matrix,
    y: IntArray,
    clusters: IntArray,
    *,
    n_classes: int,
    seed: int,
    value: float | None = None,
    originals: int | None = None,
    emphasis: Emphasis = PLAIN,
) -> NearestNeighbours:
    """Choose k by leaving out each training image with its cluster; ties go to the larger k.

    Beyond `MANY` images only a sample of them is left out in turn, and beyond `ALL_COMPARED`
    neighbours are looked for in lists (see `Listed`), which the choice's note says.

    Args:
        vectors: (n, d) float32, unit rows; a `Matrix` where they are many.
        y: (n,) class numbers.
        clusters: (n,) images that must not vote for one another while k is chosen.
        n_classes: number of classes.
        seed: of the sample.
        value: of k, to fit without choosing; all images where there are fewer.
        originals: rows beyond these are copies, which vote but are never scored.
        emphasis: of the images.
    """
    weights = emphasis.weights
    index = voters_of(vectors)
    if value is not None:
        choice = Choice("k", min(value, len(vectors)), "given", (), index.note)
        return NearestNeighbours(index, y, n_classes, choice, weights)
    member = np.unique(clusters, return_inverse=True)[1].ravel()
    sizes = np.bincount(member)[member]
    grid = [k for k in GRID if k < len(y)] or [1]
    own, note = np.arange(len(y))[:originals], ""
    if len(own) > MANY:
        own = sample_of(y[:originals], clusters[:originals], SAMPLE, seed=seed)
        note = f"k chosen on {len(own)} of {len(y[:originals])} images, each left out in turn"
    widest = min(len(y), grid[-1] + int(sizes[own].max()) - 1)
    found = index.search(vectors[own], widest, exclude=own)
    rows, similarities = _of_other_clusters(
        found.rows, found.similarities, clusters, clusters[own], grid[-1]
    )
    prior = class_frequencies(y, n_classes, weights)
    tried: list[tuple[float, float]] = []
    judged = emphasis.of(own)
    for k in grid:
        answers = vote(rows[:, :k], similarities[:, :k], y, prior, weights).argmax(axis=1)
        tried.append((float(k), 1 - judged.loss((answers != y[own]).astype(np.float64))))
    best = max(tried, key=lambda pair: (pair[1], pair[0]))[0]
    criterion = f"{emphasis.named('accuracy')}, each image left out with its cluster"
    choice = Choice("k", best, criterion, tuple(tried), "; ".join(filter(None, (note, index.note))))
    return NearestNeighbours(index, y, n_classes, choice, weights)


def voters_of(vectors: Matrix) -> Voters:
    """Return search over training vectors, (n, d), for many queries: by lists where they are many.

    Whoever asks for a few neighbours only takes `index_of`, which needs no lists.
    """
    if len(vectors) <= ALL_COMPARED:
        return index_of(vectors)
    from embedkit.store.listed import Listed

    return Listed(vectors)


def index_of(vectors: Matrix) -> NeighbourIndex | Scan:
    """Return exact search over training vectors, (n, d): without a copy where they are many."""
    if large(len(vectors)):
        return Scan(vectors)
    whole = vectors[:]
    return NeighbourIndex(whole)


def class_frequencies(y: IntArray, n_classes: int, weights: DoubleArray | None) -> DoubleArray:
    """Return how frequent each class is among training images, (c,), by their weights."""
    counts = np.bincount(y, weights, minlength=n_classes)
    return np.asarray(counts / counts.sum())


def _of_other_clusters(
    rows: IntArray, similarities: DoubleArray, clusters: IntArray, own: IntArray, k: int
) -> tuple[IntArray, DoubleArray]:
    """Keep each row's k nearest neighbours that are not of its own cluster."""
    other = (clusters[rows] != own[:, None]) & (rows >= 0)
    order = np.argsort(~other, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(other, order, axis=1)
    return (
        np.where(kept, np.take_along_axis(rows, order, axis=1), -1),
        np.where(kept, np.take_along_axis(similarities, order, axis=1), -np.inf),
    )
