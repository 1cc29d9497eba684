"""What linear heads share: standardised vectors, and an L2 penalty chosen inside train."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from scipy import linalg
from threadpoolctl import threadpool_limits

from embedkit.heads.classifier import Choice, fold_numbers
from embedkit.heads.emphasis import LOSS, Emphasis
from embedkit.vectors import BoolArray, DoubleArray, FloatArray, IntArray

# Half decades; on standardised vectors of a thousand dimensions the best is near 0.003.
GRID = tuple(10 ** (half / 2) for half in range(-10, 3))
DEFAULT_C = 1e-3
ITERATIONS = 1000


class Model(Protocol):
    """A linear model that is fitted again and again, each time from where it was."""

    def converge(self, x: FloatArray, y: IntArray, weights: DoubleArray | None, c: float) -> bool:
        """Fit it with a penalty, and say whether it arrived within `ITERATIONS`."""

    def losses(self, x: FloatArray, y: IntArray) -> DoubleArray:
        """Return -log p of each image's class, (n,); in float64, where no small p becomes zero."""


M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Standardised:
    """Vectors with mean 0 and spread 1 in each dimension, turned where that makes them smaller.

    Attributes:
        x: (n, min(n, d)) float32.
        mean: (d,) of the vectors.
        scale: (d,) what they were divided by.
        rotation: (n, d) what `x` was turned by; None where it was not.
    """

    x: FloatArray
    mean: DoubleArray
    scale: DoubleArray
    rotation: FloatArray | None

    def back(self, coefficients: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Return coefficients for the vectors as they were, (k, d), and what to add, (k,).

        Args:
            coefficients: (k, min(n, d)) for `x`.
        """
        if self.rotation is not None:
            coefficients = coefficients @ self.rotation
        coefficients = coefficients / self.scale
        return np.ascontiguousarray(coefficients), -(coefficients @ self.mean)


def standardise(vectors: FloatArray) -> Standardised:
    """Standardise vectors, (n, d) float32.

    The penalty is the same in every rotation and fewer images than dimensions span at most as many
    directions, so turned into those the fit is the same and several times cheaper.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    spread = vectors.std(axis=0, dtype=np.float64)
    scale = np.where(spread > 1e-8, spread, 1.0)
    if vectors.shape[0] >= vectors.shape[1]:
        x = (vectors - mean.astype(np.float32)) / scale.astype(np.float32)
        return Standardised(x, mean, scale, None)
    x = (vectors - mean) / scale
    left, values, right = linalg.svd(x, full_matrices=False, overwrite_a=True)
    return Standardised(np.ascontiguousarray(left * values, np.float32), mean, scale, right)


def fit_penalised(
    prepare: Callable[[FloatArray], Callable[[bool], M]],
    vectors: FloatArray,
    y: IntArray,
    clusters: IntArray,
    *,
    n_classes: int,
    seed: int,
    value: float | None,
    originals: int | None,
    emphasis: Emphasis,
) -> tuple[M, Standardised, Choice]:
    """Fit a linear model with an L2 penalty on standardised vectors.

    C is the one with the least log-loss over folds that split no cluster; the search goes from
    strong to weak penalties and stops when the loss has risen twice.

    Args:
        prepare: maps the vectors, standardised, to what makes models of them that are not fitted:
            exact ones, or as exact as the search for C needs them.
        vectors: (n, d) float32.
        y: (n,) class numbers; every class below `n_classes` occurs.
        clusters: (n,) images that must stay together.
        n_classes: number of classes.
        seed: of the folds.
        value: of C, to fit without choosing.
        originals: rows beyond these are copies, which are fitted on but never scored.
        emphasis: of the images.
    """
    scored = np.arange(len(y)) < (len(y) if originals is None else originals)
    # On matrices of this size a second BLAS thread makes the fit three times slower; with one, the
    # result does not depend on the machine's cores either.
    with threadpool_limits(1, user_api="blas"):
        given = standardise(vectors)
        make = prepare(given.x)
        if value is None:
            folds = fold_numbers(y, clusters, seed=seed)
            choice = _choose_c(make, given.x, y, folds, scored, emphasis, n_classes=n_classes)
        else:
            choice = Choice("C", value, "given", ())
        model = make(True)
        if not model.converge(given.x, y, emphasis.weights, choice.value):
            choice = choice.noting(f"not converged after {ITERATIONS} iterations")
    return model, given, choice


def _choose_c(
    make: Callable[[bool], M],
    x: FloatArray,
    y: IntArray,
    folds: IntArray,
    scored: BoolArray,
    emphasis: Emphasis,
    *,
    n_classes: int,
) -> Choice:
    criterion = emphasis.named(LOSS) + " over folds"
    # A fold that holds all of a class leaves nothing to learn it from; the others decide.
    parts = [
        (fold, make(False))
        for fold in np.unique(folds)
        if len(np.unique(y[folds != fold])) == n_classes
    ]
    if not parts:
        rare = "a class has only one image (or one cluster of them), so C could not be compared"
        return Choice("C", DEFAULT_C, criterion, (), rare)
    judged = np.isin(folds, [fold for fold, _ in parts]) & scored
    tried: list[tuple[float, float]] = []
    best = 0
    for c in GRID:
        losses = np.zeros(len(y))
        for fold, model in parts:
            inside, outside = folds != fold, (folds == fold) & scored
            model.converge(x[inside], y[inside], emphasis.of(inside).weights, c)
            losses[outside] = model.losses(x[outside], y[outside])
        tried.append((c, emphasis.of(judged).loss(losses[judged])))
        best = min(range(len(tried)), key=lambda place: tried[place][1])
        if len(tried) - 1 - best >= 2:
            break
    return Choice("C", tried[best][0], criterion, tuple(tried))
