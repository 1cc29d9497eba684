"""Logistic regression on standardised vectors, its C chosen inside the training set."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, special
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from embedkit.heads.classifier import Choice, fold_numbers
from embedkit.vectors import DoubleArray, FloatArray, IntArray

# Half decades; on standardised vectors of a thousand dimensions the best is near 0.003.
GRID = tuple(10 ** (half / 2) for half in range(-10, 3))
DEFAULT_C = 1e-3
ITERATIONS = 1000


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
        logits = vectors.astype(np.float64) @ self.coefficients.T + self.intercepts
        return np.asarray(special.softmax(logits, axis=1))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the coefficients and intercepts."""
        return {"coefficients": self.coefficients, "intercepts": self.intercepts}


def fit_logistic(
    vectors: FloatArray,
    y: IntArray,
    clusters: IntArray,
    *,
    n_classes: int,
    seed: int,
    value: float | None = None,
    originals: int | None = None,
) -> Logistic:
    """Fit multinomial logistic regression with an L2 penalty.

    C is the one with the least log-loss over folds that split no cluster; the search goes from
    strong to weak penalties and stops when the loss has risen twice.

    Args:
        vectors: (n, d) float32.
        y: (n,) class numbers; every class below `n_classes` occurs.
        clusters: (n,) images that must stay together.
        n_classes: number of classes, at least two.
        seed: of the folds.
        value: of C, to fit without choosing.
        originals: rows beyond these are copies, which are fitted on but never scored.
    """
    scored = len(y) if originals is None else originals
    # On matrices of this size a second BLAS thread makes the fit three times slower; with one, the
    # result does not depend on the machine's cores either.
    with threadpool_limits(1, user_api="blas"):
        return _fit_logistic(
            vectors, y, clusters, n_classes=n_classes, seed=seed, value=value, scored=scored
        )


def _fit_logistic(
    vectors: FloatArray,
    y: IntArray,
    clusters: IntArray,
    *,
    n_classes: int,
    seed: int,
    value: float | None,
    scored: int,
) -> Logistic:
    mean = vectors.mean(axis=0, dtype=np.float64)
    spread = vectors.std(axis=0, dtype=np.float64)
    scale = np.where(spread > 1e-8, spread, 1.0)
    standardised = (vectors - mean) / scale
    rotated, rotation = _rotate(standardised)
    if value is None:
        choice = _choose_c(rotated, y, clusters, n_classes=n_classes, seed=seed, scored=scored)
    else:
        choice = Choice("C", value, "given", ())
    model, converged = _fit(rotated, y, choice.value, tolerance=1e-4)
    weights = _all_rows(model.coef_.astype(np.float64))
    if rotation is not None:
        weights = weights @ rotation
    weights = weights / scale
    intercepts = _all_rows(model.intercept_.astype(np.float64)[:, None])[:, 0] - weights @ mean
    if not converged:
        note = f"{choice.note}; " if choice.note else ""
        choice = Choice(
            choice.name,
            choice.value,
            choice.criterion,
            choice.tried,
            f"{note}not converged after {ITERATIONS} iterations",
        )
    return Logistic(np.ascontiguousarray(weights), intercepts, choice)


def _rotate(x: DoubleArray) -> tuple[FloatArray, FloatArray | None]:
    """Turn (n, d) data with more columns than rows into (n, n).

    The penalty is the same in every rotation and the data spans at most n directions, so the fit
    is the same and several times cheaper.
    """
    if x.shape[0] >= x.shape[1]:
        return np.ascontiguousarray(x, np.float32), None
    left, values, right = linalg.svd(x, full_matrices=False, overwrite_a=True)
    return np.ascontiguousarray(left * values, np.float32), right


def _choose_c(
    x: FloatArray,
    y: IntArray,
    clusters: IntArray,
    *,
    n_classes: int,
    seed: int,
    scored: int,
) -> Choice:
    folds = fold_numbers(y, clusters, seed=seed)
    # A fold that holds all of a class leaves nothing to learn it from; the others decide.
    parts = [
        (fold, _model(tolerance=1e-3))
        for fold in np.unique(folds)
        if len(np.unique(y[folds != fold])) == n_classes
    ]
    if not parts:
        rare = "a class has only one image (or one cluster of them), so C could not be compared"
        return Choice("C", DEFAULT_C, "log-loss over folds", (), rare)
    original = np.arange(len(y)) < scored
    judged = np.isin(folds, [fold for fold, _ in parts]) & original
    tried: list[tuple[float, float]] = []
    best = 0
    for c in GRID:
        losses = np.zeros(len(y))
        for fold, model in parts:
            inside, outside = folds != fold, (folds == fold) & original
            _converge(model, x[inside], y[inside], c)
            losses[outside] = _losses(model, x[outside], y[outside])
        tried.append((c, float(losses[judged].mean())))
        best = min(range(len(tried)), key=lambda place: tried[place][1])
        if len(tried) - 1 - best >= 2:
            break
    return Choice("C", tried[best][0], "log-loss over folds", tuple(tried))


def _losses(model: LogisticRegression, x: FloatArray, y: IntArray) -> DoubleArray:
    """Return -log p of each image's class; in float64, where a small p is not rounded to zero."""
    logits = model.decision_function(x).astype(np.float64)
    if logits.ndim == 1:
        logits = np.column_stack([np.zeros_like(logits), logits])
    return np.asarray(-special.log_softmax(logits, axis=1)[np.arange(len(y)), y])


def _model(*, tolerance: float) -> LogisticRegression:
    return LogisticRegression(max_iter=ITERATIONS, tol=tolerance, warm_start=True)


def _fit(
    x: FloatArray, y: IntArray, c: float, *, tolerance: float
) -> tuple[LogisticRegression, bool]:
    model = _model(tolerance=tolerance)
    return model, _converge(model, x, y, c)


def _converge(model: LogisticRegression, x: FloatArray, y: IntArray, c: float) -> bool:
    model.set_params(C=c)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(x, y)
    return not any(issubclass(one.category, ConvergenceWarning) for one in caught)


def _all_rows(weights: DoubleArray) -> DoubleArray:
    """Give two classes a row each, as more classes have; softmax of (0, z) is the sigmoid of z."""
    if len(weights) > 1:
        return weights
    return np.concatenate([np.zeros_like(weights), weights])
