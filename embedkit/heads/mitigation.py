"""Mitigation: what evening out the training images changes, for whom, and at what price."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.errors import InputError, NotEnoughImagesError
from embedkit.heads.balance import OVER, PLAIN_BALANCE, SELECT, Balance, check_groups, groups_in
from embedkit.heads.head import Head
from embedkit.heads.training import clusters_in, fit, held_out_split, labelled_rows
from embedkit.results import Result
from embedkit.statistics import Estimate, bootstrap
from embedkit.store import Store
from embedkit.vectors import BoolArray, DoubleArray, IntArray

SMALLEST = 10  # test images of a class or group, for it to be one of those compared


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the test images before and after.

    Attributes:
        name: of the part: all of them, a class, or a group.
        n: its images.
        before: share of them that the plain head answers rightly.
        after: share that the other head does.
        change: after minus before, on the same images.
    """

    name: str
    n: int
    before: Estimate
    after: Estimate
    change: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        figures = {name: getattr(self, name).to_dict() for name in ("before", "after", "change")}
        return {"part": self.name, "n": self.n, **figures}


@dataclass(frozen=True, slots=True)
class Effect(Result):
    """What one way of balancing changes.

    Attributes:
        balance: how.
        label: column with the class.
        split: of the test images.
        wholes: the accuracy on all of them, and the mean of the classes' recalls; with groups, the
            accuracy of the group that does worst under each head, which need not be the same one,
            and the best minus the worst. Empty where there is no effect.
        classes: each class: its recall.
        groups: each group: its accuracy.
        small: classes and groups of fewer than `SMALLEST` images, which are not among these.
        note: why there is no effect; empty where there is one.
    """

    balance: Balance
    label: str
    split: str
    wholes: tuple[Part, ...] = ()
    classes: tuple[Part, ...] = ()
    groups: tuple[Part, ...] = ()
    small: tuple[str, ...] = ()
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "balance": self.balance.name,
            "over": self.balance.over or None,
            "by": self.balance.by or None,
            "select": self.balance.select,
            "not_run": self.note or None,
            "wholes": [one.to_dict() for one in self.wholes],
            "classes": [one.to_dict() for one in self.classes],
            "groups": [one.to_dict() for one in self.groups],
            "too_few_images": list(self.small),
        }


class Effects(tuple[Effect, ...], Result):
    """What several ways of balancing change, beside the same plain head."""

    __slots__ = ()


def mitigate(
    store: Store,
    *,
    by: str,
    head: str = "logistic",
    label: str = "label",
    backbone: str | None = None,
    seed: int = 0,
) -> Effects:
    """Train a head plainly and in every way that `Balance` knows, and compare on the same images.

    Args:
        store: with labels, a train and a test split.
        by: column with the groups.
        head: kind of head.
        label: column with the class.
        backbone: which space; can be left out where there is only one.
        seed: of folds, draws and bootstraps.

    Returns:
        An effect for each way; one that could not be tried says why.

    Raises:
        InputError: no such head, column, space or test split.
        NotEnoughImagesError: fewer than two classes or groups have images enough.
    """

    def fitted(balance: Balance) -> Head:
        return fit(store, head=head, label=label, backbone=backbone, balance=balance, seed=seed)

    ways = [Balance("classes"), *(Balance(over, by) for over in OVER[1:])]
    ways.append(Balance(by=by, select=SELECT[1]))
    check_groups(by, label, groups_in(store, by, labelled_rows(store, label, "train"))[0])
    plain = fitted(PLAIN_BALANCE)
    effects = []
    for way in ways:
        try:
            changed = fitted(way)
        except (InputError, NotEnoughImagesError) as error:
            split = held_out_split(store, label) or ""
            effects.append(Effect(way, label, split, note=str(error)))
        else:
            effects.append(effect_of(changed, plain, by=by, seed=seed))
    return Effects(effects)


def against_plain(changed: Head, *, seed: int = 0) -> Effect:
    """Train the plain head of a balanced head's kind, and compare the two; see `effect_of`."""
    of = changed.training
    plain = fit(
        of.opened,
        head=changed.kind,
        label=changed.label,
        backbone=of.space,
        augmented=bool(of.augmented),
        seed=seed,
    )
    return effect_of(changed, plain, by=changed.balance.by, seed=seed)


def effect_of(changed: Head, plain: Head, *, by: str = "", seed: int = 0) -> Effect:
    """Compare a head with the plain one of its kind on the same test images.

    Classes and groups of fewer than `SMALLEST` images are not shown, and no such group is the
    worst; the mean over classes is over all of them.

    Args:
        changed: trained with a balance.
        plain: trained without.
        by: column with the groups; none where left out.
        seed: of the bootstraps.

    Raises:
        InputError: there is no test split with labels.
    """
    store, label = changed.training.opened, changed.label
    split = held_out_split(store, label)
    if split is None:
        raise InputError(f"{store.path} has no test or valid split with labels to compare on")
    rows = labelled_rows(store, label, split)
    given = store.items.label_column(label)
    number = {name: place for place, name in enumerate(changed.labels)}
    y = np.array([number.get(given[row] or "", -1) for row in rows])
    before, after = (
        head.probabilities(store.space(head.training.space), rows).argmax(axis=1) == y
        for head in (plain, changed)
    )
    ask = _Asked(before, after, clusters_in(store)[rows], seed)
    classes = {name: y == place for place, name in enumerate(changed.labels)}
    groups, names = groups_in(store, by, rows)
    members = {name: groups == place for place, name in enumerate(names)}
    every = (*classes.items(), *members.items())
    small = tuple(name for name, own in every if 0 < own.sum() < SMALLEST)
    members = {name: own for name, own in members.items() if own.sum() >= SMALLEST}
    wholes = [
        ask.share("all images", np.ones(len(rows), bool)),
        ask.over("mean over classes", list(classes.values()), np.nanmean),
    ]
    if len(members) > 1:
        each = list(members.values())
        wholes += [ask.over("worst group", each, np.nanmin), ask.over("best - worst", each, _range)]
    return Effect(
        changed.balance,
        label,
        split,
        wholes=tuple(wholes),
        classes=tuple(
            ask.share(name, own) for name, own in classes.items() if own.sum() >= SMALLEST
        ),
        groups=tuple(ask.share(name, own) for name, own in members.items()),
        small=small,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which test images each head answers rightly, (n,), and which belong together, (n,)."""

    before: BoolArray
    after: BoolArray
    clusters: IntArray
    seed: int

    def share(self, name: str, own: BoolArray) -> Part:
        return self.over(name, [own], np.nanmean)

    def over(self, name: str, parts: Sequence[BoolArray], summary: Any) -> Part:
        """Summarise the accuracies of parts, (k,), under each head, and the change."""
        inside = np.any(parts, axis=0)
        marks = np.stack(parts, axis=1)[inside].astype(np.float64)
        before, after = self.before[inside], self.after[inside]

        def figures(weights: DoubleArray) -> DoubleArray:
            sizes = weights @ marks
            hits = [(weights * right) @ marks for right in (before, after)]
            shares = [
                np.divide(one, sizes, out=np.full_like(sizes, np.nan), where=sizes > 0)
                for one in hits
            ]
            first, then = (summary(one, axis=1) for one in shares)
            return np.column_stack([first, then, then - first])

        made = bootstrap(figures, self.clusters[inside], seed=self.seed, lowest=-1.0)
        one, other, change = made
        return Part(name, int(inside.sum()), _at_least(one), _at_least(other), change)


def _range(shares: DoubleArray, axis: int) -> DoubleArray:
    return np.asarray(np.nanmax(shares, axis=axis) - np.nanmin(shares, axis=axis))


def _at_least(share: Estimate) -> Estimate:
    return Estimate(share.value, max(0.0, share.low), share.high, share.n)
