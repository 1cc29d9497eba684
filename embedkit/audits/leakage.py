"""Leakage: how many test images have a relative in the training set."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import MATERIAL, Finding, Statement, Verdict
from embedkit.audits.twins import Twins
from embedkit.statistics import Estimate, proportion, upper_limit
from embedkit.store import Store
from embedkit.vectors import BoolArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Leakage(Finding):
    """The share of test images that have a copy in train.

    Attributes:
        split: the test split.
        exact: test images with an exact copy in train.
        near: test images with an exact or near copy in train.
        n: test images.
    """

    split: str
    exact: int
    near: int
    n: int

    def details(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "split": self.split,
            "with_exact_twin_in_train": self.exact,
            "with_twin_in_train": self.near,
            "relatives_looked_for": ["exact_twins", "near_twins"],
        }


def measure_leakage(store: Store, twins: Twins, *, split: str, seed: int) -> Leakage:
    """Count the test images that share a cluster of twins with a training image."""
    splits = np.array([side or "" for side in store.items.splits])
    test, train = splits == split, splits == "train"
    near = shared(twins.near, test, train)
    exact = shared(twins.exact, test, train)
    n, found = int(test.sum()), int(near.sum())
    estimate = proportion(near[test], twins.near[test], seed=seed)
    if not found:
        estimate = Estimate(0.0, 0.0, upper_limit(n), n)
    if found:
        verdict = Verdict.PRESENT
        summary = (
            f"{found} of {n} {split} images ({estimate.value:.1%}) have a copy in train, "
            f"{int(exact.sum())} of them an exact one."
        )
    else:
        verdict = Verdict.ABSENT if estimate.high <= MATERIAL else Verdict.INCONCLUSIVE
        summary = (
            f"None of {n} {split} images has a copy in train (the share is at most "
            f"{estimate.high:.1%}, one-sided 95%)."
        )
    return Leakage(
        name="leakage",
        verdict=verdict,
        statement=Statement.ASSOCIATION,
        summary=summary,
        estimate=estimate,
        split=split,
        exact=int(exact.sum()),
        near=found,
        n=n,
    )


def shared(clusters: IntArray, some: BoolArray, others: BoolArray) -> BoolArray:
    """Mark the images in `some` whose cluster also holds an image in `others`: (n,) bool."""
    return np.asarray(some & np.isin(clusters, clusters[others]))
