"""Mixtures: gaps between groups that are only guessed, with the guess's errors carried through."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.bands import Difference
from embedkit.audits.base import ALPHA, rounded
from embedkit.audits.guesses import Guess
from embedkit.audits.misguesses import WhatIf, what_if
from embedkit.audits.trust import Agreement, agreement_of, numbers_of
from embedkit.statistics import CONFIDENCE, Estimate, detectable, resamples
from embedkit.vectors import BoolArray, DoubleArray, IntArray

FEWEST = 10  # independent images that a value is given to, to count how they are guessed
UNDEFINED = 0.025  # share of the draws that may have no answer


@dataclass(frozen=True, slots=True)
class Mixture:
    """What guessed groups say of the groups themselves.

    Attributes:
        source: of the guesses.
        agreement: with what was given; None where nothing was.
        reason: why nothing is shown of the groups themselves; empty if it is.
        accuracies: of each group, corrected.
        pairs: of them, those apart beyond doubt first, then the largest gap first.
        supposed: the gap between the guessed groups, under error rates that are not known;
            empty where the gaps are corrected.
    """

    source: str
    agreement: Agreement | None
    reason: str
    accuracies: tuple[tuple[str, Estimate], ...] = ()
    pairs: tuple[Difference, ...] = ()
    supposed: tuple[WhatIf, ...] = ()

    @property
    def reach(self) -> float:
        """The largest gap that any two groups may have; NaN where that is not known."""
        limits = [max(one.gap.high, -one.gap.low) for one in self.pairs]
        return max(limits, default=float("nan"))

    @property
    def detectable(self) -> float:
        """The gap that 4 of 5 such tests would have found between any two; NaN if not known."""
        return max((detectable(one.gap) for one in self.pairs), default=float("nan"))

    def sentences(self) -> list[str]:
        """Say how good the guess is, and what follows, to go on after the attribute's name."""
        if self.agreement is None:
            nothing = f"guessed ({self.source}), so nothing is shown by it, for {self.reason}"
            return [nothing, *self._if_wrong()]
        right, kappa = self.agreement.accuracy, self.agreement.kappa
        said = [
            f"guessed ({self.source}): {right.value:.1%} [{100 * right.low:.1f}, "
            f"{100 * right.high:.1f}] of {right.n} guesses are what was given, kappa "
            f"{kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}]"
        ]
        if self.pairs:
            one = self.pairs[0]
            said.append(
                f"corrected for that, {one.better!r} is {100 * one.gap.value:.1f} points "
                f"[{100 * one.gap.low:.1f}, {100 * one.gap.high:.1f}] above {one.worse!r}, if the "
                "guess errs as often on right answers as on wrong ones"
            )
        if self.reason:
            said.append(f"nothing is shown by it, for {self.reason}")
        return [*said, *self._if_wrong()]

    def _if_wrong(self) -> list[str]:
        return [
            f"with {one.rate:.0%} of the guesses wrong the gap would be "
            + (f"{100 * one.blind:.1f} points" if one.possible else "not to be told")
            + " where errors are blind to the answers, and from "
            f"{100 * one.low:.1f} to {100 * one.high:.1f} where they are not"
            for one in self.supposed
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "source": self.source,
            "agreement": None if self.agreement is None else self.agreement.to_dict(),
            "not_shown_because": self.reason or None,
            "corrected_accuracies": [
                {"group": group, **one.to_dict()} for group, one in self.accuracies
            ],
            "corrected": [one.to_dict() for one in self.pairs],
            "no_corrected_gap_above": rounded(self.reach),
            "supposed": [one.to_dict() for one in self.supposed],
        }


def unmix(
    guess: Guess,
    groups: Sequence[str],
    pair: tuple[str, str],
    right: BoolArray,
    rows: IntArray,
    clusters: IntArray,
    *,
    seed: int,
) -> Mixture:
    """Say what guessed groups tell of the groups themselves.

    How often each value is guessed for each that was given is counted over the images of all
    splits, and the guessed groups, which are mixtures in these proportions, are resolved: the
    matrix method (B. Barron, "The effects of misclassification on the estimation of relative risk",
    Biometrics 33, 1977; for groups that answers are compared by, J. Chen et al., "Fairness under
    unawareness", FAT* 2019). It takes it that errors of the guess have nothing to do with whether
    an image is answered rightly, given the value, and that they are as frequent where no value was
    given as where one was; the first is tested where it can be.

    Args:
        guess: of one attribute.
        groups: that are large enough to be compared.
        pair: the two that are farthest apart as guessed.
        right: (m,) whether each test image is answered rightly.
        rows: (m,) the test images.
        clusters: (n,) of relatives, of all images of the store.
        seed: of everything drawn.
    """
    supposed = _supposed(guess, pair, right, rows)
    if guess.given is None or not any(guess.given):
        return Mixture(guess.source, None, "nobody says how often it is wrong", supposed=supposed)
    agreement = agreement_of(guess, guess.given, right, rows, clusters, seed=seed)
    both = [row for row, value in enumerate(guess.given) if value is not None]
    there = np.array(both, np.int64)
    said = np.array([guess.given[row] for row in both])
    values = [
        value
        for value in sorted({*said.tolist()})
        if len(np.unique(clusters[there[said == value]])) >= FEWEST
    ]
    never = [value for value in values if value not in guess.values]
    shown = [values.index(group) for group in groups if group in values]
    why = ""
    if never:
        why = f"it never says {never[0]!r}, which is given to some"
    elif len(shown) < 2:
        why = f"fewer than two of its groups were given to {FEWEST} independent images"
    if why:
        return Mixture(guess.source, agreement, why, supposed=supposed)
    if agreement.p < ALPHA:
        why = f"it errs more often where the answer is wrong, or right (p {agreement.p:.2g})"
    given, guessed = (numbers_of(column, values) for column in (guess.given, guess.values))
    resolved = _Resolved(given, guessed, right, rows)
    accuracies, pairs = _intervals(resolved, shown, clusters, seed=seed)
    if not accuracies:
        why = "it says too little of what was given"
        return Mixture(guess.source, agreement, why, supposed=supposed)
    return Mixture(
        guess.source,
        agreement,
        why,
        tuple((values[g], one) for g, one in zip(shown, accuracies, strict=True)),
        tuple(Difference(values[a], values[b], gap) for a, b, gap in pairs),
    )


class _Resolved:
    """The accuracies that guessed groups are mixtures of, for any weights of the images.

    Args:
        given: (n,) numbers of the values given to all images; -1 for another, or none.
        guessed: (n,) likewise guessed.
        right: (m,) whether each test image is answered rightly.
        rows: (m,) the test images.
    """

    def __init__(
        self, given: IntArray, guessed: IntArray, right: BoolArray, rows: IntArray
    ) -> None:
        self.k = int(max(given.max(), guessed.max())) + 1
        test = np.zeros(len(given), bool)
        test[rows] = True
        hit = np.zeros(len(given), bool)
        hit[rows] = right
        self.used = np.flatnonzero((given >= 0) | (test & (guessed >= 0)))
        values = np.arange(self.k)
        as_given = given[self.used, None] == values
        as_guessed = guessed[self.used, None] == values
        # (images, k), (images, k * k): guessed by row, given by column, and guessed in test.
        self.given = as_given.astype(np.float64)
        both = as_guessed[:, :, None] & as_given[:, None, :]
        self.both = both.reshape(len(self.used), -1).astype(np.float64)
        self.total = (as_guessed & test[self.used, None]).astype(np.float64)
        self.hits = (as_guessed & hit[self.used, None]).astype(np.float64)

    def accuracies(self, weights: DoubleArray, unseen: DoubleArray | None = None) -> DoubleArray:
        """(m, k) of each group, from (m, images) weights; NaN where there is no answer.

        Args:
            weights: of the images.
            unseen: (m, k, k) images to be added to how each value was guessed.
        """
        guess = (weights @ self.both).reshape(-1, self.k, self.k)
        size = weights @ self.given
        if unseen is not None:
            guess, size = guess + unseen, size + unseen.sum(axis=1)
        guess = guess / np.where(size > 0, size, np.nan)[:, None, :]
        solvable = np.isfinite(guess).all(axis=(1, 2))
        solvable[solvable] = np.abs(np.linalg.det(guess[solvable])) > 1e-6
        guess[~solvable] = np.eye(self.k)
        mixed = np.stack([weights @ self.hits, weights @ self.total], axis=2)  # (m, k, 2)
        hits, total = np.moveaxis(np.linalg.solve(guess, mixed), 2, 0)
        known = solvable[:, None] & (total > 1e-9)
        return np.asarray(np.where(known, np.clip(hits / np.where(known, total, 1), 0, 1), np.nan))


def _intervals(
    resolved: _Resolved, shown: Sequence[int], clusters: IntArray, *, seed: int
) -> tuple[list[Estimate], list[tuple[int, int, Estimate]]]:
    """Return the accuracies, and pairs with gaps whose intervals hold all at once.

    Clusters are drawn again for the counts of the guess and for the answers together. An error
    that was never seen may exist: in each draw the images that each value was given to are one
    more, guessed at random in shares that are drawn anew (W. Perks's prior, 1947). The intervals
    are balanced: each misses as often as the others (R. Beran, JASA 83, 1988).
    """
    generator = np.random.default_rng(seed)
    k, n = resolved.k, int(resolved.total.sum())
    values = resolved.accuracies(np.ones((1, len(resolved.used))))[0]
    drawn = np.concatenate(
        [
            resolved.accuracies(weights, generator.gamma(1 / k, size=(len(weights), k, k)))
            for weights in resamples(clusters[resolved.used], seed=seed)
        ]
    )[:, shown]
    fine = np.isfinite(drawn).all(axis=1)
    if np.isnan(values[shown]).any() or fine.mean() < 1 - UNDEFINED:
        return [], []
    drawn = drawn[fine]
    single = [
        _held(float(values[g]), drawn[:, place], 1 - CONFIDENCE, n) for place, g in enumerate(shown)
    ]
    order = sorted(range(len(shown)), key=lambda place: -values[shown[place]])
    pairs = [(a, b) for at, a in enumerate(order) for b in order[at + 1 :]]
    gaps = np.stack([drawn[:, a] - drawn[:, b] for a, b in pairs], axis=1)
    ranks = gaps.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    outermost = np.minimum(ranks, len(gaps) - 1 - ranks).min(axis=1)
    level = 2 * float(np.quantile(outermost, 1 - CONFIDENCE)) / len(gaps)
    made = [
        (shown[a], shown[b], _held(float(values[shown[a]] - values[shown[b]]), gap, level, n))
        for (a, b), gap in zip(pairs, gaps.T, strict=True)
    ]
    return single, sorted(made, key=lambda one: (one[2].low <= 0, -one[2].value))


def _held(value: float, drawn: DoubleArray, level: float, n: int) -> Estimate:
    low, high = np.quantile(drawn, [level / 2, 1 - level / 2])
    return Estimate(value, min(float(low), value), max(float(high), value), n)


def _supposed(
    guess: Guess, pair: tuple[str, str], right: BoolArray, rows: IntArray
) -> tuple[WhatIf, ...]:
    known = [place for place, row in enumerate(rows.tolist()) if guess.values[row] is not None]
    said = np.array([guess.values[row] for row in rows[known].tolist()])
    values, guessed = np.unique(said, return_inverse=True)
    better, worse = (int(np.searchsorted(values, one)) for one in pair)
    return what_if(right[known], guessed.ravel().astype(np.int64), better, worse)
