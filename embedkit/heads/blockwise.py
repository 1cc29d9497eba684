"""Fitting over blocks: training vectors are read again and again, and never copied."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize
from threadpoolctl import threadpool_limits

from embedkit.heads.classifier import Choice
from embedkit.heads.multinomial import sums
from embedkit.heads.penalty import ITERATIONS
from embedkit.matrices import Matrix, blocks
from embedkit.vectors import DoubleArray, IntArray

TOLERANCE = 1e-4  # of the mean loss's steepest slope, as scikit-learn's solver has it


@dataclass(frozen=True, slots=True)
class Steps:
    """What a fit took.

    Attributes:
        passes: over all vectors.
        converged: whether the slope fell below `TOLERANCE` within `ITERATIONS`.
    """

    passes: int
    converged: bool


@dataclass(frozen=True, slots=True)
class Fitted(Steps):
    """What was found.

    Attributes:
        coefficients: (k, d) float64, for vectors as they are; zeros first where there are two
            classes.
        intercepts: (k,) float64.
    """

    coefficients: DoubleArray
    intercepts: DoubleArray


def fit_blockwise(
    vectors: Matrix,
    y: IntArray,
    weights: DoubleArray | None,
    *,
    n_classes: int,
    c: float,
    start: tuple[DoubleArray, DoubleArray],
) -> Fitted:
    """Fit multinomial logistic regression with an L2 penalty on standardised vectors.

    It has the optimum that `fit_logistic` has for the same C. L-BFGS needs the loss and its slope
    only, and both are sums over blocks: products in float32, sums of blocks in float64 and in one
    order, by one thread, so that no figure depends on the machine's cores. Nothing is standardised
    in memory: the weights are scaled instead.

    Args:
        vectors: (n, d) float32.
        y: (n,) class numbers; every class below `n_classes` occurs.
        weights: (n,) of the images; None where all count alike.
        n_classes: number of classes, at least two.
        c: inverse of the penalty's strength.
        start: coefficients and intercepts to begin with, as `Fitted` has them.
    """
    d = vectors.shape[1]
    k = 1 if n_classes == 2 else n_classes  # two classes have one row; the other's is zero
    with threadpool_limits(1, user_api="blas"):
        mean, scale = mean_and_scale(vectors)
        total = float(len(y) if weights is None else weights.sum())

        def loss(parameters: DoubleArray) -> tuple[float, DoubleArray]:
            w, b = parameters[: k * d].reshape(k, d), parameters[k * d :]
            value, slope, shift = sums(vectors, y, weights, *as_they_are(w, b, mean, scale))
            slope = (slope - shift[:, None] * mean) / scale + w / c
            value += float((w * w).sum()) / (2 * c)
            return value / total, np.concatenate([slope.ravel(), shift]) / total

        coefficients, intercepts = (one[-k:] - (one[:1] if k == 1 else 0) for one in start)
        begin = [(coefficients * scale).ravel(), intercepts + coefficients @ mean]
        parameters, steps = lowest(loss, np.concatenate(begin))
    w, b = as_they_are(parameters[: k * d].reshape(k, d), parameters[k * d :], mean, scale)
    if k == 1:
        w, b = np.concatenate([np.zeros_like(w), w]), np.concatenate([[0.0], b])
    return Fitted(steps.passes, steps.converged, w, b)


def lowest(
    loss: Callable[[DoubleArray], tuple[float, DoubleArray]], start: DoubleArray
) -> tuple[DoubleArray, Steps]:
    """Return the parameters with the least mean loss, and what it took to find them.

    Args:
        loss: returns the mean loss of the images and its slope; each call is a pass over them.
        start: parameters to begin with.
    """
    found = optimize.minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": ITERATIONS, "gtol": TOLERANCE, "ftol": 64 * np.finfo(float).eps},
    )
    return found.x, Steps(int(found.nfev), bool(found.nit < ITERATIONS))


def noted(choice: Choice, made: Steps, *, sample: int, of: int, given: bool) -> Choice:
    """Return a choice that says how a head was fitted over blocks.

    Args:
        choice: of C, on a sample.
        made: what the fit took.
        sample: images that C was chosen on.
        of: images that are no copies.
        given: whether C was given, and not chosen.
    """
    chosen = "" if given else f"C chosen on {sample} of {of} images; "
    choice = choice.noting(
        f"{chosen}fitted by L-BFGS in float32 over blocks of the memory map, {made.passes} passes"
    )
    if not made.converged:
        choice = choice.noting(f"not converged after {ITERATIONS} iterations")
    return choice


def mean_and_scale(vectors: Matrix) -> tuple[DoubleArray, DoubleArray]:
    """Return mean and spread in each dimension, (d,); a spread of 1 where there is none."""
    n, d = vectors.shape
    mean, squares = np.zeros(d), np.zeros(d)
    for part in blocks(n):
        mean += vectors[part].sum(axis=0, dtype=np.float64)
    mean /= n
    for part in blocks(n):
        squares += ((vectors[part] - mean) ** 2).sum(axis=0)
    spread = np.sqrt(squares / n)
    return mean, np.where(spread > 1e-8, spread, 1.0)


def as_they_are(
    w: DoubleArray, b: DoubleArray, mean: DoubleArray, scale: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """Return weights for vectors that are not standardised."""
    w = w / scale
    return w, b - w @ mean
