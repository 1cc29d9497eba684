"""Leakage: how many test images have a relative in the training set."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import Finding, Statement, Verdict, share_verdict
from embedkit.audits.siblings import Siblings
from embedkit.audits.twins import Twins
from embedkit.store import Store
from embedkit.vectors import BoolArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Leakage(Finding):
    """The share of test images that have a relative in train.

    Attributes:
        split: the test split.
        exact: test images with an exact copy in train.
        near: test images with an exact or near copy in train.
        related: test images with a copy in train, or with their person; None where nothing tells
            people apart.
        n: test images.
    """

    split: str
    exact: int
    near: int
    related: int | None
    n: int

    def details(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "split": self.split,
            "with_exact_twin_in_train": self.exact,
            "with_twin_in_train": self.near,
            "with_relative_in_train": self.related,
            "relatives_looked_for": [
                "exact_twins",
                "near_twins",
                *([] if self.related is None else ["siblings"]),
            ],
        }


def measure_leakage(
    store: Store, twins: Twins, siblings: Siblings | None, *, split: str, seed: int
) -> Leakage:
    """Count the test images that share a cluster of twins, or their person, with train."""
    splits = np.array([side or "" for side in store.items.splits])
    test, train = splits == split, splits == "train"
    near = shared(twins.near, test, train)
    exact = shared(twins.exact, test, train)
    clusters = twins.near if siblings is None else siblings.identity
    every = shared(clusters, test, train)
    n, found = int(test.sum()), int(every.sum())
    estimate, verdict = share_verdict(every[test], clusters[test], seed=seed)
    if found:
        share = f"{found} of {n} {split} images ({estimate.value:.1%})"
        summary = f"{share} have a copy in train, {int(exact.sum())} of them an exact one."
        if siblings is not None:
            summary = (
                f"{share} have a copy or their person in train; {int(near.sum())} have a copy, "
                f"{int(exact.sum())} an exact one."
            )
    else:
        summary = (
            f"None of {n} {split} images has a relative in train (the share is at most "
            f"{estimate.high:.1%}, one-sided 95%)."
        )
    if twins.missed:
        summary += f" Near copies may have been missed: {twins.missed}."
        verdict = Verdict.INCONCLUSIVE if verdict is Verdict.ABSENT else verdict
    return Leakage(
        name="leakage",
        verdict=verdict,
        statement=Statement.ASSOCIATION,
        summary=summary,
        estimate=estimate,
        missed=twins.missed,
        detectable=None if found else 100 * estimate.high,
        split=split,
        exact=int(exact.sum()),
        near=int(near.sum()),
        related=None if siblings is None else found,
        n=n,
    )


def shared(clusters: IntArray, some: BoolArray, others: BoolArray) -> BoolArray:
    """Mark the images in `some` whose cluster also holds an image in `others`: (n,) bool."""
    return np.asarray(some & np.isin(clusters, clusters[others]))
