"""Training again on parts of train: what every figure of the ledger is made of."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from embedkit.audits.fits import Answer, Images, Question, Refit, answer
from embedkit.audits.neighbourhood import Neighbourhood
from embedkit.engines import Engine, LocalEngine
from embedkit.heads.knn import index_of
from embedkit.heads.training import clusters_in, labelled_rows
from embedkit.matrices import Matrix, large, part_of
from embedkit.statistics import Estimate, bootstrap, clusters_of, weighted_mean
from embedkit.store import Store
from embedkit.vectors import BoolArray, DoubleArray, IntArray

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
class _Draws:
    """Training rows that the draws of a control leave.

    Attributes:
        rows: of each draw, all as many.
        mixed: see `Control`.
    """

    rows: tuple[IntArray, ...]
    mixed: bool


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
        engine: Engine | None = None,
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
            engine: where refits that do not wait for one another run; None for this process.

        Raises:
            InputError: a split has no labelled image.
        """
        self.kind = kind
        self.seed = seed
        self.engine = engine or LocalEngine()
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

    def seeing(self, vectors: Matrix) -> Self:
        """Return the same bench with other vectors: (n, d) float32, unit rows."""
        other = copy(self)
        given = {k for k in vars(self) if not isinstance(getattr(Bench, k, None), cached_property)}
        other.__dict__ = {k: v for k, v in vars(self).items() if k in given}
        other.vectors = vectors
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

    @property
    def images(self) -> Images:
        """What every refit is given."""
        return Images(self.kind, self.vectors, self.y, self.clusters, self.seed)

    def fit(
        self, rows: IntArray, y: IntArray | None = None, *, value: float | None = None
    ) -> Refit:
        """Train on some rows, in this process; see `Question`."""
        return self.images.fit(rows, y, value=value)

    def answers_for(
        self, asked: IntArray, rows: IntArray, *, value: float | None = None
    ) -> IntArray:
        """Train on some rows and return the class number answered for others.

        Args:
            asked: rows that the head is asked about.
            rows: of training images.
            value: of the hyper-parameter; chosen inside the rows where left out, and then found in
                `chosen`.
        """
        made = self._answer(Question(asked, rows, value=value))
        self.chosen = made.value or 0.0
        return made.classes

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Train a head for each question, where the engine runs; answers in their order."""
        if large(len(self.vectors)) or all(map(self._known, questions)):
            return [self._answer(one) for one in questions]
        images = self.images
        return self.engine.map(answer, [(images, one) for one in questions])

    def _known(self, question: Question) -> bool:
        """Say whether the neighbours of all images, once found, hold the answer."""
        return self.kind == "knn" and question.value is not None and not large(len(self.pool))

    def _answer(self, question: Question) -> Answer:
        if not self._known(question) or question.value is None:
            return answer(self.images, question)
        y = self.y if question.y is None else question.y
        classes, numbers = np.unique(y[question.rows], return_inverse=True)
        places = self.in_pool(question.asked), self.in_pool(question.rows)
        p = self.neighbourhood.vote(*places, numbers.ravel(), int(question.value))
        return Answer(np.asarray(classes[p.argmax(axis=1)], np.int64), question.value)

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

    def controls(self, purges: Sequence[BoolArray], clean: BoolArray) -> list[Control | None]:
        """Train without as many random images of each class as each of some purges removes.

        Args:
            purges: (m,) training rows that a purge takes out.
            clean: (m,) those that are related to no test image: the draw is from them, or from
                all where a class has not that many to spare.

        The hyper-parameter is chosen in the first draw; the others, as large and from the same
        images, take it over. Where few images are left that choice is luck, and each makes its own.

        Returns:
            `CONTROLS` draws for each purge; None where a class would be left without an image.
        """
        drawn = [self._draws(removed, clean) for removed in purges]
        first = iter(self.ask([Question(self.test, one.rows[0]) for one in drawn if one]))
        leads = [next(first) if one else None for one in drawn]
        others = iter(
            self.ask(
                [
                    Question(self.test, rows, value=lead.value if len(rows) > FEW else None)
                    for one, lead in zip(drawn, leads, strict=True)
                    if one and lead
                    for rows in one.rows[1:]
                ]
            )
        )
        made: list[Control | None] = []
        for one, lead in zip(drawn, leads, strict=True):
            if one is None or lead is None:
                made.append(None)
                continue
            answers = np.stack([lead.classes, *(next(others).classes for _ in one.rows[1:])])
            made.append(Control(self.right(answers), answers, one.mixed))
        return made

    def _draws(self, removed: BoolArray, clean: BoolArray) -> "_Draws | None":
        y = self.y[self.train]
        wanted = np.bincount(y[removed], minlength=len(self.labels))
        pools = [np.flatnonzero(clean & (y == label)) for label in range(len(self.labels))]
        left = [np.sum(y == label) - wanted[label] >= 1 for label in np.flatnonzero(wanted)]
        if not all(left):
            return None
        mixed = any(len(p) < n for p, n in zip(pools, wanted, strict=True))
        if mixed:
            pools = [np.flatnonzero(y == label) for label in range(len(self.labels))]
        drawn: list[IntArray] = []
        for draw in range(CONTROLS):
            generator = np.random.default_rng([self.seed, draw, int(removed.sum())])
            keep = np.ones(len(y), bool)
            for pool, n in zip(pools, wanted, strict=True):
                keep[generator.choice(pool, n, replace=False)] = False
            drawn.append(self.train[keep])
        return _Draws(tuple(drawn), mixed)

    def mean(self, values: BoolArray | DoubleArray, *, lowest: float = 0.0) -> Estimate:
        """Estimate the mean of a figure of each test image, by a bootstrap over clusters."""
        return bootstrap(
            weighted_mean(values), self.clusters[self.test], seed=self.seed, lowest=lowest
        )[0]


def ask_first(benches: Sequence[Bench]) -> None:
    """Find what `first` is of some benches of one run, side by side where their engine can."""
    few = [one for one in benches if not large(len(one.vectors))]
    if few:
        tasks = [(one.images, Question(one.test, one.train)) for one in few]
        for one, made in zip(few, few[0].engine.map(answer, tasks), strict=True):
            one.first = made.classes
