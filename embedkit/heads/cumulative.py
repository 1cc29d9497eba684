"""A head for ordered classes: one scale, cut at thresholds (the cumulative-logit model)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special
from threadpoolctl import threadpool_limits

from embedkit.heads.blockwise import lowest, mean_and_scale, noted
from embedkit.heads.classifier import Choice
from embedkit.heads.emphasis import PLAIN, Emphasis
from embedkit.heads.penalty import ITERATIONS, fit_penalised
from embedkit.heads.samples import SAMPLE, sample_of
from embedkit.matrices import Matrix, blocks, large
from embedkit.vectors import DoubleArray, FloatArray, IntArray, check_rows

NARROWEST = 1e-6  # distance of two thresholds, so that no class is impossible


@dataclass(frozen=True, slots=True)
class Cumulative:
    """A fitted cumulative-logit model: log-odds of "class j or lower" are thresholds[j] - scale.

    Source: P. McCullagh, "Regression models for ordinal data", Journal of the Royal Statistical
    Society B 42, 1980.

    Attributes:
        coefficients: (d,) float64, of the scale, for vectors as they are in the store.
        thresholds: (k - 1,) float64, rising.
        choice: of C.
    """

    coefficients: DoubleArray
    thresholds: DoubleArray
    choice: Choice

    def probabilities(self, vectors: FloatArray) -> DoubleArray:
        """Return (n, k) probabilities, lowest class first; see `Classifier`."""
        check_rows(vectors, len(self.coefficients))
        scale = vectors.astype(np.float64) @ self.coefficients
        return np.exp(_log_probabilities(self.thresholds, scale))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the coefficients and thresholds."""
        return {"coefficients": self.coefficients, "thresholds": self.thresholds}


def fit_cumulative(
    vectors: Matrix,
    y: IntArray,
    clusters: IntArray,
    *,
    n_classes: int,
    seed: int,
    value: float | None = None,
    originals: int | None = None,
    emphasis: Emphasis = PLAIN,
) -> Cumulative:
    """Fit a cumulative-logit model with an L2 penalty; see `fit_penalised`.

    Training images that are too many to be copied are fitted over blocks, as `fit_logistic` does.

    Args:
        vectors: (n, d) float32; a `Matrix` where they are many.
        y: (n,) class numbers from the lowest class to the highest; every one occurs.
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
    model, given, choice = fit_penalised(
        lambda _: partial(_Model, n_classes),
        vectors[:],
        y,
        clusters,
        n_classes=n_classes,
        seed=seed,
        value=value,
        originals=originals,
        emphasis=emphasis,
    )
    coefficients, shift = given.back(model.scale[None])
    return Cumulative(coefficients[0], model.thresholds - shift[0], choice)


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
) -> Cumulative:
    sample = sample_of(y[:originals], clusters[:originals], SAMPLE, seed=seed)
    first = fit_cumulative(
        vectors[sample],
        y[sample],
        clusters[sample],
        n_classes=n_classes,
        seed=seed,
        value=value,
        emphasis=emphasis.of(sample),
    )
    c, cuts = first.choice.value, n_classes - 1
    weights = np.ones(len(y)) if emphasis.weights is None else emphasis.weights
    with threadpool_limits(1, user_api="blas"):
        mean, spread = mean_and_scale(vectors)

        def loss(parameters: DoubleArray) -> tuple[float, DoubleArray]:
            scale = parameters[cuts:] / spread
            narrow, shift = scale.astype(np.float32), float(scale @ mean)
            value, slope = 0.0, np.zeros(len(parameters))
            pulled = 0.0
            for part in blocks(len(y)):
                x = vectors[part]
                z = (x @ narrow).astype(np.float64) - shift
                some, by_cuts, by_scale = _loss(parameters[:cuts], z, y[part], weights[part])
                value += some
                slope[:cuts] += by_cuts
                slope[cuts:] += by_scale.astype(np.float32) @ x
                pulled += float(by_scale.sum())
            slope[cuts:] = (slope[cuts:] - pulled * mean) / spread + parameters[cuts:] / c
            value += float(parameters[cuts:] @ parameters[cuts:]) / (2 * c)
            return value / weights.sum(), slope / weights.sum()

        begin = _parameters_of(first.thresholds - mean @ first.coefficients)
        parameters, steps = lowest(loss, np.concatenate([begin, first.coefficients * spread]))
    coefficients = parameters[cuts:] / spread
    thresholds = _thresholds(parameters[:cuts]) + mean @ coefficients
    given = value is not None
    choice = noted(first.choice, steps, sample=len(sample), of=originals, given=given)
    return Cumulative(coefficients, thresholds, choice)


class _Model:
    """The model as a `Model`: `scale` and the first threshold and logs of the others' distances."""

    def __init__(self, n_classes: int, exact: bool) -> None:
        self._k, self._tolerance = n_classes, 1e-9 if exact else 1e-7
        self._found: DoubleArray | None = None

    @property
    def thresholds(self) -> DoubleArray:
        return _thresholds(self._parameters[: self._k - 1])

    @property
    def scale(self) -> DoubleArray:
        return self._parameters[self._k - 1 :]

    @property
    def _parameters(self) -> DoubleArray:
        if self._found is None:
            raise RuntimeError("the model was not fitted")
        return self._found

    def converge(self, x: FloatArray, y: IntArray, weights: DoubleArray | None, c: float) -> bool:
        exact, k = x.astype(np.float64), self._k
        weights = np.ones(len(y)) if weights is None else weights
        start = self._found if self._found is not None else self._start(y, weights, x.shape[1])

        def loss(parameters: DoubleArray) -> tuple[float, DoubleArray]:
            scale = parameters[k - 1 :]
            value, by_cuts, by_scale = _loss(parameters[: k - 1], exact @ scale, y, weights)
            slope = exact.T @ by_scale + scale / c
            return value + float(scale @ scale) / (2 * c), np.concatenate([by_cuts, slope])

        found = optimize.minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ITERATIONS, "ftol": self._tolerance, "gtol": 1e-3},
        )
        self._found = found.x
        return bool(found.nit < ITERATIONS)

    def losses(self, x: FloatArray, y: IntArray) -> DoubleArray:
        scale = x.astype(np.float64) @ self.scale
        return -_log_between(*_edges(self.thresholds, scale, y))

    def _start(self, y: IntArray, weights: DoubleArray, d: int) -> DoubleArray:
        """Return the thresholds that fit without any vector."""
        counts = np.bincount(y, weights, self._k)
        cuts = special.logit(np.cumsum(counts)[:-1] / counts.sum())
        return np.concatenate([_parameters_of(cuts), np.zeros(d)])


def _loss(
    parameters: DoubleArray, scale: DoubleArray, y: IntArray, weights: DoubleArray
) -> tuple[float, DoubleArray, DoubleArray]:
    """Return the loss of images, and its slope by the parameters of the thresholds and by `scale`.

    Args:
        parameters: (k - 1,) of the thresholds.
        scale: (n,) place of each image.
        y: (n,) class numbers.
        weights: (n,).
    """
    k = len(parameters) + 1
    above, below = _edges(_thresholds(parameters), scale, y)
    with np.errstate(over="ignore"):
        ratio = 1 / np.expm1(above - below)
    up = weights * (special.expit(-above) + ratio)
    down = -weights * (special.expit(below) + ratio)
    pull = np.bincount(y, up, k)[:-1] + np.bincount(y, down, k)[1:]
    later = np.cumsum(pull[::-1])[::-1]  # a threshold carries all that come after it
    later[1:] *= np.exp(parameters[1:])
    return -float(weights @ _log_between(above, below)), -later, up + down


def _parameters_of(cuts: DoubleArray) -> DoubleArray:
    """Return the parameters that `_thresholds` makes thresholds of."""
    steps = np.log(np.maximum(np.diff(cuts) - NARROWEST, NARROWEST))
    return np.concatenate([cuts[:1], steps])


def _thresholds(parameters: DoubleArray) -> DoubleArray:
    steps = np.exp(parameters[1:]) + NARROWEST
    return np.asarray(parameters[0] + np.concatenate([[0.0], np.cumsum(steps)]))


def _edges(cuts: DoubleArray, scale: DoubleArray, y: IntArray) -> tuple[DoubleArray, DoubleArray]:
    """Return how far the upper and the lower threshold of each image's class are from its scale."""
    every = np.concatenate([[-np.inf], cuts, [np.inf]])
    return every[y + 1] - scale, every[y] - scale


def _log_between(above: DoubleArray, below: DoubleArray) -> DoubleArray:
    """Return log(sigmoid(above) - sigmoid(below)) without cancelling."""
    apart = np.log1p(-np.exp(below - above))
    return np.asarray(special.log_expit(above) + special.log_expit(-below) + apart)


def _log_probabilities(cuts: DoubleArray, scale: DoubleArray) -> DoubleArray:
    every = [
        _log_between(*_edges(cuts, scale, np.full(len(scale), one))) for one in range(len(cuts) + 1)
    ]
    return np.column_stack(every)
