"""Opinions on every label: of heads and of neighbours, none of which has seen a relative."""

from dataclasses import dataclass

import numpy as np

from embedkit.audits.neighbourhood import STRANGERS, Neighbourhood
from embedkit.heads.classifier import fold_numbers
from embedkit.heads.knn import GRID, vote
from embedkit.heads.logistic import fit_logistic
from embedkit.vectors import BoolArray, DoubleArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Voters:
    """The nearest images of other clusters.

    Attributes:
        rows: (n, k) of each image, closest first; -1 where there are fewer.
        votes: (n, c) probabilities by their votes.
    """

    rows: IntArray
    votes: DoubleArray


class Panel:
    """Images with labels, asked about without themselves and their relatives.

    Attributes:
        folds: (n,) fold of each image; clusters are whole.
        value: of C, chosen inside the training part of the first fold; the others take it over.
        head: (n, c) probabilities by heads that were trained on the other folds.
    """

    def __init__(
        self, vectors: FloatArray, y: IntArray, clusters: IntArray, *, n_classes: int, seed: int
    ) -> None:
        """Let a head answer every image of a fold that it was not trained on.

        Args:
            vectors: (n, d) float32, unit rows.
            y: (n,) class numbers; every class below `n_classes` has several clusters.
            clusters: (n,) images that must not speak for one another.
            n_classes: number of classes.
            seed: of the folds.
        """
        self.vectors, self.y, self.clusters = vectors, y, clusters
        self.n_classes, self.seed = n_classes, seed
        self.folds = fold_numbers(y, clusters, seed=seed)
        self.value: float | None = None
        self.head = self._answers(y, self.folds, np.zeros(len(y), bool))

    def with_labels(self, y: IntArray) -> DoubleArray:
        """Return what `head` would be with other labels, C kept."""
        return self._answers(y, self.folds, np.zeros(len(y), bool))

    def without(self, left_out: BoolArray, *, divisions: int) -> DoubleArray:
        """Return the mean answers of heads that were trained without some images.

        Each division into folds is a new one.

        Args:
            left_out: (n,) images that teach nothing, but are asked about.
            divisions: how many.
        """
        made = []
        for draw in range(divisions):
            seed = int(np.random.default_rng([self.seed, draw, 1]).integers(2**31))
            folds = fold_numbers(self.y, self.clusters, seed=seed)
            made.append(self._answers(self.y, folds, left_out))
        return np.asarray(np.mean(made, axis=0))

    def _answers(self, y: IntArray, folds: IntArray, left_out: BoolArray) -> DoubleArray:
        answers = np.zeros((len(y), self.n_classes))
        for fold in range(int(folds.max()) + 1):
            inside, asked = (folds != fold) & ~left_out, np.flatnonzero(folds == fold)
            classes, numbers = np.unique(y[inside], return_inverse=True)
            if len(classes) < 2:
                answers[asked, classes] = 1.0
                continue
            fitted = fit_logistic(
                self.vectors[inside],
                numbers.ravel().astype(np.int64),
                self.clusters[inside],
                n_classes=len(classes),
                seed=self.seed,
                value=self.value,
            )
            self.value = fitted.choice.value
            answers[np.ix_(asked, classes)] = fitted.probabilities(self.vectors[asked])
        return answers

    def voters(self) -> Voters:
        """Let each image's nearest of other clusters vote; as many as agree with most labels."""
        rows, similarities = Neighbourhood(self.vectors, self.clusters).strangers()
        prior = np.bincount(self.y, minlength=self.n_classes) / len(self.y)
        made = {
            k: vote(rows[:, :k], similarities[:, :k], self.y, prior) for k in GRID if k <= STRANGERS
        }
        k = max(made, key=lambda k: (np.mean(made[k].argmax(axis=1) == self.y), k))
        return Voters(rows[:, :k], made[k])
