"""Siblings: different photographs of one person, within and across splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import Finding, Statement, share_verdict
from embedkit.audits.faces import FaceLinks, face_space, people_by_faces, why_not
from embedkit.audits.twins import Twins
from embedkit.statistics import clusters_of
from embedkit.store import Store
from embedkit.vectors import BoolArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Siblings(Finding):
    """The people of a data set, and how many test images show one who is in train too.

    Attributes:
        split: the test split.
        identity: (n,) cluster of each image by person, twins included.
        source: what tells people apart: `group` (the data set's column) or `faces`.
        people: how many were told apart.
        across: of them, those in train and in the test split.
        images: test images that have a sibling in train, twins not counted.
        pairs: each of these with the first training image of its person.
        faces: what the faces say; None where no face network was asked.
        agreement: (precision, recall) of the faces' pairs by the data set's; None without both.
    """

    split: str
    identity: IntArray
    source: str
    people: int
    across: int
    images: int
    pairs: tuple[tuple[str, str], ...]
    faces: FaceLinks | None
    agreement: tuple[float, float] | None

    def details(self) -> dict[str, Any]:
        """Return the counts."""
        agreement = None
        if self.agreement is not None:
            precision, recall = self.agreement
            agreement = {"precision": round(precision, 6), "recall": round(recall, 6)}
        return {
            "split": self.split,
            "from": self.source,
            "people": self.people,
            "people_in_train_and_test": self.across,
            "with_sibling_in_train": self.images,
            "pairs": [{"image": image, "in_train": other} for image, other in self.pairs],
            "faces": None if self.faces is None else self.faces.to_dict(),
            "faces_agree_with_groups": agreement,
        }


def find_siblings(store: Store, twins: Twins, *, split: str, seed: int) -> Siblings | str:
    """Count the test images whose person is in train on another photograph.

    People are those that the data set names as groups; without any, those whom a face network
    tells apart, if the store has a space of one.

    Args:
        store: with train and that split.
        twins: of that store; a copy is no sibling.
        split: the test split.
        seed: of the bootstrap.

    Returns:
        The finding; a sentence if people cannot be told apart.
    """
    ids, groups = store.items.ids, store.items.groups
    splits = np.array([side or "" for side in store.items.splits])
    train, test = splits == "train", splits == split
    space = face_space(store)
    reason = why_not(store, space) if space is not None else ""
    faces = None
    if space is not None and not reason:
        told = people_by_faces(store, space, twins.near, test, train)
        if isinstance(told, str):
            reason = told
        else:
            faces = told
    known = any(group is not None for group in groups)
    if not known and faces is None:
        return reason or (
            "nothing says who is on a picture: the data set names no group ('embedkit embed "
            "--group COLUMN' names it, folders of people do too), and no face network has seen it "
            "('embedkit embed -b facenet')"
        )
    person: Sequence[object] = groups
    if not known and faces is not None:
        person = [int(one) for one in faces.people]
    identity = clusters_of(person, twins.near)
    partner = _in_train(person, twins.near, test, train)
    related = partner >= 0
    n, found = int(test.sum()), int(related.sum())
    estimate, verdict = share_verdict(related[test], identity[test], seed=seed)
    sides = [{one for one, in_ in zip(person, some, strict=True) if in_} for some in (train, test)]
    across = len((sides[0] & sides[1]) - {None})
    people = len(set(person) - {None})
    unnamed = sum(one is None for one in person)
    without = f" {unnamed} images name nobody." if unnamed else ""
    how = "by its group column" if known else "by their faces"
    if found:
        summary = (
            f"{found} of {n} {split} images ({estimate.value:.1%}) show somebody whom train shows "
            f"on another photograph, {how} ({across} of {people} people are on both "
            f"sides).{without}"
        )
    else:
        summary = (
            f"None of {n} {split} images shows somebody whom train shows on another photograph, "
            f"{how} (the share is at most {estimate.high:.1%}, one-sided 95%).{without}"
        )
    return Siblings(
        name="siblings",
        verdict=verdict,
        statement=Statement.ASSOCIATION,
        summary=summary,
        estimate=estimate,
        detectable=None if found else 100 * estimate.high,
        split=split,
        identity=identity,
        source="group" if known else "faces",
        people=people,
        across=across,
        images=found,
        pairs=tuple((ids[row], ids[partner[row]]) for row in np.flatnonzero(related)),
        faces=faces,
        agreement=_agreement(groups, faces.people) if known and faces is not None else None,
    )


def _in_train(
    person: Sequence[object], near: IntArray, test: BoolArray, train: BoolArray
) -> IntArray:
    """Return, for each test image, the first training row of its person that is no copy, or -1."""
    photographs: dict[object, dict[int, int]] = {}
    for row in np.flatnonzero(train).tolist():
        photographs.setdefault(person[row], {}).setdefault(int(near[row]), row)
    partner = np.full(len(person), -1)
    for row in np.flatnonzero(test).tolist():
        if person[row] is not None:
            others = photographs.get(person[row], {}).items()
            partner[row] = min((one for copies, one in others if copies != near[row]), default=-1)
    return partner


def _agreement(groups: Sequence[object], people: IntArray) -> tuple[float, float]:
    """Return which share of the pairs of one cluster are of one group, and the other way round."""
    named = np.array([row for row, group in enumerate(groups) if group is not None])
    _, a = np.unique([str(groups[row]) for row in named], return_inverse=True)
    _, b = np.unique(people[named], return_inverse=True)

    def pairs(numbers: IntArray) -> float:
        counts = np.bincount(numbers)
        return float((counts * (counts - 1) // 2).sum())

    both = pairs(np.unique(a.ravel() * (b.max() + 1) + b.ravel(), return_inverse=True)[1].ravel())
    by_face, by_group = pairs(b.ravel()), pairs(a.ravel())
    return (
        both / by_face if by_face else float("nan"),
        both / by_group if by_group else float("nan"),
    )
