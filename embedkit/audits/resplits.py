"""Is this split a random one? The given split among random and grouped re-splits of its images."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import ALPHA, Statement, rounded
from embedkit.audits.refits import Bench
from embedkit.statistics import holm
from embedkit.vectors import BoolArray, IntArray

RESPLITS = 499


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of the given split beside the same of re-splits.

    Attributes:
        value: of the given split.
        low: 2.5% of the re-splits are below.
        high: 2.5% are above.
        p: by rank, two-sided; NaN where there were no re-splits to compare with.
    """

    value: float
    low: float
    high: float
    p: float

    def to_dict(self) -> dict[str, float | None]:
        """Return it as JSON."""
        names = ("value", "low", "high", "p")
        return {name: rounded(getattr(self, name)) for name in names}


@dataclass(frozen=True, slots=True)
class Resplits:
    """What kind of split this is.

    Attributes:
        related: share of test images with a relative in train, beside random re-splits.
        nearest: mean cosine of test images with their nearest training image, beside those.
        nearest_grouped: the same beside re-splits that keep relatives together.
        balance: distance between the classes of test and train (total variation), beside random
            divisions that do not keep the classes' proportions.
        looks_like: `random`, `grouped`, `either`, `farther`, `nearer` or `mixed`.
        sentence: the same in words.
    """

    related: Compared
    nearest: Compared
    nearest_grouped: Compared
    balance: Compared
    looks_like: str
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "looks_like": self.looks_like,
            "sentence": self.sentence,
            "statement": Statement.ASSOCIATION.value,
            "re_splits": RESPLITS,
            "with_relative_in_train": {"random": self.related.to_dict()},
            "nearest_in_train": {
                "random": self.nearest.to_dict(),
                "grouped": self.nearest_grouped.to_dict(),
            },
            "class_distance": {"random": self.balance.to_dict()},
        }


def compare_with_resplits(bench: Bench, split: str) -> Resplits:
    """Divide the images of train and test anew many times, and see where the given split stands.

    A random re-split has as many test images of each class. A grouped one takes whole clusters of
    relatives, of each class about as many images. No head is trained: n * n * d multiplications.

    Args:
        bench: with the rows and clusters.
        split: name of the test split.
    """
    rows = np.sort(np.concatenate([bench.train, bench.test]))
    given = np.isin(rows, bench.test)
    y, clusters = bench.y[rows], bench.clusters[rows]
    _, member = np.unique(clusters, return_inverse=True)
    member = member.ravel()
    clustered = bool(member.max() + 1 < len(member))
    places = bench.in_pool(rows)

    def nearest(test: BoolArray) -> float:
        sides = np.zeros((2, len(bench.pool)), bool)
        sides[0, places], sides[1, places] = test, ~test
        # Rounded, for the last digits depend on the order of a product's terms.
        return float(np.round(bench.neighbourhood.nearest(*sides), 6).mean())

    generator = np.random.default_rng([bench.seed, len(rows)])
    drawn = [_random(given, y, generator) for _ in range(RESPLITS)]
    related = _compared(_related(given, member), [_related(one, member) for one in drawn])
    beside_random = _compared(nearest(given), [nearest(one) for one in drawn])
    grouped = []
    if clustered:
        kept = (_grouped(given, y, member, generator) for _ in range(RESPLITS))
        grouped = [nearest(one) for one in kept if one.any() and not one.all()]
    beside_grouped = _compared(nearest(given), grouped)
    loose = [generator.permutation(given) for _ in range(RESPLITS)]
    balance = _compared(_distance(given, y), [_distance(one, y) for one in loose])
    looks_like, sentence = _judge(
        related, beside_random, beside_grouped, clustered=clustered, split=split
    )
    return Resplits(related, beside_random, beside_grouped, balance, looks_like, sentence)


def _related(test: BoolArray, member: IntArray) -> float:
    in_train = np.bincount(member[~test], minlength=int(member.max()) + 1) > 0
    return float(in_train[member[test]].mean())


def _distance(test: BoolArray, y: IntArray) -> float:
    k = int(y.max()) + 1
    sides = [np.bincount(y[side], minlength=k) / side.sum() for side in (test, ~test)]
    return float(np.abs(sides[0] - sides[1]).sum() / 2)


def _random(given: BoolArray, y: IntArray, generator: np.random.Generator) -> BoolArray:
    """Draw as many test images of each class as there are."""
    test = np.empty(len(given), bool)
    for label in np.unique(y):
        of_label = y == label
        test[of_label] = generator.permutation(given[of_label])
    return test


def _grouped(
    given: BoolArray, y: IntArray, member: IntArray, generator: np.random.Generator
) -> BoolArray:
    """Draw whole clusters until there are about as many test images of each class.

    A cluster counts for the class of its first image.
    """
    sizes = np.bincount(member)
    _, first = np.unique(member, return_index=True)
    chosen = np.zeros(len(sizes), bool)
    for label in np.unique(y[first]):
        order = generator.permutation(np.flatnonzero(y[first] == label))
        wanted = given[y == label].sum()
        after = np.cumsum(sizes[order])
        # Clusters are taken while that brings the number nearer to what is wanted.
        chosen[order[: int(np.sum(after - sizes[order] / 2 <= wanted))]] = True
    return np.asarray(chosen[member])


def _compared(value: float, others: list[float]) -> Compared:
    if not others:
        return Compared(value, float("nan"), float("nan"), float("nan"))
    drawn = np.array(others)
    # Sums in another order differ in the last digits; such values are equal.
    below, above = np.sum(drawn <= value + 1e-9), np.sum(drawn >= value - 1e-9)
    p = min(1.0, 2 * (1 + min(below, above)) / (1 + len(drawn)))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Compared(value, float(low), float(high), float(p))


def _judge(
    related: Compared, nearest: Compared, grouped: Compared, *, clustered: bool, split: str
) -> tuple[str, str]:
    """Name what the split looks like, and say why."""
    p_related, p_nearest, p_grouped = holm(
        [related.p if clustered else float("nan"), nearest.p, grouped.p]
    )
    share = (
        f"{related.value:.1%} of {split} images have a relative in train, "
        f"{related.low:.1%} to {related.high:.1%} in random re-splits"
    )
    apart = clustered and p_related < ALPHA
    if apart and related.value > 0:
        more = related.value > related.high
        return "mixed", (
            f"The split is neither random nor by relatives: {share}"
            f"{', so copies or people were put on both sides' if more else ''}."
        )
    # Where relatives were kept together, the like of this split is one that does so too.
    like, p = (grouped, p_grouped) if apart else (nearest, p_nearest)
    how = (
        f"the nearest training image is at {like.value:.3f} on average, {like.low:.3f} to "
        f"{like.high:.3f} in {'re-splits that keep relatives together' if apart else 'random ones'}"
    )
    first = f"{share}; {how}" if clustered else how
    if p < ALPHA:
        if like.value < like.low:
            unnamed = "Relatives that nobody named may have been kept together, or they"
            why = "They" if apart else unnamed
            return "farther", (
                f"The {split} images are farther from train than in such a re-split: {first}. "
                f"{why} may come from another source, place or time."
            )
        return "nearer", (
            f"The {split} images are nearer to train than in such a re-split: {first}. There may "
            "be relatives in train that were not found."
        )
    if apart:
        return "grouped", f"It looks like a split that keeps relatives together: {first}."
    if clustered and related.value == 0:
        return "either", f"A random split and one by relatives would look alike here: {first}."
    return "random", f"It looks like a random split: {first}."
