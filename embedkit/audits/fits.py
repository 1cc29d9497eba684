"""One head, trained on some rows and asked about others: what a refit is, in whatever process."""

from dataclasses import dataclass

import numpy as np

from embedkit.heads.classifier import Classifier
from embedkit.heads.fitting import HEADS
from embedkit.matrices import Matrix, part_of
from embedkit.vectors import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """What all refits of one kind of head share.

    Attributes:
        kind: of head.
        vectors: (n, d) float32, unit rows.
        y: (n,) class numbers.
        clusters: (n,) that folds keep together.
        seed: of folds.
    """

    kind: str
    vectors: Matrix
    y: IntArray
    clusters: IntArray
    seed: int

    def fit(
        self, rows: IntArray, y: IntArray | None = None, *, value: float | None = None
    ) -> "Refit":
        """Train on some rows; see `Question`."""
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


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What a head answers that is trained on some rows and asked about others.

    Attributes:
        asked: rows it is asked about.
        rows: it is trained on.
        y: (n,) class of every image, where the labels are not to be those given.
        value: of the hyper-parameter; chosen inside the rows where left out.
    """

    asked: IntArray
    rows: IntArray
    y: IntArray | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What it answered.

    Attributes:
        classes: (m,) class numbers.
        value: of its hyper-parameter; None where there was one class only, and nothing to choose.
    """

    classes: IntArray
    value: float | None


def answer(images: Images, question: Question) -> Answer:
    """Train a head and ask it; where there is one class only, that is the answer."""
    learned = np.unique((images.y if question.y is None else question.y)[question.rows])
    if len(learned) == 1:
        return Answer(np.full(len(question.asked), learned[0]), None)
    refit = images.fit(question.rows, question.y, value=question.value)
    classes = refit.answers(images.vectors[question.asked])
    return Answer(classes, refit.classifier.choice.value)
