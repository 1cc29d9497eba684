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
ENTANGLED = 0.1  # correlation within classes from which columns have a thing in common
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
        of_subject: whether the cause may be of the subject as well, and nothing shows that it is
            not: then to follow it may be honest.
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
    of_subject: bool = False

    def shown(self, material: float = MATERIAL) -> bool:
        """Whether the head is shown to follow the nuisance, be that honest or not."""
        return self._judged(material) is Verdict.PRESENT

    def verdict(self, material: float = MATERIAL) -> Verdict:
        """Whether the head takes a shortcut."""
        judged = self._judged(material)
        honest = self.of_subject and judged is Verdict.PRESENT
        return Verdict.INCONCLUSIVE if honest else judged

    def _judged(self, material: float) -> Verdict:
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
            "may_be_of_the_subject": self.of_subject,
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
    answers: IntArray,
    strata: IntArray,
    clusters: IntArray,
    *,
    stronger: Sequence[DoubleArray] = (),
    aside: BoolArray | None = None,
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

    A column may tell the class by one thing and be followed for another: bytes per pixel show how a
    file was saved, which tells it, and how much detail is in the picture, which heads see. So what
    it is worth is at most what it carries together with the columns that tell the class better, all
    in one regression. Answers of chance may go with a column as well, but carry no accuracy: where
    the head is not shown to know more than chance, nothing it follows can be told.

    Args:
        cause: name.
        probabilities: (n, k) of classes by the nuisance, from heads that did not see the image.
        prior: (k,) shares of the classes among the images that those were trained on.
        y: (n,) class numbers of test images.
        answers: (n,) class numbers by the head on pictures; -1 for any other class.
        strata: (n,) of `hardness`.
        clusters: (n,) of relatives.
        stronger: (n, k) likewise, by nuisances that say more of the class.
        aside: (n,) images of which one of these says the class and cannot be judged itself: whether
            the head follows that one or this one there, nobody knows.
        seed: of the draws.
    """
    right = answers == y
    ratio = odds(probabilities) / odds(prior)
    logs = _logs(probabilities, prior)
    if aside is not None:
        logs = np.where(aside[:, None], 0.0, logs)
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
    reason = ""
    if min(counts) < FEWEST:
        few = "right" if counts[0] < counts[1] else "wrong"
        reason = (
            f"it is {few} on too few test images ({min(counts)} independent ones; "
            f"{FEWEST} are needed)"
        )
        if aside is not None and aside.any():
            reason += f" besides {aside.sum()} of which a stronger column says the class"
    elif not _centred(sign, strata).any():
        reason = "within classes and strata of hardness the nuisance does not vary"
    unknown = Reliance(
        cause, reported, aligned, conflicting, bands, nothing, nothing, np.nan, np.nan,
        kappa, kappa_p, least, leaning, np.zeros(len(y)), reason,
    )  # fmt: skip
    if reason:
        return unknown
    levels = _levels(logs)
    half = _Slopes([signs], y, right, strata)
    slopes = [_Slopes(levels, y, right, strata)]
    others = [_logs(one, prior) for one in stronger]
    others = [one for one in others if _entangled(one[own], logs[own], strata)]
    if others:
        every = [level for one in others for level in _levels(one)]
        slopes.append(_Slopes([*every, *levels], y, right, strata))

    def statistic(weights: DoubleArray) -> DoubleArray:
        figures = [2 * half.solved(weights)[:, 0], _beyond_chance(weights, y, answers)]
        return np.stack([*figures, *(one.worth(weights) for one in slopes)], axis=1)

    gap, knows, *effects = bootstrap(statistic, clusters, seed=seed, lowest=-1.0)
    least_worth = min(range(len(effects)), key=lambda place: effects[place].value)
    effect = effects[least_worth]
    if effect.low > 0 >= knows.low:
        return replace(unknown, reason="the head is not shown to know more than chance")
    p = sign_flip(_centred(logs[own], strata) * _centred(right, strata), clusters, seed=seed)
    return replace(
        unknown,
        gap=gap,
        effect=effect,
        p=p,
        adjusted=p,
        least=detectable(gap),
        shares=slopes[least_worth].shares(),
    )


def _beyond_chance(weights: DoubleArray, y: IntArray, answers: IntArray) -> DoubleArray:
    """Return (m,) accuracy less that of the same answers to images dealt anew."""
    total = weights.sum(axis=1)
    accuracy = weights @ (answers == y) / total
    chance = [(weights @ (answers == k)) * (weights @ (y == k)) / total**2 for k in np.unique(y)]
    return np.asarray(accuracy - np.sum(chance, axis=0))


def odds(probabilities: DoubleArray) -> DoubleArray:
    """Return p / (1 - p), neither zero nor infinite."""
    p = np.clip(probabilities, 1e-6, 1 - 1e-6)
    return np.asarray(p / (1 - p))


def _logs(probabilities: DoubleArray, prior: DoubleArray) -> DoubleArray:
    """Return the (n, k) logarithms of how much a nuisance changes the odds, kept within `MOST`."""
    logs = np.log(odds(probabilities) / odds(prior))
    return np.asarray(np.clip(logs, -np.log(MOST), np.log(MOST)))


def _levels(logs: DoubleArray) -> list[DoubleArray]:
    """Return the signs where a nuisance is sure, and where it but leans to one side."""
    size, signs = np.abs(logs), np.sign(logs)
    sure = size >= np.log(SURE)
    return [signs * sure, signs * ((size >= np.log(LEANS)) & ~sure)]


def _entangled(first: DoubleArray, second: DoubleArray, strata: IntArray) -> bool:
    """Return whether two columns go together where the class is the same."""
    a, b = _centred(first, strata), _centred(second, strata)
    size = np.sqrt((a @ a) * (b @ b))
    return bool(size > 0 and abs(a @ b) / size >= ENTANGLED)


def _centred(values: DoubleArray | BoolArray, strata: IntArray) -> DoubleArray:
    """Return values without the mean of their stratum."""
    means = np.bincount(strata, weights=values) / np.maximum(np.bincount(strata), 1)
    return np.asarray(values - means[strata])


class _Slopes:
    """The slopes of right answers on what nuisances say, and what they are worth."""

    def __init__(
        self, levels: Sequence[DoubleArray], y: IntArray, right: BoolArray, strata: IntArray
    ) -> None:
        """Prepare them.

        Args:
            levels: (n, k) signs of each image for each class, which get a slope each.
            y: (n,) class numbers.
            right: (n,) whether the head is.
            strata: (n,) numbers.
        """
        self._of_class = (y[:, None] == np.arange(levels[0].shape[1])).astype(np.float64)
        self._member = (strata[:, None] == np.arange(strata.max() + 1)).astype(np.float64)
        self._levels = levels
        self._own = np.stack([level[np.arange(len(y)), y] for level in levels])
        values = np.concatenate([self._own, right[None].astype(np.float64)]).T
        n = len(values)
        self._products = (values[:, :, None] * values[:, None]).reshape(n, -1)
        self._by_stratum = (values[:, :, None] * self._member[:, None]).reshape(n, -1)

    def worth(self, weights: DoubleArray) -> DoubleArray:
        """Return (m,) effects for (m, n) weights of the images."""
        total = weights.sum(axis=1, keepdims=True)
        shares = weights @ self._of_class / total
        tilts = [
            (weights @ own - (shares * (weights @ level)).sum(axis=1)) / total[:, 0]
            for own, level in zip(self._own, self._levels, strict=True)
        ]
        return np.asarray((self.solved(weights) * np.stack(tilts, axis=1)).sum(axis=1))

    def shares(self) -> DoubleArray:
        """Return the (n,) parts of the images in the effect, which is their mean."""
        slopes = self.solved(np.ones((1, len(self._member))))[0]
        classes = self._of_class.mean(axis=0)
        expected = np.stack([level @ classes for level in self._levels])
        return np.asarray(slopes @ (self._own - expected))

    def solved(self, weights: DoubleArray) -> DoubleArray:
        """Return the (m, levels) slopes."""
        m, n = len(weights), len(self._own)
        size = np.maximum(weights @ self._member, 1)[:, None]
        sums = (weights @ self._by_stratum).reshape(m, n + 1, -1)
        raw = (weights @ self._products).reshape(m, n + 1, n + 1)
        crossed = raw - (sums / size) @ sums.transpose(0, 2, 1)
        crossed[np.abs(crossed) < 1e-9] = 0.0  # of rounding, which would pass for variation
        # A level that no image has gets a slope of zero; levels that are the same share one.
        inverse = np.linalg.pinv(crossed[:, :n, :n], rcond=1e-9, hermitian=True)
        return np.asarray((inverse @ crossed[:, :n, n:])[:, :, 0])


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


def adjusted(reliances: Sequence[Reliance], *, heads: int) -> tuple[Reliance, ...]:
    """Return the same with p-values adjusted by Holm over all of them, times the heads asked."""
    ps = [min(1.0, heads * p) for p in holm([one.p for one in reliances])]
    return tuple(replace(one, adjusted=p) for one, p in zip(reliances, ps, strict=True))
