"""How many labels are wrong: the share of surprises that stays however sure a head is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats
from threadpoolctl import threadpool_limits

from embedkit.statistics import CONFIDENCE, DRAWS, Estimate, bootstrap
from embedkit.vectors import DoubleArray, IntArray

# Square roots of the rates compared and logarithms of how much surer than it says the head is;
# both evenly spaced, for the best is sought between them.
ROOTS = np.linspace(0, np.sqrt(0.5), 32)
SHARPER = np.linspace(np.log(0.25), np.log(8), 16)
LEAST = 1e-12  # of a probability


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """The rate of wrong labels, and how probably each label is one.

    Attributes:
        rate: of wrong labels.
        wrong: (n,) probability that each label is wrong, at that rate.
    """

    rate: Estimate
    wrong: DoubleArray


def estimate_noise(
    probabilities: DoubleArray,
    y: IntArray,
    clusters: npt.NDArray[np.generic],
    *,
    seed: int,
    draws: int = DRAWS,
) -> Noise:
    """Estimate the rate at which labels were replaced by another class, whatever the picture shows.

    A head errs on pictures that are hard for it, and the surer it is, the more seldom; a wrong
    label surprises it as often where it is sure. So each label is taken to have the probability
    (1 - e) p + e (1 - p) / (c - 1), where p is what a head that never saw the image gives its
    class, to a power b, scaled to sum to 1: b mends how sure the head is, e is the rate. Both are
    those that make the labels most probable, e from 0 to a half. The floor under errors is what
    psychophysics calls a lapse rate (F. Wichmann and N. Hill, "The psychometric function",
    Perception & Psychophysics 63, 2001).

    The interval is the wider, at either end, of a bootstrap over clusters, each draw of which
    chooses both anew, and of the likelihood ratio, each cluster counted as one image: the first
    knows nothing of wrong labels that happen not to be there, the second nothing of images that
    hang together.

    Args:
        probabilities: (n, c) of each image by a head that saw neither it nor its relatives.
        y: (n,) class numbers.
        clusters: (n,) images that hang together.
        seed: of the bootstrap.
        draws: of the bootstrap.
    """
    rates, powers = ROOTS**2, np.exp(SHARPER)
    other = probabilities.shape[1] - 1
    own = np.stack([_own(probabilities, y, power) for power in powers], axis=1)  # (n, b)
    given = (1 - rates) * own[..., None] + rates * (1 - own[..., None]) / other  # (n, b, e)
    logs = np.log(given).reshape(len(y), -1)

    def profile(weights: DoubleArray) -> DoubleArray:
        likelihood = (weights @ logs).reshape(len(weights), len(powers), len(rates))
        return _highest(np.moveaxis(likelihood, 1, 2))[1]  # (m, e)

    def best(weights: DoubleArray) -> DoubleArray:
        return np.asarray(_highest(profile(weights))[0] ** 2)[:, None]

    # One thread: sums in another order would make another file.
    with threadpool_limits(1, user_api="blas"):
        drawn = bootstrap(best, clusters, seed=seed, draws=draws)[0]
        each = len(np.unique(clusters)) / len(y)
        low, high = _likely(each * profile(np.ones((1, len(y))))[0])
    rate = Estimate(drawn.value, min(low, drawn.low), max(high, drawn.high), len(y))
    nearest = int(np.argmin(np.abs(rates - rate.value)))
    power = powers[int(logs.sum(axis=0).reshape(len(powers), -1)[:, nearest].argmax())]
    p = _own(probabilities, y, power)
    swapped = rate.value * (1 - p) / other
    return Noise(rate, swapped / ((1 - rate.value) * p + swapped))


def _likely(profile: DoubleArray) -> tuple[float, float]:
    """Return the lowest and the highest rate that a likelihood ratio test at 5% does not refuse."""
    short = profile.max() - profile - stats.chi2.ppf(CONFIDENCE, 1) / 2
    inside = np.flatnonzero(short <= 0)

    def crossing(first: int, beyond: int) -> float:
        if not 0 <= beyond < len(short):
            return float(ROOTS[first] ** 2)
        part = short[first] / (short[first] - short[beyond])
        return float((ROOTS[first] + part * (ROOTS[beyond] - ROOTS[first])) ** 2)

    return crossing(inside[0], inside[0] - 1), crossing(inside[-1], inside[-1] + 1)


def _own(probabilities: DoubleArray, y: IntArray, power: float) -> DoubleArray:
    """Return the (n,) probability of each image's class, neither 0 nor 1."""
    logs = power * np.log(np.maximum(probabilities, LEAST))
    p = special.softmax(logs, axis=1)[np.arange(len(y)), y]
    return np.asarray(np.clip(p, LEAST, 1 - LEAST))


def _highest(curves: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return place and height of the highest point of curves, by a parabola through three points.

    Args:
        curves: (..., g) heights at `ROOTS` or `SHARPER`, as many as there are.

    Returns:
        (...,) place, where curves are over `ROOTS`, and height; at an end the end itself.
    """
    last = curves.shape[-1] - 1
    top = curves.argmax(axis=-1)
    inner = np.clip(top, 1, last - 1)
    left, middle, right = (
        np.take_along_axis(curves, (inner + step)[..., None], axis=-1)[..., 0]
        for step in (-1, 0, 1)
    )
    bend = left - 2 * middle + right
    shift = np.divide(left - right, 2 * bend, out=np.zeros_like(bend), where=bend < 0)
    shift = np.where((top == 0) | (top == last), top - inner, np.clip(shift, -0.5, 0.5))
    place = (inner + shift) * (ROOTS[1] - ROOTS[0])
    height = middle + shift * (right - left) / 2 + shift**2 * bend / 2
    return place, height
