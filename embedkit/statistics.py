"""Intervals, paired tests and bootstraps; every figure that an audit shows comes from here."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from embedkit.vectors import BoolArray, DoubleArray, IntArray

DRAWS = 2000
REMEMBERED = 64_000_000  # counts of a bootstrap that are kept for the next one
CONFIDENCE = 0.95
POWER = float(stats.norm.ppf(0.8))  # standard errors beyond the limit that 4 of 5 tests reach
FOUND = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) + POWER  # 2.8


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval and the number of images that it rests on."""

    value: float
    low: float
    high: float
    n: int

    def __format__(self, spec: str) -> str:
        """Format all three numbers alike; the default is three decimals."""
        spec = spec or ".3f"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def to_dict(self) -> dict[str, float | int | None]:
        """Return JSON's view of it, rounded to six decimals; NaN becomes None."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {k: None if np.isnan(v) else round(v, 6) for k, v in numbers.items()} | {"n": self.n}


def wilson(successes: int, n: int) -> Estimate:
    """Estimate a proportion of independent images with Wilson's score interval.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927). With n = 0 nothing is known: the value is NaN, the interval 0 to 1.
    """
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0, 0)
    interval = stats.binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def compatible(first: Estimate, second: Estimate) -> bool:
    """Say whether two proportions of different images may be one.

    Source: R. G. Newcombe, "Interval estimation for the difference between independent
    proportions", Statistics in Medicine 17 (1998), method 10: whether the interval of the
    difference, made from those of both, holds zero.
    """
    high, low = (first, second) if first.value >= second.value else (second, first)
    return high.value - low.value <= math.hypot(high.value - high.low, low.high - low.value)


def upper_limit(n: int) -> float:
    """Return the one-sided 95% upper limit of a proportion of which 0 in `n` were seen.

    This is Clopper and Pearson's limit, 1 - 0.05^(1/n): 0 of 600 gives 0.5%.
    """
    return 1.0 if n == 0 else float(1 - (1 - CONFIDENCE) ** (1 / n))


def mcnemar(first: BoolArray, second: BoolArray) -> float:
    """Return the exact two-sided p-value of McNemar's test for two sets of answers.

    Args:
        first: (n,) whether the first classifier was right on each image.
        second: (n,) the same for the second classifier, on the same images.
    """
    only_first = int(np.sum(first & ~second))
    only_second = int(np.sum(second & ~first))
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second, 0.5).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values for their number.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
    of Statistics 6 (1979). A value that is NaN stands for no test.
    """
    tests = sorted((value, place) for place, value in enumerate(p) if not np.isnan(value))
    adjusted = [float("nan")] * len(p)
    least = 0.0
    for rank, (value, place) in enumerate(tests):
        least = max(least, min(1.0, value * (len(tests) - rank)))
        adjusted[place] = least
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjust p-values so that those below a level hold at most that share of false ones.

    Source: Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", JRSS B 57 (1995).
    A value that is NaN stands for no test.
    """
    values = np.asarray(p, np.float64)
    tested = ~np.isnan(values)
    if tested.any():
        values[tested] = stats.false_discovery_control(values[tested])
    return [float(value) for value in values]


def sign_flip(values: npt.ArrayLike, clusters: npt.ArrayLike, *, seed: int) -> float:
    """Return the two-sided p-value of a permutation test that paired differences are none.

    If they were, each cluster's could as well have the other sign; `DRAWS` times all signs are
    drawn at random. NaN where a value is.

    Args:
        values: (n,) difference of each image.
        clusters: (n,) images that keep the same sign.
        seed: of the draws.
    """
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(member.ravel(), weights=np.asarray(values, np.float64))
    if np.isnan(sums).any():
        return float("nan")
    sums = sums[sums != 0]
    generator, reached = np.random.default_rng(seed), 0
    step = max(1, min(DRAWS, 4_000_000 // max(len(sums), 1)))
    for start in range(0, DRAWS, step):
        drawn = generator.integers(2, size=(min(step, DRAWS - start), len(sums)), dtype=np.int8)
        signs = 2.0 * drawn - 1
        # A sum in another order differs in its last digits.
        reached += int(np.sum(np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9))
    return (1 + reached) / (1 + DRAWS)


def bootstrap(
    statistic: Callable[[DoubleArray], DoubleArray],
    clusters: npt.ArrayLike,
    *,
    seed: int,
    draws: int = DRAWS,
    lowest: float = 0.0,
) -> list[Estimate]:
    """Estimate weighted statistics with percentile intervals over clusters.

    Whole clusters are drawn with replacement, as many as there are; an image's weight in a draw
    is how often its cluster was drawn. With every image its own cluster this is the ordinary
    bootstrap. The same clusters and seed give the same draws.

    Args:
        statistic: maps (m, n) weights to (m, p) values; NaN where a draw leaves one undefined.
        clusters: (n,) the cluster of each image, any values.
        seed: of the draws.
        draws: how many.
        lowest: value that the statistics can have.

    Returns:
        p estimates; one that is undefined on the images themselves is NaN throughout. One that
        no draw changes is widened by the upper limit of "0 of so many clusters".
    """
    n, independent = len(np.asarray(clusters)), len(np.unique(np.asarray(clusters)))
    values = statistic(np.ones((1, n)))[0]
    parts = [statistic(weights) for weights in resamples(clusters, seed=seed, draws=draws)]
    drawn = np.concatenate(parts)
    unseen = upper_limit(independent)
    return [
        _percentile_estimate(float(v), drawn[:, i], n, unseen, lowest) for i, v in enumerate(values)
    ]


def resamples(clusters: npt.ArrayLike, *, seed: int, draws: int = DRAWS) -> Iterator[DoubleArray]:
    """Draw whole clusters with replacement, as many as there are.

    Args:
        clusters: (n,) the cluster of each image, any values.
        seed: of the draws.
        draws: how many.

    Yields:
        (m, n) how often each image is in each of the next m draws.
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    few = len(names) * draws <= REMEMBERED and len(names) < 2**16
    n, parts = len(member.ravel()), (_few_draws if few else _draws)(len(names), seed, draws)
    step = max(1, min(draws, 4_000_000 // max(n, 1)))
    for counts in parts:
        for start in range(0, len(counts), step):
            yield counts[start : start + step, member.ravel()].astype(np.float64)


def _draws(n: int, seed: int, draws: int) -> Iterator[IntArray]:
    """Yield (m, n) how often each of n clusters is in each of the next m draws."""
    generator = np.random.default_rng(seed)
    step = max(1, min(draws, 4_000_000 // max(n, 1)))
    for start in range(0, draws, step):
        yield generator.multinomial(n, np.full(n, 1 / n), size=min(step, draws - start))


@lru_cache(maxsize=2)
def _few_draws(n: int, seed: int, draws: int) -> list[npt.NDArray[np.uint16]]:
    """Return the same in one; an audit asks for the same draws dozens of times."""
    narrow = [part.astype(np.uint16) for part in _draws(n, seed, draws)]
    return [np.concatenate(narrow)]


def _percentile_estimate(
    value: float, drawn: DoubleArray, n: int, unseen: float, lowest: float
) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(drawn):
        return Estimate(float("nan"), float("nan"), float("nan"), n)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    if np.ptp(drawn) == 0:
        # Resampling cannot show what was never seen: a share of `unseen` of the clusters may be
        # otherwise, and move a figure between 0 and 1 by as much.
        low, high = max(value - unseen, lowest), min(value + unseen, max(value, 1.0))
    # The interval of a small sample can miss its own point by rounding; a figure lies in its own.
    return Estimate(value, min(float(low), value), max(float(high), value), n)


def weighted_mean(values: npt.ArrayLike) -> Callable[[DoubleArray], DoubleArray]:
    """Return the statistic "weighted mean of `values`" for `bootstrap`."""
    column = np.asarray(values, dtype=np.float64)

    def statistic(weights: DoubleArray) -> DoubleArray:
        return np.asarray(weights @ column / weights.sum(axis=1))[:, None]

    return statistic


def weighted_means(values: DoubleArray) -> Callable[[DoubleArray], DoubleArray]:
    """Return the statistic "weighted mean of each row of `values`", (p, n), for `bootstrap`."""

    def statistic(weights: DoubleArray) -> DoubleArray:
        return np.asarray(weights @ values.T / weights.sum(axis=1, keepdims=True))

    return statistic


def proportion(successes: BoolArray, clusters: npt.NDArray[np.generic], *, seed: int) -> Estimate:
    """Estimate a proportion: Wilson where images are independent, else a bootstrap over clusters.

    A bootstrap of only successes (or only failures) would give an interval of no width, so there
    Wilson's interval for the number of clusters is taken.
    """
    n, n_clusters = len(successes), len(np.unique(clusters))
    hits = int(np.sum(successes))
    if n_clusters == n:
        return wilson(hits, n)
    if hits in (0, n):
        few = wilson(n_clusters if hits else 0, n_clusters)
        return Estimate(few.value, few.low, few.high, n)
    return bootstrap(weighted_mean(successes), clusters, seed=seed)[0]


def paired_difference(
    first: BoolArray, second: BoolArray, clusters: npt.NDArray[np.generic], *, seed: int
) -> Estimate:
    """Estimate the mean of `first` - `second` on the same images, by a bootstrap over clusters."""
    difference = first.astype(np.float64) - second.astype(np.float64)
    return bootstrap(weighted_mean(difference), clusters, seed=seed, lowest=-1.0)[0]


def corrected_resampled(
    figures: DoubleArray, *, share: float, clusters: int, n: int, lowest: float = 0.0
) -> Estimate:
    """Estimate a mean over several divisions of the same images into train and test.

    The divisions overlap, so the variance of their mean is larger than if they did not; it is
    corrected by the share of test to training images. Source: C. Nadeau and Y. Bengio, "Inference
    for the generalization error", Machine Learning 52 (2003); for repeated cross-validation, R.
    Bouckaert and E. Frank, "Evaluating the replicability of significance tests" (PAKDD 2004).

    Args:
        figures: (j,) of each division, at least two.
        share: test images for each training image in a division.
        clusters: independent ones among the images: where all figures are the same, the interval is
            the upper limit of "0 of so many".
        n: images.
        lowest: value that the figure can have; the highest is 1.
    """
    j, value = len(figures), float(np.mean(figures))
    error = np.sqrt((1 / j + share) * np.var(figures, ddof=1))
    spread = float(stats.t.ppf((1 + CONFIDENCE) / 2, j - 1) * error)
    if np.ptp(figures) == 0:
        spread = upper_limit(clusters)
    return Estimate(value, max(lowest, value - spread), min(1.0, value + spread), n)


def effective_size(successes: BoolArray, clusters: npt.NDArray[np.generic]) -> float:
    """Return how many independent images would estimate a proportion as well as these do.

    It is p (1 - p) divided by the variance that a bootstrap over clusters would have with
    infinitely many draws, the images divided by Kish's design effect; never more than the images
    (L. Kish, "Survey Sampling", 1965). Where all successes are equal there is no variance to see,
    and each cluster counts as one.

    Args:
        successes: (n,) whether each image is answered rightly.
        clusters: (n,) the cluster of each image.
    """
    n, p = len(successes), float(np.mean(successes))
    _, member = np.unique(clusters, return_inverse=True)
    if p in (0.0, 1.0):
        return float(member.max() + 1)
    sums = np.bincount(member.ravel(), weights=successes - p)
    return min(float(n), n * n * p * (1 - p) / float(sums @ sums)) if sums.any() else float(n)


def variance_of_mean(values: DoubleArray, clusters: npt.NDArray[np.generic]) -> float:
    """Return the variance that a mean has by which clusters were drawn.

    It is what a bootstrap over clusters would show with infinitely many draws.

    Args:
        values: (n,) of each image.
        clusters: (n,) images that were drawn together.
    """
    _, member = np.unique(clusters, return_inverse=True)
    sums = np.bincount(member.ravel(), weights=values - values.mean())
    return float(sums @ sums) / len(values) ** 2


def widened(estimate: Estimate, variance: float) -> Estimate:
    """Widen an interval by a variance that the images tell nothing of.

    Args:
        estimate: with the interval that sampling its images gives.
        variance: of another, independent source.
    """
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    low, high = (
        float(np.hypot(side, z * np.sqrt(variance)))
        for side in (estimate.value - estimate.low, estimate.high - estimate.value)
    )
    return Estimate(estimate.value, estimate.value - low, estimate.value + high, estimate.n)


def plus(first: Estimate, second: Estimate) -> Estimate:
    """Return the sum of two figures, taken as independent.

    Source: G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures",
    Statistics in Medicine 27 (2008): the interval is made from those of both.
    """
    value = first.value + second.value
    low = value - math.hypot(first.value - first.low, second.value - second.low)
    high = value + math.hypot(first.high - first.value, second.high - second.value)
    return Estimate(value, low, high, first.n)


def less(first: Estimate, second: Estimate) -> Estimate:
    """Return a proportion less a part of it, 0 at least; see `plus`."""
    made = plus(first, Estimate(-second.value, -second.high, -second.low, second.n))
    value, low, high = (float(np.clip(x, 0.0, 1.0)) for x in (made.value, made.low, made.high))
    return Estimate(value, low, high, first.n)


def detectable(effect: Estimate) -> float:
    """Return the effect that would have been found in 4 of 5 cases, at the 5% level.

    It is 2.8 standard errors, 1.96 of which are half the width of the effect's own interval.
    """
    level = stats.norm.ppf((1 + CONFIDENCE) / 2)
    return float(FOUND / level * (effect.high - effect.low) / 2)


def connected(n: int, pairs: IntArray) -> IntArray:
    """Return the connected component of each of `n` images, numbered by its first image.

    Args:
        n: number of images.
        pairs: (m, 2) linked images.

    Returns:
        (n,) the smallest image number in each image's component.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(links, directed=False)
    first = np.full(component.max(initial=-1) + 1, n)
    np.minimum.at(first, component, np.arange(n))
    return np.asarray(first[component], dtype=np.int64)


def clusters_of(*columns: Sequence[object] | npt.NDArray[Any]) -> IntArray:
    """Merge several groupings of the same images: images that share a value anywhere are together.

    Args:
        columns: each (n,) of values; None marks "no group", which joins nobody.

    Returns:
        (n,) the smallest image number in each image's cluster.
    """
    pairs: list[tuple[int, int]] = []
    for column in columns:
        seen: dict[object, int] = {}
        for row, value in enumerate(column):
            if value is not None:
                pairs.append((seen.setdefault(value, row), row))
    return connected(len(columns[0]), np.array(pairs, dtype=np.int64).reshape(-1, 2))
