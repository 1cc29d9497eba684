"""Reliance: does a head on pictures do worse where a nuisance points to the wrong class?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from embedkit.audits.base import MATERIAL, Statement, Verdict, effect_verdict, rounded
from embedkit.statistics import (
    CONFIDENCE,
    Estimate,
    bootstrap,
    detectable,
    proportion,
    sign_flip,
)
from embedkit.vectors import BoolArray, DoubleArray, IntArray

# The nuisance is confident where it makes the odds of the image's class twice what they are among
# all images, or half; fixed, and the same for two classes, for many and for rare ones.
SURE = 2.0
BANDS = (1 / 4, 1 / SURE, SURE, 4)  # odds ratios between which accuracies are listed
FEWEST = 20  # clusters of test images on which the nuisance is right, and on which it is wrong
HARDNESS = 3  # strata of a class by similarity to the nearest training image
PER_STRATUM = 30  # test images of a class for each


@dataclass(frozen=True, slots=True)
class Reliance:
    """Whether the head's answers follow a nuisance, class and hardness being alike.

    Attributes:
        cause: the column, or all of them.
        reported: accuracy of the head on the test images.
        aligned: the same where the nuisance points to the image's class.
        conflicting: the same where it points away from it.
        bands: (lowest odds ratio, highest, accuracy) by what the nuisance says.
        gap: aligned less conflicting, within classes and strata of hardness.
        effect: accuracy that the head would lose if the nuisance said nothing of the class.
        p: of the gap, by signs drawn for each cluster.
        adjusted: the same by Holm over all causes.
        kappa: agreement of the head's errors with the nuisance's, within classes.
        kappa_p: of that.
        least: gap that 4 of 5 such tests would find; NaN where nothing can be said.
        reason: why the gap cannot be judged; empty if it can.
    """

    cause: str
    reported: Estimate
    aligned: Estimate
    conflicting: Estimate
    bands: tuple[tuple[float, float, Estimate], ...]
    gap: Estimate
    effect: Estimate
    p: float
    adjusted: float
    kappa: float
    kappa_p: float
    least: float
    reason: str = ""

    def verdict(self, material: float = MATERIAL) -> Verdict:
        """Whether the head uses the nuisance."""
        if self.reason:
            return Verdict.INCONCLUSIVE
        return effect_verdict(self.effect, self.reported, p=self.adjusted, material=material)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "cause": self.cause,
            "reported": self.reported.to_dict(),
            "aligned": self.aligned.to_dict(),
            "conflicting": self.conflicting.to_dict(),
            "bands": [
                {
                    "odds_from": rounded(low),
                    "odds_to": None if np.isinf(high) else rounded(high),
                    **accuracy.to_dict(),
                }
                for low, high, accuracy in self.bands
            ],
            "gap": self.gap.to_dict(),
            "effect": self.effect.to_dict(),
            "p": rounded(self.p),
            "p_adjusted": rounded(self.adjusted),
            "errors_agree": {"kappa": rounded(self.kappa), "p": rounded(self.kappa_p)},
            "detectable_gap": rounded(self.least),
            "statement": Statement.MATCHED.value,
            "reason": self.reason or None,
        }


def hardness(y: IntArray, nearest: DoubleArray) -> IntArray:
    """Return strata of test images: their class, and how near the nearest training image is.

    What is far from train is hard, whatever it shows; a similarity knows neither the label nor the
    head's boundary, which a head that uses the nuisance would have drawn along it.

    Args:
        y: (n,) class numbers.
        nearest: (n,) cosine with the nearest training image.
    """
    strata = np.zeros(len(y), np.int64)
    for label in np.unique(y):
        own = np.flatnonzero(y == label)
        parts = max(1, min(HARDNESS, len(own) // PER_STRATUM))
        order = own[np.argsort(nearest[own], kind="stable")]
        for number, part in enumerate(np.array_split(order, parts)):
            strata[part] = label * HARDNESS + number
    return np.asarray(np.unique(strata, return_inverse=True)[1].ravel())


def measure_reliance(
    cause: str,
    probabilities: DoubleArray,
    prior: DoubleArray,
    y: IntArray,
    right: BoolArray,
    strata: IntArray,
    clusters: IntArray,
    *,
    seed: int,
) -> Reliance:
    """Compare a head's accuracy where a nuisance is right with that where it is wrong.

    Each image has a sign: +1 where the nuisance is confident of its class, -1 where it is confident
    of others, else 0. The slope of "answered rightly" on the sign within strata is half the gap;
    without zeros the gap is Mantel's and Haenszel's difference of risks (S. Greenland, J. Robins,
    Biometrics 41, 1985). The effect is the slope times the mean sign, less the mean sign that the
    same images would have with their classes drawn anew: how much a nuisance can be worth depends
    on how often it is right, and that of one which knows nothing is no more often than by chance.

    Args:
        cause: name.
        probabilities: (n, k) of classes by the nuisance, from heads that did not see the image.
        prior: (k,) shares of the classes among the images that those were trained on.
        y: (n,) class numbers of test images.
        right: (n,) whether the head on pictures answers rightly.
        strata: (n,) of `hardness`.
        clusters: (n,) of relatives.
        seed: of the draws.
    """
    k = len(prior)
    ratio = odds(probabilities) / odds(prior)
    signs = np.sign(np.log(ratio)) * (np.maximum(ratio, 1 / ratio) >= SURE)
    own = np.arange(len(y)), y
    sign = signs[own]
    limits = (0.0, *BANDS, np.inf)
    bands = tuple(
        (low, high, proportion(right[part], clusters[part], seed=seed))
        for low, high in zip(limits, limits[1:], strict=False)
        for part in [(ratio[own] > low) & (ratio[own] <= high)]
    )
    reported = proportion(right, clusters, seed=seed)
    sides = [sign > 0, sign < 0]
    aligned, conflicting = (proportion(right[s], clusters[s], seed=seed) for s in sides)
    answered = probabilities.argmax(axis=1) == y
    kappa, product = _agreement(right, answered, y)
    kappa_p = sign_flip(product, clusters, seed=seed)
    counts = [len(np.unique(clusters[side])) for side in sides]
    least = _detectable_gap(reported, *counts)
    nothing = Estimate(np.nan, np.nan, np.nan, len(y))
    if min(counts) < FEWEST:
        few = "right" if counts[0] < counts[1] else "wrong"
        reason = (
            f"it is clearly {few} on too few test images ({min(counts)} independent ones; "
            f"{FEWEST} are needed)"
        )
        return Reliance(
            cause, reported, aligned, conflicting, bands, nothing, nothing, np.nan, np.nan,
            kappa, kappa_p, least, reason,
        )  # fmt: skip
    centred, product = _products(sign, right, strata)
    if not centred.any():
        reason = "within classes and strata of hardness the nuisance does not vary"
        return Reliance(
            cause, reported, aligned, conflicting, bands, nothing, nothing, np.nan, np.nan,
            kappa, kappa_p, least, reason,
        )  # fmt: skip
    gap, effect = bootstrap(
        _slope(sign, signs, y, right, strata, k), clusters, seed=seed, lowest=-1.0
    )
    p = sign_flip(product, clusters, seed=seed)
    return Reliance(
        cause, reported, aligned, conflicting, bands, gap, effect, p, p,
        kappa, kappa_p, detectable(gap),
    )  # fmt: skip


def odds(probabilities: DoubleArray) -> DoubleArray:
    """Return p / (1 - p), neither zero nor infinite."""
    p = np.clip(probabilities, 1e-6, 1 - 1e-6)
    return np.asarray(p / (1 - p))


def _products(sign: DoubleArray, right: BoolArray, strata: IntArray) -> tuple[DoubleArray, ...]:
    """Return the sign without its stratum's mean, and its product with "right" likewise."""
    size = np.bincount(strata)
    a = sign - (np.bincount(strata, weights=sign) / size)[strata]
    b = right - (np.bincount(strata, weights=right) / size)[strata]
    return a, a * b


def _slope(  # type: ignore[no-untyped-def]
    sign: DoubleArray, signs: DoubleArray, y: IntArray, right: BoolArray, strata: IntArray, k: int
):
    """Return the statistic (gap, effect) for `bootstrap`."""
    member = (strata[:, None] == np.arange(strata.max() + 1)).astype(np.float64)
    of_class = (y[:, None] == np.arange(k)).astype(np.float64)
    columns = [np.ones(len(y)), sign, 1.0 * right, sign * sign, sign * right]
    parts = [member * column[:, None] for column in columns]

    def statistic(weights: DoubleArray) -> DoubleArray:
        n, s, r, ss, sr = (weights @ part for part in parts)  # (m, strata)
        size = np.maximum(n, 1)
        spread = (ss - s * s / size).sum(axis=1)
        slope = (sr - s * r / size).sum(axis=1) / np.where(spread > 1e-9, spread, np.nan)
        total = weights.sum(axis=1)
        shares = weights @ of_class / total[:, None]
        by_chance = (shares * (weights @ signs) / total[:, None]).sum(axis=1)
        tilt = weights @ sign / total - by_chance
        return np.stack([2 * slope, slope * tilt], axis=1)

    return statistic


def _agreement(right: BoolArray, answered: BoolArray, y: IntArray) -> tuple[float, DoubleArray]:
    """Return Cohen's kappa of two sets of errors within classes, and what a sign test sums up."""
    size = np.bincount(y)
    a = (np.bincount(y, weights=right) / np.maximum(size, 1))[y]
    b = (np.bincount(y, weights=answered) / np.maximum(size, 1))[y]
    expected = float((a * b + (1 - a) * (1 - b)).mean())
    if expected > 1 - 1e-9:
        return float("nan"), np.zeros(len(y))
    kappa = (float((right == answered).mean()) - expected) / (1 - expected)
    return kappa, (right - a) * (answered - b)


def _detectable_gap(accuracy: Estimate, first: int, second: int) -> float:
    if not first or not second:
        return float("nan")
    p = min(max(accuracy.value, 1 / (first + second)), 1 - 1 / (first + second))
    level, power = stats.norm.ppf([(1 + CONFIDENCE) / 2, 0.8])
    return float(min(1.0, (level + power) * np.sqrt(p * (1 - p) * (1 / first + 1 / second))))
