"""Gaps: by how much groups of test images differ, and whether chance could have made it."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from embedkit.audits.bands import Band, Difference, band
from embedkit.audits.base import ALPHA, Verdict, rounded
from embedkit.audits.groups import Grouping
from embedkit.audits.mixtures import Mixture
from embedkit.audits.relabellings import Relabelled, relabellings
from embedkit.audits.tallies import Counter, tallies
from embedkit.heads.metrics import mirrored
from embedkit.statistics import Estimate, bootstrap
from embedkit.vectors import BoolArray, DoubleArray, IntArray

DRAWS = 1999
PER_CLASS = 5  # independent images of a class in every group, for a common mix of labels
SHOWN = 12  # pairs of groups that are listed


@dataclass(frozen=True, slots=True)
class Pair:
    """Two groups.

    Attributes:
        better: the group answered rightly more often.
        worse: the other.
        gap: difference of their accuracies; the interval is simultaneous over all pairs.
        same_mix: the same at a common mix of labels; NaN where that cannot be had.
    """

    better: str
    worse: str
    gap: Estimate
    same_mix: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "better": self.better,
            "worse": self.worse,
            "gap": self.gap.to_dict(),
            "same_mix_of_labels": self.same_mix.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Gap:
    """How the groups of one attribute, or of two, differ.

    Attributes:
        grouping: which images are in which group.
        largest: the pair with the largest difference.
        apart: pairs that differ beyond doubt, the largest first.
        reach: the largest difference that any pair may have, with simultaneous limits.
        p: that groups as random as these differ as much, by permutation over clusters (max-T).
        adjusted: the same by Holm over all groupings.
        by_chance: what the largest difference stays below in 95% of such permutations.
        detectable: gap that would have been found in 4 of 5 cases, between any two groups.
        mixed: classes that the common mix is made of.
        mix_reason: why there is none; empty if there is.
        mix_reach: as `reach`, at the common mix; NaN without one.
        mix_apart: of the pairs that differ beyond doubt at it the one that differs most.
        mix_p: as `p`, at the common mix, groups permuted within classes; NaN without one.
        mix_adjusted: the same by Holm over all groupings that have one.
        parity: demographic-parity difference, the largest over the classes.
        parity_by_chance: what it stays below in 95% of the permutations.
        odds: equalised-odds difference, likewise.
        odds_by_chance: likewise.
        mixture: what the groups say of the attribute itself, where it is guessed; None for two
            attributes at once.
    """

    grouping: Grouping
    largest: Pair
    apart: tuple[Pair, ...]
    reach: float
    p: float
    adjusted: float
    by_chance: float
    detectable: float
    mixed: tuple[str, ...]
    mix_reason: str
    mix_reach: float
    mix_apart: Difference | None
    mix_p: float
    mix_adjusted: float
    parity: Estimate
    parity_by_chance: float
    odds: Estimate
    odds_by_chance: float
    mixture: Mixture | None = None

    @property
    def pair(self) -> Pair:
        """The pair to speak of: the largest beyond doubt, or the largest."""
        return self.apart[0] if self.apart else self.largest

    @property
    def spoken(self) -> Difference:
        """The two groups to speak of and their gap; of a guess that is corrected, the corrected."""
        if self.mixture is not None and self.mixture.pairs:
            return self.mixture.pairs[0]
        return Difference(self.pair.better, self.pair.worse, self.pair.gap)

    @property
    def limit(self) -> float:
        """The largest difference that any two groups may have, corrected or not."""
        corrected = self.mixture.reach if self.mixture is not None else float("nan")
        return float(np.fmax(self.reach, corrected))

    @property
    def shows(self) -> bool:
        """Whether the groups can show anything; those of a guess nobody checked cannot."""
        guess = self.mixture
        return not self.grouping.guessed or (guess is not None and not guess.reason)

    def carrying(self, mixture: Mixture) -> Self:
        """Return the same of a guessed attribute, with what its groups say of itself."""
        found = float(np.fmax(self.detectable, mixture.detectable))
        return replace(self, mixture=mixture, detectable=found)

    def verdict(self, *, material: float, tolerance: float) -> Verdict:
        """Judge it: shown to be there, shown to be small, or neither."""
        if not self.shows:
            return Verdict.INCONCLUSIVE
        pairs = self.apart if self.mixture is None else self.mixture.pairs
        shown = [one for one in pairs if one.gap.low > 0 and one.gap.value >= material]
        if shown and self.adjusted < ALPHA:
            return Verdict.PRESENT
        # Without a common mix there is nothing to compare at one.
        small = self.limit < tolerance and not self.mix_reach >= tolerance
        return Verdict.ABSENT if small else Verdict.INCONCLUSIVE

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "attributes": list(self.grouping.attributes),
            "guessed": self.grouping.guessed,
            "guess": None if self.mixture is None else self.mixture.to_dict(),
            "largest": self.largest.to_dict(),
            "apart": [one.to_dict() for one in self.apart[:SHOWN]],
            "pairs_apart": len(self.apart),
            "no_gap_above": rounded(self.reach),
            "no_gap_above_at_same_mix": rounded(self.mix_reach),
            "p": rounded(self.p),
            "p_adjusted": rounded(self.adjusted),
            "by_chance": rounded(self.by_chance),
            "detectable": rounded(self.detectable),
            "classes_in_mix": list(self.mixed),
            "no_mix_because": self.mix_reason or None,
            "apart_at_same_mix": None if self.mix_apart is None else self.mix_apart.to_dict(),
            "p_at_same_mix": rounded(self.mix_p),
            "p_at_same_mix_adjusted": rounded(self.mix_adjusted),
            "demographic_parity_difference": self.parity.to_dict(),
            "demographic_parity_by_chance": rounded(self.parity_by_chance),
            "equalised_odds_difference": self.odds.to_dict(),
            "equalised_odds_by_chance": rounded(self.odds_by_chance),
        }


def measure_gap(
    grouping: Grouping,
    y: IntArray,
    answers: IntArray,
    clusters: IntArray,
    labels: tuple[str, ...],
    *,
    tests: int,
    seed: int,
) -> Gap:
    """Compare the groups of one attribute, or of two.

    The p-value permutes the groups over clusters of relatives and is exact where accuracy has
    nothing to do with them; the bands say how large a difference is.

    Args:
        grouping: of m test images.
        y: (m,) class numbers.
        answers: (m,) class numbers answered.
        clusters: (m,) of relatives.
        labels: names of the classes.
        tests: groupings that are judged together.
        seed: of permutations and bootstraps.
    """
    kept = grouping.members >= 0
    members, y, answers, clusters = (a[kept] for a in (grouping.members, y, answers, clusters))
    right, k = answers == y, len(labels)
    nothing = np.zeros(len(y), np.int64)
    raw = band(right, members, nothing, np.ones(1), clusters, seed=seed)
    mixed, reason = _common(members, y, clusters, k)
    same = _at_one_mix(right, members, y, clusters, mixed, seed=seed) if not reason else None
    pairs = _pairs(grouping.groups, raw, same)
    beyond = sorted((p for p in pairs if p.gap.low > 0), key=lambda one: -one.gap.value)
    draws = max(DRAWS, 40 * tests)
    drawn = relabellings(members, clusters, draws=draws, seed=seed)
    counter = Counter(y, answers, len(grouping.groups), k)
    chance = _chances(counter, drawn)
    reached = chance[0] >= counter.drawn(members[None]).largest()[0][0] - 1e-9

    def differences(weights: DoubleArray) -> DoubleArray:
        every = counter.weighted(weights, members)
        return np.stack([every.parity(), every.odds()], axis=1)

    # Resampling inflates a largest difference as it does a calibration error.
    parity, odds = map(mirrored, bootstrap(differences, clusters, seed=seed))
    p = float((1 + reached.sum()) / (1 + draws))
    mix_p = (
        float("nan")
        if reason
        else _p_at_one_mix(members, y, answers, clusters, mixed, draws=draws, seed=seed)
    )
    limits = [float(np.nanpercentile(one, 95)) for one in chance[1:]]
    return Gap(
        grouping,
        max(pairs, key=lambda one: one.gap.value),
        tuple(beyond),
        raw.reach,
        p,
        p,
        limits[0],
        raw.detectable(tests),
        tuple(labels[place] for place in mixed.tolist()),
        reason,
        same.reach if same else float("nan"),
        _farthest(grouping.groups, same) if same else None,
        mix_p,
        mix_p,
        parity,
        limits[1],
        odds,
        limits[2],
    )


def _chances(
    counter: Counter, drawn: Relabelled
) -> tuple[DoubleArray, DoubleArray, DoubleArray, DoubleArray]:
    """Return what permuted groups reach: scaled gap, gap, parity and odds, (draws,) each."""
    parts = [
        np.stack([*one.largest(), one.parity(), one.odds()]) for one in tallies(counter, drawn)
    ]
    scaled, gap, parity, odds = np.concatenate(parts, axis=1)
    return scaled, gap, parity, odds


def _p_at_one_mix(
    members: IntArray,
    y: IntArray,
    answers: IntArray,
    clusters: IntArray,
    classes: IntArray,
    *,
    draws: int,
    seed: int,
) -> float:
    """Return the p-value of the gap at one mix of labels, groups permuted within classes.

    It is exact where every image is its own cluster and, of images of one class, groups are
    answered alike; how often a class is in a group does not matter.
    """
    kept = np.isin(y, classes)
    strata = np.searchsorted(classes, y[kept])
    # Answers outside the mix are wrong, whichever they are.
    said = np.where(answers[kept] == y[kept], strata, len(classes))
    counter = Counter(strata, said, int(members.max()) + 1, len(classes) + 1)
    found = counter.drawn(members[kept][None]).at_one_mix()[0]
    drawn = relabellings(members[kept], clusters[kept], draws=draws, seed=seed, strata=strata)
    reached = [one.at_one_mix() >= found - 1e-9 for one in tallies(counter, drawn)]
    return float((1 + np.concatenate(reached).sum()) / (1 + draws))


def _common(members: IntArray, y: IntArray, clusters: IntArray, k: int) -> tuple[IntArray, str]:
    """Return the classes that every group has enough of, or why there is no common mix."""
    groups = int(members.max()) + 1
    owners = np.unique(np.stack([members * k + y, clusters]), axis=1)[0]
    families = np.bincount(owners, minlength=groups * k).reshape(groups, k)
    classes = np.flatnonzero(families.min(axis=0) >= PER_CLASS)
    if len(classes):
        return classes, ""
    return classes, f"no class has {PER_CLASS} independent images in every group"


def _at_one_mix(
    right: BoolArray,
    members: IntArray,
    y: IntArray,
    clusters: IntArray,
    classes: IntArray,
    *,
    seed: int,
) -> Band:
    """Weigh each class in every group as it is in all of these images together."""
    kept = np.isin(y, classes)
    strata = np.searchsorted(classes, y[kept])
    weights = np.bincount(strata) / len(strata)
    return band(right[kept], members[kept], strata, weights, clusters[kept], seed=seed)


def _pairs(groups: tuple[str, ...], raw: Band, same: Band | None) -> list[Pair]:
    unknown = Estimate(float("nan"), float("nan"), float("nan"), raw.n)
    order = np.argsort(-raw.values, kind="stable").tolist()
    return [
        Pair(groups[a], groups[b], raw.gap(a, b), same.gap(a, b) if same else unknown)
        for place, a in enumerate(order)
        for b in order[place + 1 :]
    ]


def _farthest(groups: tuple[str, ...], one: Band) -> Difference | None:
    apart = np.argwhere(one.limits[0] > 0).tolist()
    pairs = [Difference(groups[a], groups[b], one.gap(a, b)) for a, b in apart]
    return max(pairs, key=lambda pair: pair.gap.value, default=None)
