"""Reliance: does a head on pictures do worse where a nuisance points to the wrong class?"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats

from embedkit.audits.base import MATERIAL, Statement, Verdict, effect_verdict, rounded
from embedkit.statistics import (
    CONFIDENCE,
    Estimate,
    bootstrap,
    detectable,
    holm,
    proportion,
    sign_flip,
)
from embedkit.vectors import BoolArray, DoubleArray, IntArray

# What the nuisance says is how much it changes the odds of a class from what they are among all
# images; limits on that are the same for two classes, for many and for rare ones, and fixed.
LEANS = 1.25  # times the odds, or less than one in so many
SURE = 2.0
MOST = 4.0  # beyond which the nuisance cannot be surer
BANDS = (1 / MOST, 1 / SURE, 1 / LEANS, LEANS, SURE, MOST)
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
        leaning: (n,) logarithm of how many times likelier the nuisance makes each image's class;
            zero below `LEANS`.
        shares: (n,) what each test image gives to the effect, which is their mean; zero where
            nothing can be said.
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
    leaning: DoubleArray = field(repr=False, compare=False)
    shares: DoubleArray = field(repr=False, compare=False)
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

    Each image has a sign: +1 where the nuisance points to its class, -1 where it points away, else
    0. The slope of "answered rightly" on the sign within strata is half the gap; without zeros the
    gap is Mantel's and Haenszel's difference of risks (S. Greenland, J. Robins, Biometrics 41,
    1985). The effect is the slope times how much larger the mean sign is than if the classes of the
    same images were drawn anew: a nuisance that is right no more often than by chance is worth
    nothing, however closely it is followed. It is made of two slopes, where the nuisance is `SURE`
    and where it but leans to one side: the head may follow one and not the other. The p-value is
    that of the slope on the logarithm of the odds ratio.

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
    ratio = odds(probabilities) / odds(prior)
    logs = np.clip(np.log(ratio), -np.log(MOST), np.log(MOST))
    leans = np.abs(logs) >= np.log(LEANS)
    signs = np.sign(logs) * leans
    own = np.arange(len(y)), y
    sign, leaning = signs[own], (logs * leans)[own]
    limits = (0.0, *BANDS, np.inf)
    bands = tuple(
        (low, high, proportion(right[part], clusters[part], seed=seed))
        for low, high in itertools.pairwise(limits)
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
            f"it is {few} on too few test images ({min(counts)} independent ones; "
            f"{FEWEST} are needed)"
        )
        return Reliance(
            cause, reported, aligned, conflicting, bands, nothing, nothing, np.nan, np.nan,
            kappa, kappa_p, least, leaning, np.zeros(len(y)), reason,
        )  # fmt: skip
    if not _centred(sign, strata).any():
        reason = "within classes and strata of hardness the nuisance does not vary"
        return Reliance(
            cause, reported, aligned, conflicting, bands, nothing, nothing, np.nan, np.nan,
            kappa, kappa_p, least, leaning, np.zeros(len(y)), reason,
        )  # fmt: skip
    slopes = _Slopes(signs, np.abs(logs) >= np.log(SURE), y, right, strata)
    gap, effect = bootstrap(slopes.statistic, clusters, seed=seed, lowest=-1.0)
    product = _centred(logs[own], strata) * _centred(right, strata)
    p = sign_flip(product, clusters, seed=seed)
    return Reliance(
        cause, reported, aligned, conflicting, bands, gap, effect, p, p,
        kappa, kappa_p, detectable(gap), leaning, slopes.shares(),
    )  # fmt: skip


def odds(probabilities: DoubleArray) -> DoubleArray:
    """Return p / (1 - p), neither zero nor infinite."""
    p = np.clip(probabilities, 1e-6, 1 - 1e-6)
    return np.asarray(p / (1 - p))


def _centred(values: DoubleArray | BoolArray, strata: IntArray) -> DoubleArray:
    """Return values without the mean of their stratum."""
    means = np.bincount(strata, weights=values) / np.maximum(np.bincount(strata), 1)
    return np.asarray(values - means[strata])


class _Slopes:
    """The slope of right answers on what the nuisance says, and what that is worth."""

    def __init__(
        self,
        signs: DoubleArray,
        sure: BoolArray,
        y: IntArray,
        right: BoolArray,
        strata: IntArray,
    ) -> None:
        """Prepare it.

        Args:
            signs: (n, k) of each image for each class.
            sure: (n, k) whether the nuisance is.
            y: (n,) class numbers.
            right: (n,) whether the head is.
            strata: (n,) numbers.
        """
        self._own = np.arange(len(y)), y
        self._member = (strata[:, None] == np.arange(strata.max() + 1)).astype(np.float64)
        self._of_class = (y[:, None] == np.arange(signs.shape[1])).astype(np.float64)
        self._levels = [signs * sure, signs * ~sure]
        self._right = right

    def statistic(self, weights: DoubleArray) -> DoubleArray:
        """Return (m, 2) gap and effect for (m, n) weights of the images."""
        gap, slopes = self._solved(weights)
        total = weights.sum(axis=1, keepdims=True)
        shares = weights @ self._of_class / total
        tilts = [
            (weights @ level[self._own] - (shares * (weights @ level)).sum(axis=1)) / total[:, 0]
            for level in self._levels
        ]
        return np.stack([gap, (slopes * np.stack(tilts, axis=1)).sum(axis=1)], axis=1)

    def shares(self) -> DoubleArray:
        """Return the (n,) parts of the images in the effect, which is their mean."""
        slopes = self._solved(np.ones((1, len(self._right))))[1][0]
        classes = self._of_class.mean(axis=0)
        tilts = [level[self._own] - level @ classes for level in self._levels]
        return np.asarray(slopes @ np.stack(tilts))

    def _solved(self, weights: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the (m,) gaps and the (m, 2) slopes where the nuisance is sure and where not."""
        one, other = (level[self._own] for level in self._levels)
        size = np.maximum(weights @ self._member, 1)
        a, b, r = (self._summed(weights, values) for values in (one, other, self._right))

        def product(of: DoubleArray, s: DoubleArray, t: DoubleArray) -> DoubleArray:
            return np.asarray((self._summed(weights, of) - s * t / size).sum(axis=1))

        aa, bb, ab = product(one**2, a, a), product(other**2, b, b), product(one * other, a, b)
        ar, br = product(one * self._right, a, r), product(other * self._right, b, r)
        spread = aa + bb + 2 * ab
        gap = 2 * (ar + br) / np.where(spread > 1e-9, spread, np.nan)
        matrix = np.stack([np.stack([aa, ab], axis=1), np.stack([ab, bb], axis=1)], axis=1)
        # A level that no image has gets a slope of zero.
        inverse = np.linalg.pinv(matrix, rcond=1e-9, hermitian=True)
        return gap, (inverse @ np.stack([ar, br], axis=1)[:, :, None])[:, :, 0]

    def _summed(self, weights: DoubleArray, values: DoubleArray | BoolArray) -> DoubleArray:
        return np.asarray(weights @ (self._member * values[:, None]))  # (m, strata)


def _agreement(right: BoolArray, answered: BoolArray, y: IntArray) -> tuple[float, DoubleArray]:
    """Return Cohen's kappa of two sets of errors within classes, and what a sign test sums up."""
    first, second = _centred(right, y), _centred(answered, y)
    a, b = right - first, answered - second  # means of the image's class
    expected = float((a * b + (1 - a) * (1 - b)).mean())
    if expected > 1 - 1e-9:
        return float("nan"), np.zeros(len(y))
    return (float((right == answered).mean()) - expected) / (1 - expected), first * second


def _detectable_gap(accuracy: Estimate, first: int, second: int) -> float:
    if not first or not second:
        return float("nan")
    p = min(max(accuracy.value, 1 / (first + second)), 1 - 1 / (first + second))
    level, power = stats.norm.ppf([(1 + CONFIDENCE) / 2, 0.8])
    return float(min(1.0, (level + power) * np.sqrt(p * (1 - p) * (1 / first + 1 / second))))


def adjusted(reliances: Sequence[Reliance]) -> tuple[Reliance, ...]:
    """Return the same with p-values adjusted by Holm over all of them."""
    ps = holm([one.p for one in reliances])
    return tuple(replace(one, adjusted=p) for one, p in zip(reliances, ps, strict=True))
