"""Siblings: different photographs of one person, within and across splits."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import MATERIAL, Finding, Statement, Verdict
from embedkit.audits.twins import Twins
from embedkit.statistics import Estimate, clusters_of, proportion, upper_limit
from embedkit.store import Store
from embedkit.vectors import BoolArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Siblings(Finding):
    """The people of a data set, and how many test images show one who is in train too.

    Attributes:
        split: the test split.
        identity: (n,) cluster of each image by person, twins included.
        groups: people that the data set names.
        across: of them, those in train and in the test split.
        images: test images that have a sibling in train, twins not counted.
    """

    split: str
    identity: IntArray
    groups: int
    across: int
    images: int

    def details(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "split": self.split,
            "from": "the data set's group column",
            "groups": self.groups,
            "groups_in_train_and_test": self.across,
            "with_sibling_in_train": self.images,
        }


def find_siblings(store: Store, twins: Twins, *, split: str, seed: int) -> Siblings:
    """Count the test images whose person is in train on another photograph.

    Args:
        store: whose items name groups.
        twins: of that store; a copy is no sibling.
        split: the test split.
        seed: of the bootstrap.
    """
    groups = store.items.groups
    splits = np.array([side or "" for side in store.items.splits])
    train, test = splits == "train", splits == split
    named = np.array([group or "" for group in groups])
    related = _in_train(named, twins.near, test, train)
    n, found = int(test.sum()), int(related.sum())
    estimate = proportion(related[test], clusters_of(groups, twins.near)[test], seed=seed)
    if not found:
        estimate = Estimate(0.0, 0.0, upper_limit(n), n)
    across = set(named[train]) & set(named[test]) - {""}
    unnamed = sum(group is None for group in groups)
    without = f" {unnamed} images name nobody." if unnamed else ""
    if found:
        verdict = Verdict.PRESENT
        summary = (
            f"{found} of {n} {split} images ({estimate.value:.1%}) show somebody whom train shows "
            f"on another photograph ({len(across)} of {len(set(named) - {''})} people are on both "
            f"sides).{without}"
        )
    else:
        verdict = Verdict.ABSENT if estimate.high <= MATERIAL else Verdict.INCONCLUSIVE
        summary = (
            f"None of {n} {split} images shows somebody whom train shows on another photograph "
            f"(the share is at most {estimate.high:.1%}, one-sided 95%).{without}"
        )
    return Siblings(
        name="siblings",
        verdict=verdict,
        statement=Statement.ASSOCIATION,
        summary=summary,
        estimate=estimate,
        split=split,
        identity=clusters_of(groups, twins.near),
        groups=len(set(named) - {""}),
        across=len(across),
        images=found,
    )


def _in_train(
    named: "np.typing.NDArray[np.str_]", near: IntArray, test: BoolArray, train: BoolArray
) -> BoolArray:
    """Mark test images whose person has a training image of another cluster of twins."""
    people: dict[str, set[int]] = {}
    for row in np.flatnonzero(train & (named != "")):
        people.setdefault(named[row], set()).add(int(near[row]))
    marked = np.zeros(len(named), bool)
    for row in np.flatnonzero(test & (named != "")):
        marked[row] = bool(people.get(named[row], set()) - {int(near[row])})
    return marked
