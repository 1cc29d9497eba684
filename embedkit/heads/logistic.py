"""Logistic regression on standardised vectors, its C chosen inside the training set."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from embedkit.heads.blockwise import fit_blockwise
from embedkit.heads.classifier import Choice
from embedkit.heads.emphasis import PLAIN, Emphasis
from embedkit.heads.penalty import ITERATIONS, fit_penalised
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
        _Model,
        vectors,
        y,
        clusters,
        n_classes=n_classes,
        seed=seed,
        value=value,
        originals=originals,
        emphasis=emphasis,
    )
    coefficients, shift = given.back(_all_rows(model.own.coef_.astype(np.float64)))
    intercepts = _all_rows(model.own.intercept_.astype(np.float64)[:, None])[:, 0] + shift
    return Logistic(coefficients, intercepts, choice)


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
    chosen = "" if value is not None else f"C chosen on {len(sample)} of {originals} images; "
    choice = first.choice.noting(
        f"{chosen}fitted by L-BFGS in float32 over blocks of the memory map, {made.passes} passes"
    )
    if not made.converged:
        choice = choice.noting(f"not converged after {ITERATIONS} iterations")
    return Logistic(made.coefficients, made.intercepts, choice)


class _Model:
    """scikit-learn's logistic regression as a `Model`."""

    def __init__(self, exact: bool) -> None:
        tolerance = 1e-4 if exact else 1e-3
        self.own = LogisticRegression(max_iter=ITERATIONS, tol=tolerance, warm_start=True)

    def converge(self, x: FloatArray, y: IntArray, weights: DoubleArray | None, c: float) -> bool:
        self.own.set_params(C=c)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            self.own.fit(x, y, sample_weight=weights)
        return not any(issubclass(one.category, ConvergenceWarning) for one in caught)

    def losses(self, x: FloatArray, y: IntArray) -> DoubleArray:
        logits = self.own.decision_function(x).astype(np.float64)
        if logits.ndim == 1:
            logits = np.column_stack([np.zeros_like(logits), logits])
        return np.asarray(-special.log_softmax(logits, axis=1)[np.arange(len(y)), y])


def _all_rows(weights: DoubleArray) -> DoubleArray:
    """Give two classes a row each, as more classes have; softmax of (0, z) is the sigmoid of z."""
    if len(weights) > 1:
        return weights
    return np.concatenate([np.zeros_like(weights), weights])
