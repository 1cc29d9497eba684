"""Suspects: labels to look at, ranked, each with its reason in words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import rounded
from embedkit.audits.opinions import Voters
from embedkit.audits.twins import Pair
from embedkit.vectors import BoolArray, DoubleArray, IntArray

EXACT, NEAR = "exact copy", "near copy"


@dataclass(frozen=True, slots=True)
class Suspect:
    """One label to look at.

    Attributes:
        id: of the image.
        label: that it carries.
        split: that it belongs to; None for none.
        suggested: the label that it rather has.
        score: probability of its own label, by all who were asked; NaN where nobody was.
        by: who suggests it: `copy`, or those of `head`, `neighbours` and `confident learning` that
            object to the label.
        reason: in words.
        other: id of the copy that carries the other label; empty without one.
    """

    id: str
    label: str
    split: str | None
    suggested: str
    score: float
    by: tuple[str, ...]
    reason: str
    other: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "id": self.id,
            "given": self.label,
            "split": self.split,
            "suggested": self.suggested,
            "score": rounded(self.score),
            "by": list(self.by),
            "reason": self.reason,
            "other": self.other or None,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What is thought of every label that is judged.

    Attributes:
        rows: (n,) of the images in the store.
        labels: names of the classes.
        y: (n,) class numbers.
        opinion: (n, c) probabilities by all who were asked, together.
        head: (n, c) by heads that saw neither image nor relatives.
        voters: the nearest images of others.
        confident: (n,) whether confident learning objects to the label.
    """

    rows: IntArray
    labels: Sequence[str]
    y: IntArray
    opinion: DoubleArray
    head: DoubleArray
    voters: Voters
    confident: BoolArray

    def own(self) -> DoubleArray:
        """Return the (n,) probability of each image's own label."""
        return np.asarray(self.opinion[np.arange(len(self.y)), self.y])

    def by(self, place: int) -> tuple[str, ...]:
        """Return who objects to a label."""
        own = self.y[place]
        objections = {
            "head": self.head[place].argmax() != own,
            "neighbours": self.voters.votes[place].argmax() != own,
            "confident learning": self.confident[place],
        }
        return tuple(name for name, objects in objections.items() if objects)

    def suggested(self, place: int) -> int:
        """Return the class that an image rather has: the most probable of the others."""
        others = self.opinion[place].copy()
        others[self.y[place]] = -1
        return int(others.argmax())

    def reason(self, place: int) -> str:
        """Say in words why a label is suspicious."""
        own, other = int(self.y[place]), self.suggested(place)
        voters = self.voters.rows[place]
        votes = Counter(self.y[voters[voters >= 0]].tolist())
        head = self.head[place]
        return (
            f"a head that has not seen it gives {self.labels[other]!r} {head[other]:.0%} and its "
            f"label {head[own]:.0%}; of the {votes.total()} nearest images that are not related "
            f"to it {votes[other]} are {self.labels[other]!r}, {votes[own]} {self.labels[own]!r}"
        )


def conflicting(
    pairs: Sequence[Pair], case: Case, ids: Sequence[str], *, ground_truth: bool
) -> list[Suspect]:
    """List the copies that carry different labels, once each, the more suspicious of two first.

    Args:
        pairs: of copies.
        case: what is thought of the labels.
        ids: of all images of the store.
        ground_truth: whether one of two labels has to be wrong.
    """
    own = {ids[row]: p for row, p in zip(case.rows, case.own(), strict=True)}
    made: dict[str, Suspect] = {}
    for pair in pairs:
        if not pair.conflicting:
            continue
        sides = [(pair.a, pair.b, 0), (pair.b, pair.a, 1)]
        for one, other, place in sorted(sides, key=lambda side: own.get(side[0], 0.5)):
            label, suggested = pair.labels[place] or "", pair.labels[1 - place] or ""
            kind = EXACT if pair.kind == "exact" else NEAR
            certain = "; one of the two labels is wrong" if ground_truth else ""
            reason = f"an {kind}" if kind == EXACT else f"a {kind}"
            reason += f" of it is labelled {suggested!r}{certain}"
            made.setdefault(
                one,
                Suspect(
                    one,
                    label,
                    pair.splits[place],
                    suggested,
                    float(own.get(one, np.nan)),
                    ("copy",),
                    reason,
                    other,
                ),
            )
    return list(made.values())


def least_wrong(pairs: Sequence[Pair], near: IntArray, given: Sequence[str | None]) -> int:
    """Return how many labels are wrong at least: in each cluster of copies all but the commonest.

    Args:
        pairs: of copies.
        near: (n,) cluster of each image by copies.
        given: label of each image.
    """
    if not any(pair.conflicting for pair in pairs):
        return 0
    members: dict[int, Counter[str]] = {}
    for cluster, label in zip(near.tolist(), given, strict=True):
        if label is not None:
            members.setdefault(cluster, Counter())[label] += 1
    return sum(counts.total() - max(counts.values()) for counts in members.values())


def suspects(
    case: Case,
    places: Sequence[int],
    certain: Sequence[Suspect],
    *,
    ids: Sequence[str],
    splits: Sequence[str | None],
) -> tuple[Suspect, ...]:
    """Return one list: copies that carry different labels, then the others as they are ranked.

    Args:
        case: what is thought of the labels.
        places: of the images to list, most suspicious first.
        certain: those that come first.
        ids: of all images of the store.
        splits: of all images of the store.
    """
    known, own = {one.id for one in certain}, case.own()
    made = list(certain)
    for place in places:
        row = int(case.rows[place])
        if ids[row] not in known:
            made.append(
                Suspect(
                    ids[row],
                    case.labels[int(case.y[place])],
                    splits[row],
                    case.labels[case.suggested(place)],
                    float(own[place]),
                    case.by(place),
                    case.reason(place),
                )
            )
    return tuple(made)
