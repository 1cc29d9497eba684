"""Multinomial logistic regression: its loss over blocks of images, and the way to the least."""

from collections.abc import Callable

import numpy as np
from scipy import linalg, optimize

from embedkit.heads.penalty import ITERATIONS
from embedkit.matrices import Matrix, blocks
from embedkit.vectors import DoubleArray, FloatArray, IntArray

STRIP = 64  # rows; of a narrow product BLAS makes so few in half the time that it takes for many
ROUNDING = 1e-6  # of a sum of squares in float32

Loss = Callable[[DoubleArray, DoubleArray], tuple[float, DoubleArray, DoubleArray]]


class Curvature:
    """About how steeply the mean loss bends along each direction of some vectors.

    L-BFGS that starts from it needs a third of the steps; where it arrives does not depend on it,
    so folds of the same images share one.
    """

    def __init__(self, x: FloatArray, n_classes: int) -> None:
        """Take the curvature where every fit begins: all classes are as likely as one another.

        Args:
            x: (n, d) float32.
            n_classes: of the model.
        """
        self.steepness = (1 - 1 / n_classes) / n_classes
        self._n = len(x)
        self._squares = x.T @ x * np.float32(self.steepness / self._n)
        self._roots: dict[float, FloatArray] = {}

    def root(self, c: float) -> FloatArray:
        """Return a lower triangle L, (d, d) float32: L L' is about the Hessian in each class.

        Args:
            c: inverse of the penalty's strength.
        """
        if c not in self._roots:
            bent = self._squares.copy()
            # Where dimensions repeat one another rounding leaves less than nothing along some.
            least = ROUNDING * bent.trace()
            bent[np.diag_indices(len(bent))] += np.float32(max(1 / (c * self._n), least))
            self._roots[c] = linalg.cholesky(bent, lower=True, check_finite=False)
        return self._roots[c]


def descend(
    loss: Loss,
    root: FloatArray,
    steepness: float,
    start: tuple[DoubleArray, DoubleArray],
    share: float,
) -> tuple[DoubleArray, DoubleArray, bool]:
    """Minimise a mean loss by L-BFGS in coordinates in which it bends alike everywhere.

    Args:
        loss: of (k, d) coefficients and (k,) intercepts, with its slope by both.
        root: of the curvature along the coefficients.
        steepness: of it along an intercept.
        start: coefficients and intercepts to begin with.
        share: of the mean loss, 0 to 1, that is left to gain by the slope and the curvature when
            it stops.

    Returns:
        (k, d) coefficients, (k,) intercepts, and whether it arrived within `ITERATIONS`.
    """
    k, d = start[0].shape
    scale = np.sqrt(steepness)
    left = [np.inf]

    def solve(values: DoubleArray, *, turned: bool) -> DoubleArray:
        narrow = values.T.astype(np.float32)
        solved = linalg.solve_triangular(
            root, narrow, lower=True, trans=int(turned), check_finite=False
        )
        return np.asarray(solved.T, np.float64)

    def known(parameters: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        w = solve(parameters[: k * d].reshape(k, d), turned=True)
        return w, parameters[k * d :] / scale

    def bent(parameters: DoubleArray) -> tuple[float, DoubleArray]:
        value, slope, shift = loss(*known(parameters))
        along = np.concatenate([solve(slope, turned=False).ravel(), shift / scale])
        left.append(float(along @ along) / 2 / value)
        return value, along

    def arrived(_: DoubleArray) -> None:
        if left[-1] < share:
            raise StopIteration

    begin = [(start[0] @ root.astype(np.float64)).ravel(), start[1] * scale]
    found = optimize.minimize(
        bent,
        np.concatenate(begin),
        jac=True,
        method="L-BFGS-B",
        callback=arrived,
        options={"maxiter": ITERATIONS, "gtol": 0.0, "ftol": 0.0},
    )
    return *known(found.x), bool(found.nit < ITERATIONS)


def sums(
    vectors: Matrix, y: IntArray, weights: DoubleArray | None, w: DoubleArray, b: DoubleArray
) -> tuple[float, DoubleArray, DoubleArray]:
    """Return the loss, (k, d) its slope by weight and (k,) by intercept, all summed over images.

    Products are in float32, sums of blocks in float64 and in one order.

    Args:
        vectors: (n, d) float32.
        y: (n,) class numbers.
        weights: (n,) of the images; None where all count alike.
        w: (k, d) coefficients; one row where there are two classes, and the other's is zero.
        b: (k,) intercepts.
    """
    value, slope, shift = 0.0, np.zeros(w.shape), np.zeros(len(b))
    narrow = w.astype(np.float32)
    for part in blocks(len(y)):
        x, own = vectors[part], y[part]
        strips = [x[some] @ narrow.T for some in blocks(len(x), STRIP)]
        z = np.concatenate(strips) + b  # (m, k) float64 from here on: there are few classes
        if len(b) == 1:
            z = np.concatenate([np.zeros_like(z), z], axis=1)
        place = np.arange(len(own)), own
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z)
        whole = p.sum(axis=1)
        losses = np.log(whole) - z[place]
        p /= whole[:, None]
        p[place] -= 1
        if weights is not None:
            losses, p = losses * weights[part], p * weights[part][:, None]
        p = p[:, -len(b) :]
        value += float(losses.sum())
        slope += p.T.astype(np.float32) @ x
        shift += p.sum(axis=0)
    return value, slope, shift
