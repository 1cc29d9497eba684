"""What leaking gains: which images a network is trained without, and what that costs it."""

from dataclasses import dataclass

import numpy as np

from embedkit.audits import relatives
from embedkit.audits.books import levels_of
from embedkit.finetuning.division import Division
from embedkit.heads.training import clusters_in
from embedkit.statistics import Estimate, clusters_of
from embedkit.store import Store
from embedkit.vectors import BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class Purge:
    """What the second and the third training go without.

    Attributes:
        removed: (n,) images to train or stop on that are related to a test image.
        others: (n,) as many of each class that are drawn at random.
        mixed: whether related ones are among those, for a class has too few others.
        causes: what was looked for: `exact_twins`, `near_twins`, `siblings`.
        clusters: (n,) by everything that relates images; what bootstraps keep together.
        reason: why there is nothing to train without; empty if there is.
    """

    removed: BoolArray
    others: BoolArray
    mixed: bool
    causes: tuple[str, ...]
    clusters: IntArray
    reason: str


@dataclass(frozen=True, slots=True)
class Retrained:
    """A network that was trained for as many steps on fewer images.

    Attributes:
        n_train: images to train on.
        n_valid: images that say which epoch is best.
        kept: that epoch.
        accuracy: on the same test images.
    """

    n_train: int
    n_valid: int
    kept: int
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Leaks:
    """What a network owes to relatives of test images.

    Intervals are over test images, of these networks: another seed would train others.

    Attributes:
        causes: see `Purge`.
        without: the network trained without relatives; None where it was not trained.
        control: the one trained without as many random others; likewise.
        lost: accuracy of the network on all of train minus that without relatives.
        worth: accuracy of the control minus that without relatives: what relatives are worth beyond
            as many images.
        mixed: see `Purge`.
        reason: why nothing was measured; empty if it was.
    """

    causes: tuple[str, ...]
    without: Retrained | None = None
    control: Retrained | None = None
    lost: Estimate | None = None
    worth: Estimate | None = None
    mixed: bool = False
    reason: str = ""


def plan_purge(
    store: Store, division: Division, *, label: str, backbone: str | None, seed: int
) -> Purge:
    """Find the images that are related to test images, and draw as many others.

    Relatives are those that the ledger and `embedkit split` go by: copies, and the same person
    where the data set or its faces tell people apart.
    """
    twins, people = relatives(store, label=label, backbone=backbone, seed=seed)
    levels = levels_of(twins, None if isinstance(people, str) else people)
    kin = levels[-1][1]
    removed, others = np.zeros(len(kin), bool), np.zeros(len(kin), bool)
    generator, mixed = np.random.default_rng(seed), False
    for rows in (division.train, division.valid):
        related = np.isin(kin[rows], kin[division.test])
        removed[rows[related]] = True
        drawn, some = as_many_others(division.y[rows], related, generator)
        others[rows[drawn]] = True
        mixed |= some
    left = division.without(removed)
    gone = np.setdiff1d(division.y[division.train], division.y[left.train])
    reason = ""
    if not removed.any():
        reason = f"no image of train is related to one of {division.split}"
    elif len(gone):
        names = ", ".join(division.labels[place] for place in gone)
        reason = f"no training image of {names} would be left"
    elif not len(left.valid):
        reason = "no image that says when to stop would be left"
    clusters = clusters_of(clusters_in(store), kin)
    causes = tuple(cause for cause, _ in levels)
    return Purge(removed, others, mixed, causes, clusters, reason)


def as_many_others(
    y: IntArray, removed: BoolArray, generator: np.random.Generator
) -> tuple[BoolArray, bool]:
    """Draw as many images of each class as are removed, from those that are not.

    Returns:
        (n,) whether each image is drawn; and whether a class had too few others, so that they were
        drawn from all of it.
    """
    drawn, mixed = np.zeros(len(y), bool), False
    for label in np.unique(y[removed]):
        wanted = int(np.sum(removed & (y == label)))
        pool = np.flatnonzero(~removed & (y == label))
        if len(pool) <= wanted:
            pool, mixed = np.flatnonzero(y == label), True
        drawn[generator.choice(pool, wanted, replace=False)] = True
    return drawn, mixed
