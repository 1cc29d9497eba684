"""Training again on parts of train: what every figure of the ledger is made of."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from embedkit.audits.neighbourhood import Neighbourhood
from embedkit.heads.classifier import Classifier
from embedkit.heads.fitting import HEADS
from embedkit.heads.knn import index_of
from embedkit.heads.training import clusters_in, labelled_rows
from embedkit.matrices import Matrix, large, part_of
from embedkit.statistics import Estimate, bootstrap, clusters_of, weighted_mean
from embedkit.store import Store
from embedkit.vectors import BoolArray, DoubleArray, FloatArray, IntArray

CONTROLS = 10
FEW = 300  # training images; with fewer, each control chooses its own hyper-parameter


@dataclass(frozen=True, slots=True)
class Control:
    """Heads trained without as many random training images as a purge removes.

    Attributes:
        right: (draws, n) whether each test image is answered rightly.
        answers: (draws, n) class number answered.
        mixed: whether related images were among those left out, for too few others were there.
    """

    right: BoolArray
    answers: IntArray
    mixed: bool


@dataclass(frozen=True, slots=True)
class Refit:
    """A head trained on some rows.

    Attributes:
        classes: (k,) class numbers that occur among them.
        classifier: of those.
    """

    classes: IntArray
    classifier: Classifier

    def answers(self, vectors: FloatArray) -> IntArray:
        """Return the (n,) class numbers answered."""
        best = self.classifier.probabilities(vectors).argmax(axis=1)
        return np.asarray(self.classes[best], np.int64)


class Bench:
    """The rows, classes and clusters that every refit of one kind of head shares.

    Attributes:
        train: rows of labelled training images.
        test: rows of labelled test images.
        pool: rows of labelled images of any split, in the classes of train and test.
        clusters: (n,) of all images, by everything that relates them; what folds and bootstraps
            keep together.
    """

    def __init__(
        self,
        store: Store,
        kind: str,
        related: Sequence[IntArray],
        *,
        split: str,
        label: str,
        backbone: str | None,
        seed: int,
    ) -> None:
        """Prepare a bench.

        Args:
            store: with labels, a train and a test split.
            kind: of head.
            related: (n,) clusters, of any number of kinds.
            split: the test split.
            label: column with the class.
            backbone: which space.
            seed: of folds, draws and bootstraps.

        Raises:
            InputError: a split has no labelled image.
        """
        self.kind = kind
        self.seed = seed
        space = store.space(backbone)
        self.vectors = space.matrix if large(len(store.items.ids)) else space.vectors
        self.train = labelled_rows(store, label, "train")
        self.test = labelled_rows(store, label, split)
        names = store.items.label_column(label)
        used = np.concatenate([self.train, self.test])
        self.labels = sorted({names[row] or "" for row in used})
        number = {name: place for place, name in enumerate(self.labels)}
        self.y = np.array([number.get(name or "", -1) for name in names], np.int64)
        sides = np.array([side is not None for side in store.items.splits])
        self.pool = np.flatnonzero((self.y >= 0) & sides)
        self.clusters = clusters_of(clusters_in(store), *related)
        self.chosen = 0.0
        self._answers: dict[bytes, IntArray] = {}

    def seeing(self, vectors: Matrix) -> Self:
        """Return the same bench with other vectors: (n, d) float32, unit rows."""
        other = copy(self)
        given = {k for k in vars(self) if not isinstance(getattr(Bench, k, None), cached_property)}
        other.__dict__ = {k: v for k, v in vars(self).items() if k in given}
        other.vectors, other._answers = vectors, {}
        return other

    def within(self, kept: BoolArray) -> Self:
        """Return the same bench with some of the images only: (n,) whether each is kept."""
        other = self.seeing(self.vectors)
        other.train, other.test, other.pool = (
            rows[kept[rows]] for rows in (self.train, self.test, self.pool)
        )
        return other

    def of(self, rows: IntArray) -> Self:
        """Return a bench of some images only, numbered anew: (m,) rows in ascending order."""
        other = self.seeing(np.asarray(self.vectors[rows]))
        other.y, other.clusters = self.y[rows], self.clusters[rows]
        other.train, other.test, other.pool = (
            np.searchsorted(rows, part[np.isin(part, rows)])
            for part in (self.train, self.test, self.pool)
        )
        return other

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        """The nearest images of each image of the pool, which it numbers from 0."""
        return Neighbourhood(self.vectors[self.pool], self.clusters[self.pool])

    def in_pool(self, rows: IntArray) -> IntArray:
        """Return the numbers that rows have in the pool."""
        return np.asarray(np.searchsorted(self.pool, rows))

    @cached_property
    def nearest(self) -> DoubleArray:
        """Cosine of each test image with the nearest training image."""
        return self.nearest_of(self.test)

    def nearest_of(self, rows: IntArray) -> DoubleArray:
        """Return the cosine of images, none of them in train, with the nearest training image."""
        index = index_of(part_of(self.vectors, self.train))
        return index.search(self.vectors[rows], 1).similarities[:, 0]

    @cached_property
    def whole(self) -> Refit:
        """The head that is trained on all of train."""
        return self.fit(self.train)

    @cached_property
    def first(self) -> IntArray:
        """Answers of the head that is trained on all of train."""
        return self.whole.answers(self.vectors[self.test])

    def fit(
        self, rows: IntArray, y: IntArray | None = None, *, value: float | None = None
    ) -> Refit:
        """Train on some rows; see `answers`."""
        classes, numbers = np.unique((self.y if y is None else y)[rows], return_inverse=True)
        fitted = HEADS[self.kind](
            part_of(self.vectors, rows),
            numbers.ravel().astype(np.int64),
            self.clusters[rows],
            n_classes=len(classes),
            seed=self.seed,
            value=value,
        )
        return Refit(classes, fitted)

    def answers(
        self, rows: IntArray, y: IntArray | None = None, *, value: float | None = None
    ) -> IntArray:
        """Train on some rows and return the class number answered for each test image.

        Args:
            rows: of training images.
            y: (n,) class of every image, where the labels are not to be those given.
            value: of the hyper-parameter; chosen inside the rows where left out, and then found in
                `chosen`.
        """
        key = rows.tobytes()
        if y is None and value is None and key in self._answers:
            return self._answers[key]
        made = self.answers_for(self.test, rows, y, value=value)
        if y is None and value is None:
            self._answers[key] = made
        return made

    def answers_for(
        self,
        asked: IntArray,
        rows: IntArray,
        y: IntArray | None = None,
        *,
        value: float | None = None,
    ) -> IntArray:
        """Train on some rows and return the class number answered for others; see `answers`."""
        if self.kind == "knn" and value is not None and not large(len(self.pool)):
            classes, numbers = np.unique((self.y if y is None else y)[rows], return_inverse=True)
            places = self.in_pool(asked), self.in_pool(rows)
            p = self.neighbourhood.vote(*places, numbers.ravel(), int(value))
            self.chosen = value
            return np.asarray(classes[p.argmax(axis=1)], np.int64)
        refit = self.fit(rows, y, value=value)
        self.chosen = refit.classifier.choice.value
        return refit.answers(self.vectors[asked])

    def right(self, answers: IntArray) -> BoolArray:
        """Return whether answers are right; (n,) or (draws, n)."""
        return np.asarray(answers == self.y[self.test])

    def related(self, clusters: IntArray) -> BoolArray:
        """Mark the training rows whose cluster holds a test image."""
        return np.isin(clusters[self.train], clusters[self.test])

    def too_little(self, removed: BoolArray) -> str:
        """Say what a purge leaves too little of; empty if the head can be trained again."""
        before, after = (np.unique(self.y[rows]) for rows in (self.train, self.train[~removed]))
        gone = [self.labels[place] for place in np.setdiff1d(before, after)]
        return f"the purge leaves no training image of {', '.join(gone)}" if gone else ""

    def control(self, removed: BoolArray, clean: BoolArray) -> Control | None:
        """Train without as many random images of each class as a purge removes.

        Args:
            removed: (m,) training rows that the purge takes out.
            clean: (m,) those that are related to no test image: the draw is from them, or from
                all where a class has not that many to spare.

        The hyper-parameter is chosen in the first draw; the others, as large and from the same
        images, take it over. Where few images are left that choice is luck, and each makes its own.

        Returns:
            `CONTROLS` draws; None where a class would be left without an image.
        """
        y = self.y[self.train]
        wanted = np.bincount(y[removed], minlength=len(self.labels))
        pools = [np.flatnonzero(clean & (y == label)) for label in range(len(self.labels))]
        left = [np.sum(y == label) - wanted[label] >= 1 for label in np.flatnonzero(wanted)]
        if not all(left):
            return None
        mixed = any(len(p) < n for p, n in zip(pools, wanted, strict=True))
        if mixed:
            pools = [np.flatnonzero(y == label) for label in range(len(self.labels))]
        made: list[IntArray] = []
        value = None
        for draw in range(CONTROLS):
            generator = np.random.default_rng([self.seed, draw, int(removed.sum())])
            keep = np.ones(len(y), bool)
            for pool, n in zip(pools, wanted, strict=True):
                keep[generator.choice(pool, n, replace=False)] = False
            made.append(self.answers(self.train[keep], value=value))
            value = self.chosen if keep.sum() > FEW else None
        answers = np.stack(made)
        return Control(self.right(answers), answers, mixed)

    def mean(self, values: BoolArray | DoubleArray, *, lowest: float = 0.0) -> Estimate:
        """Estimate the mean of a figure of each test image, by a bootstrap over clusters."""
        return bootstrap(
            weighted_mean(values), self.clusters[self.test], seed=self.seed, lowest=lowest
        )[0]
