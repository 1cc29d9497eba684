"""What every classifier on frozen vectors does, and the folds that choose its hyper-parameter."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from embedkit.vectors import DoubleArray, FloatArray, IntArray

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Choice:
    """How a hyper-parameter was chosen inside the training set.

    Attributes:
        name: of the hyper-parameter.
        value: that was taken.
        criterion: what was compared.
        tried: (value, criterion) for each value tried.
        note: why nothing could be compared, or what else a user should know; empty if all is well.
    """

    name: str
    value: float
    criterion: str
    tried: tuple[tuple[float, float], ...]
    note: str = ""

    def noting(self, note: str) -> "Choice":
        """Return it with one more note."""
        return replace(self, note=f"{self.note}; {note}" if self.note else note)


class Classifier(Protocol):
    """A fitted head: vectors in, probabilities out."""

    @property
    def choice(self) -> Choice:
        """How the hyper-parameter was chosen."""

    def probabilities(self, vectors: FloatArray) -> DoubleArray:
        """Return each class's probability.

        Args:
            vectors: (n, d) float32, unit rows.

        Returns:
            (n, k) float64, rows summing to 1.
        """

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what has to be saved to make the classifier again, besides its training rows."""


def fold_numbers(y: IntArray, clusters: IntArray, *, seed: int) -> IntArray:
    """Divide training images into at most five folds that never split a cluster.

    Args:
        y: (n,) class of each image.
        clusters: (n,) cluster of each image.
        seed: of the division.

    Returns:
        (n,) the fold of each image; all in one where the rarest class has a single cluster, for
        then no fold could be both trained without and tested on.
    """
    smallest = min(len(np.unique(clusters[y == label])) for label in np.unique(y))
    if smallest < 2:
        return np.zeros(len(y), np.int64)
    folds = StratifiedGroupKFold(min(FOLDS, smallest), shuffle=True, random_state=seed)
    number = np.empty(len(y), np.int64)
    for fold, (_, test) in enumerate(folds.split(np.zeros(len(y)), y, clusters)):
        number[test] = fold
    return number
