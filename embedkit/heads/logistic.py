"""Logistic regression on standardised vectors, its C chosen inside the training set."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from embedkit.heads.blockwise import fit_blockwise, noted
from embedkit.heads.classifier import Choice
from embedkit.heads.emphasis import PLAIN, Emphasis
from embedkit.heads.multinomial import Curvature, descend, sums
from embedkit.heads.penalty import fit_penalised
from embedkit.heads.samples import SAMPLE, sample_of
from embedkit.matrices import Matrix, large
from embedkit.vectors import DoubleArray, FloatArray, IntArray, check_rows


@dataclass(frozen=True, slots=True)
class Logistic:
    """A fitted logistic regression.

    Attributes:
        coefficients: (k, d) float64, for vectors as they are in the store.
        intercepts: (k,) float64.
        choice: of C.
    """

    coefficients: DoubleArray
    intercepts: DoubleArray
    choice: Choice

    def probabilities(self, vectors: FloatArray) -> DoubleArray:
        """Return (n, k) probabilities; see `Classifier`."""
        check_rows(vectors, self.coefficients.shape[1])
        logits = vectors.astype(np.float64) @ self.coefficients.T + self.intercepts
        return np.asarray(special.softmax(logits, axis=1))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the coefficients and intercepts."""
        return {"coefficients": self.coefficients, "intercepts": self.intercepts}


def fit_logistic(
    vectors: Matrix,
    y: IntArray,
    clusters: IntArray,
    *,
    n_classes: int,
    seed: int,
    value: float | None = None,
    originals: int | None = None,
    emphasis: Emphasis = PLAIN,
) -> Logistic:
    """Fit multinomial logistic regression with an L2 penalty; see `fit_penalised`.

    Training images that are too many to be copied are fitted over blocks, with a C that is chosen
    on a sample of them: the penalty is a prior of the weights, so its best strength does not grow
    with the images.

    Args:
        vectors: (n, d) float32; a `Matrix` where they are many.
        y: (n,) class numbers; every class below `n_classes` occurs.
        clusters: (n,) images that must stay together.
        n_classes: number of classes, at least two.
        seed: of the folds.
        value: of C, to fit without choosing.
        originals: rows beyond these are copies, which are fitted on but never scored.
        emphasis: of the images.
    """
    if large(len(y)):
        return _fit_large(
            vectors,
            y,
            clusters,
            n_classes=n_classes,
            seed=seed,
            value=value,
            originals=len(y) if originals is None else originals,
            emphasis=emphasis,
        )
    return _fit_whole(
        vectors[:],
        y,
        clusters,
        n_classes=n_classes,
        seed=seed,
        value=value,
        originals=originals,
        emphasis=emphasis,
    )


def _fit_whole(
    vectors: FloatArray,
    y: IntArray,
    clusters: IntArray,
    *,
    n_classes: int,
    seed: int,
    value: float | None,
    originals: int | None,
    emphasis: Emphasis,
) -> Logistic:
    model, given, choice = fit_penalised(
        lambda x: partial(_Model, Curvature(x, n_classes), n_classes),
        vectors,
        y,
        clusters,
        n_classes=n_classes,
        seed=seed,
        value=value,
        originals=originals,
        emphasis=emphasis,
    )
    weights, intercepts = model.weights
    coefficients, shift = given.back(weights)
    return Logistic(coefficients, intercepts + shift, choice)


def _fit_large(
    vectors: Matrix,
    y: IntArray,
    clusters: IntArray,
    *,
    n_classes: int,
    seed: int,
    value: float | None,
    originals: int,
    emphasis: Emphasis,
) -> Logistic:
    sample = sample_of(y[:originals], clusters[:originals], SAMPLE, seed=seed)
    first = _fit_whole(
        vectors[sample],
        y[sample],
        clusters[sample],
        n_classes=n_classes,
        seed=seed,
        value=value,
        originals=None,
        emphasis=emphasis.of(sample),
    )
    made = fit_blockwise(
        vectors,
        y,
        emphasis.weights,
        n_classes=n_classes,
        c=first.choice.value,
        start=(first.coefficients, first.intercepts),
    )
    given = value is not None
    choice = noted(first.choice, made, sample=len(sample), of=originals, given=given)
    return Logistic(made.coefficients, made.intercepts, choice)


class _Model:
    """Multinomial logistic regression as a `Model`."""

    def __init__(self, curvature: Curvature, n_classes: int, exact: bool) -> None:
        self._curvature, self._k = curvature, n_classes
        self._share = 1e-5 if exact else 1e-3
        self._found: tuple[DoubleArray, DoubleArray] | None = None

    @property
    def weights(self) -> tuple[DoubleArray, DoubleArray]:
        """(k, d) coefficients and (k,) intercepts."""
        if self._found is None:
            raise RuntimeError("the model was not fitted")
        w, b = self._found
        if self._k > 2:
            return w, b
        # Two classes have a row each, as more classes have; softmax of (0, z) is the sigmoid of z.
        return np.concatenate([np.zeros_like(w), w]), np.concatenate([[0.0], b])

    def converge(self, x: FloatArray, y: IntArray, weights: DoubleArray | None, c: float) -> bool:
        total = float(len(y) if weights is None else weights.sum())
        k = 1 if self._k == 2 else self._k

        def loss(w: DoubleArray, b: DoubleArray) -> tuple[float, DoubleArray, DoubleArray]:
            value, slope, shift = sums(x, y, weights, w, b)
            value += float((w * w).sum()) / (2 * c)
            return value / total, (slope + w / c) / total, shift / total

        start = self._found or (np.zeros((k, x.shape[1])), np.zeros(k))
        root = self._curvature.root(c)
        w, b, arrived = descend(loss, root, self._curvature.steepness, start, self._share)
        self._found = w, b
        return arrived

    def losses(self, x: FloatArray, y: IntArray) -> DoubleArray:
        w, b = self.weights
        logits = (x @ w.T.astype(np.float32)).astype(np.float64) + b
        return np.asarray(-special.log_softmax(logits, axis=1)[np.arange(len(y)), y])
