"""The way out: a split that nothing crosses, and lists of what to drop or look at again."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.labels import Labels
from embedkit.audits.quality import Quality
from embedkit.audits.siblings import Siblings
from embedkit.audits.ticks import Answer, ticks
from embedkit.audits.twins import Twins
from embedkit.cells import csv_text, guarded, path_cell
from embedkit.errors import InputError
from embedkit.items import path_of_id
from embedkit.results import Result
from embedkit.store import Store
from embedkit.vectors import DoubleArray, IntArray


@dataclass(frozen=True, slots=True)
class SplitPlan(Result):
    """A split in which no cluster has images on two sides.

    Attributes:
        sides: split of each image, in the order of the store.
        clusters: how many there are.
        largest: images in the largest.
        counts: images by split and label.
        wanted: share of each split that was asked for.
    """

    sides: tuple[str, ...]
    clusters: int
    largest: int
    counts: dict[str, Counter[str]]
    wanted: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "clusters": self.clusters,
            "largest_cluster": self.largest,
            "wanted": self.wanted,
            "images": {side: sum(labels.values()) for side, labels in self.counts.items()},
            "labels": {side: dict(sorted(labels.items())) for side, labels in self.counts.items()},
        }


def plan_split(
    store: Store,
    twins: Twins,
    siblings: Siblings | None,
    *,
    test: float = 0.2,
    valid: float = 0.0,
    label: str = "label",
    balance: Sequence[str] = (),
    seed: int = 0,
) -> SplitPlan:
    """Divide a store's images so that relatives stay together.

    The largest clusters are placed first, each where it takes the sizes, the labels and the
    columns to be balanced nearest to what was asked for.

    Args:
        store: its images, whatever splits they have now.
        twins: of that store.
        siblings: of that store; None where nothing tells people apart.
        test: share of the images that goes to test.
        valid: share that goes to valid.
        label: column whose values get the same share everywhere.
        balance: further such columns.
        seed: of the order of equally large clusters.

    Raises:
        InputError: shares that are none, or an unknown column.
    """
    if not (0 < test < 1 and 0 <= valid < 1 and test + valid < 1):
        raise InputError(
            f"test {test:g} and valid {valid:g} leave nothing for train; shares lie between 0 and 1"
        )
    wanted = {"train": 1 - test - valid, "valid": valid, "test": test}
    wanted = {side: share for side, share in wanted.items() if share}
    clusters = twins.near if siblings is None else siblings.identity
    names, member = np.unique(clusters, return_inverse=True)
    columns = [store.items.label_column(name) for name in (label, *balance)]
    kinds = _kinds(columns)
    content = np.zeros((len(names), kinds.shape[1]))
    np.add.at(content, member.ravel(), kinds)
    placed = _place(content, list(wanted.values()), [store.items.ids[row] for row in names], seed)
    sides = tuple(list(wanted)[one] for one in placed[member.ravel()])
    counts: dict[str, Counter[str]] = {side: Counter() for side in wanted}
    for side, given in zip(sides, columns[0], strict=True):
        counts[side][given or "no label"] += 1
    return SplitPlan(sides, len(names), int(np.bincount(member.ravel()).max()), counts, wanted)


def _kinds(columns: Iterable[list[str | None]]) -> DoubleArray:
    """Return (n, k): a column of ones, then one for each value of each column."""
    columns = list(columns)
    parts = [np.ones((len(columns[0]), 1))]
    for column in columns:
        values = np.array([value or "" for value in column])
        parts.append((values[:, None] == np.unique(values)[None]).astype(np.float64))
    return np.concatenate(parts, axis=1)


def _place(
    content: DoubleArray, shares: Sequence[float], names: Sequence[str], seed: int
) -> IntArray:
    """Put each cluster on the side where the squared distance from the shares stays least."""
    total = content.sum(axis=0)
    goal = np.outer(shares, total)
    have = np.zeros_like(goal)
    order = sorted(
        range(len(content)),
        key=lambda one: (
            -content[one, 0],
            hashlib.sha256(f"{seed}|{names[one]}".encode()).digest(),
        ),
    )
    placed = np.zeros(len(content), np.int64)
    for one in order:
        # What a side still lacks, as a part of what it is to have, counts for every kind alike.
        before = ((goal - have) ** 2 / np.maximum(goal, 1)).sum(axis=1)
        after = ((goal - have - content[one]) ** 2 / np.maximum(goal, 1)).sum(axis=1)
        placed[one] = int(np.argmin(after - before))
        have[placed[one]] += content[one]
    return placed


def split_manifest(store: Store, plan: SplitPlan) -> bytes:
    """Return a plan as a manifest that `embedkit embed` reads: path, label, split and more."""
    items = store.items
    groups = any(group is not None for group in items.groups)
    names = [*(["group"] if groups else []), *items.attributes]
    columns = [items.label_column(name) for name in names]
    rows = [["path", *map(guarded, ("label", "split", *names))]]
    for row, (id_, given, side) in enumerate(zip(items.ids, items.labels, plan.sides, strict=True)):
        said = (given, side, *(column[row] for column in columns))
        rows.append([path_cell(path_of_id(id_)), *(guarded(one or "") for one in said)])
    return csv_text(rows).encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do with one image.

    Attributes:
        id: of the image.
        action: `drop`, `relabel`, `move`, `look` or `mend`.
        reason: in words.
        other: the image that is the reason; empty if none is.
    """

    id: str
    action: str
    reason: str
    other: str = ""


class Advices(list[Advice], Result):
    """Advice on the images of one store."""


def advise(
    store: Store,
    twins: Twins,
    siblings: Siblings | None,
    quality: Quality,
    labels: Labels | None = None,
) -> Advices:
    """List what to drop, label anew, move, look at and mend; nothing is touched.

    Dropped are exact copies but for one of each photograph. Near copies, which the pixels verified,
    are to be looked at, as are labels that others object to, the surest objection first, and
    pictures that are spoilt or unlike all others. What somebody ticked as not real is left out.

    Returns:
        By action, certain things first, and id.
    """
    items = store.items
    ids = items.ids
    ticked = ticks(store).items()
    denied = {(one.finding, one.ids) for one, tick in ticked if tick.answer is Answer.NOT_REAL}

    def real(finding: str, *some: str) -> bool:
        return (finding, tuple(sorted(some))) not in denied

    advice = [Advice(one.id, "mend", one.reason) for one in store.unreadable]
    for pair in twins.pairs:
        if pair.conflicting and real("twins", pair.a, pair.b):
            advice += [
                Advice(one, "relabel", f"the same photograph is labelled {given} there", other)
                for one, other, given in (
                    (pair.a, pair.b, pair.labels[1]),
                    (pair.b, pair.a, pair.labels[0]),
                )
            ]
    gone: set[str] = set()
    for cluster in twins.clusters:
        kept = {int(twins.exact[cluster.keep]): cluster.keep}
        for row in cluster.rows:
            if row == cluster.keep or not real("twins", ids[row], ids[cluster.keep]):
                continue
            first = kept.setdefault(int(twins.exact[row]), row)
            if first == row:
                reason = f"a near copy of the one to keep ({cluster.reason})"
                advice.append(Advice(ids[row], "look", reason, ids[cluster.keep]))
                continue
            gone.add(ids[row])
            reason = "an exact copy"
            if first == cluster.keep:
                reason = f"an exact copy of the one to keep ({cluster.reason})"
            advice.append(Advice(ids[row], "drop", reason, ids[first]))
    if siblings is not None:
        tested: dict[int, str] = {}
        every = list(zip(ids, siblings.identity.tolist(), items.splits, strict=True))
        for id_, person, side in every:
            if side == siblings.split:
                tested.setdefault(person, id_)
        advice += [
            Advice(
                id_,
                "move",
                f"a person, or a chain of copies, is in {siblings.split} too",
                tested[person],
            )
            for id_, person, side in every
            if side == "train" and person in tested and id_ not in gone
        ]
    settled = gone | {one.id for one in advice if one.action in ("mend", "relabel")}
    doubts = [
        Advice(one.id, "look", f"rather {one.suggested} than {one.label}: {one.reason}", one.other)
        for one in (labels.images if labels is not None else ())
        if one.id not in settled and real("labels", one.id)
    ]
    advice += [
        Advice(one.id, "look", one.reason)
        for one in quality.flagged
        if one.id not in settled and real("quality", one.id)
    ]
    surest = {one: place for place, one in enumerate(doubts)}
    order = ("drop", "relabel", "move", "look", "mend")
    return Advices(
        sorted(
            {*advice, *doubts},
            key=lambda one: (
                order.index(one.action),
                surest.get(one, len(surest)),
                one.id,
                one.other,
            ),
        )
    )


def advice_csv(advice: Sequence[Advice]) -> bytes:
    """Return advice as CSV: action, id, reason, other."""
    rows = [("action", "id", "reason", "other")]
    rows += [(one.action, one.id, one.reason, one.other) for one in advice]
    return csv_text([*map(guarded, row)] for row in rows).encode("utf-8", "backslashreplace")
