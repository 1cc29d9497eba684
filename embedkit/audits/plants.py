"""What is planted in the vectors alone: people on both sides, and labels that are swapped."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.audits.base import rounded
from embedkit.audits.faces import FALSE_LINKS, face_space
from embedkit.audits.labels import SWAPPED, Labels, check_labels
from embedkit.audits.shadows import part_of, with_columns
from embedkit.audits.siblings import Siblings, find_siblings
from embedkit.audits.twins import Pair, Twins, find_twins
from embedkit.statistics import Estimate, proportion, wilson
from embedkit.store import Store
from embedkit.vectors import BoolArray, IntArray

TEST = 0.3  # share of people in test


@dataclass(frozen=True, slots=True)
class People:
    """What faces find of people who were put on both sides, their names hidden.

    Attributes:
        space: of the faces.
        planted: test images whose person is in train on another photograph.
        recall: share of them that are led to that person.
        false: test images that are led to somebody else in train.
        precision: share of the test images led anywhere that are led to their own person.
        nothing_planted: share of test images that are led to somebody in train although nobody is
            on both sides.
    """

    space: str
    planted: int
    recall: Estimate
    false: int
    precision: Estimate
    nothing_planted: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "space": self.space,
            "planted": self.planted,
            "recall": self.recall.to_dict(),
            "false_alarms": self.false,
            "precision": self.precision.to_dict(),
            "nothing_planted": self.nothing_planted.to_dict() | {"nominal": rounded(FALSE_LINKS)},
        }


@dataclass(frozen=True, slots=True)
class Swaps:
    """What the audit of labels finds of labels that were swapped.

    Attributes:
        planted: labels swapped.
        found: of them, those that are listed as labels to look at.
        recall: the share found.
        false: labels listed that were neither swapped nor listed before.
        precision: share of what is listed, but for what was listed before, that was swapped.
        before: labels listed before any was swapped; they may be wrong, and are not counted.
        judged: labels.
    """

    planted: int
    found: int
    recall: Estimate
    false: int
    precision: Estimate
    before: int
    judged: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "planted": self.planted,
            "found": self.found,
            "recall": self.recall.to_dict(),
            "false_alarms": self.false,
            "precision": self.precision.to_dict(),
            "listed_before": self.before,
            "judged": self.judged,
        }


def swap_labels(store: Store, twins: Twins, *, backbone: str, label: str, seed: int) -> Swaps | str:
    """Swap labels drawn from those that nobody objects to, and look for them.

    Args:
        store: with labels.
        twins: of that store.
        backbone: which space.
        label: column with the class.
        seed: of the draw.

    Returns:
        What was found; a sentence where labels cannot be judged.
    """

    def look(shadow: Store, pairs: tuple[Pair, ...]) -> Labels | str:
        known = replace(twins, pairs=pairs)
        return check_labels(shadow, known, twins.near, backbone=backbone, label=label, seed=seed)

    before = look(store, twins.pairs)
    if isinstance(before, str):
        return before
    known = {one.id for one in before.images}
    ids, case = store.items.ids, before.case
    generator = np.random.default_rng(seed)
    sound = [row for row in case.rows.tolist() if ids[row] not in known]
    chosen = generator.choice(sound, max(1, round(SWAPPED * len(case.rows))), replace=False)
    given = store.items.label_column(label)
    for row in chosen.tolist():
        others = [name for name in case.labels if name != given[row]]
        given[row] = others[int(generator.integers(len(others)))]
    of = dict(zip(ids, given, strict=True))
    pairs = tuple(replace(one, labels=(of[one.a], of[one.b])) for one in twins.pairs)
    after = look(with_columns(store, **{label: given}), pairs)
    if isinstance(after, str):
        return after
    listed = {one.id for one in after.images}
    swapped = {ids[row] for row in chosen.tolist()}
    found, false = len(listed & swapped), len(listed - swapped - known)
    return Swaps(
        len(swapped),
        found,
        wilson(found, len(swapped)),
        false,
        wilson(found, found + false),
        len(known),
        len(case.rows),
    )


def plant_people(store: Store, *, backbone: str, label: str, seed: int) -> People | str:
    """Divide people anew into train and test, half of those in test on both sides, and look.

    Args:
        store: with a group column and a space of a face network.
        backbone: space in which copies are looked for, which are no other photographs.
        label: column with the class.
        seed: of the division.

    Returns:
        What was found; a sentence where it could not be looked for.
    """
    space = face_space(store)
    groups = store.items.groups
    named = np.array([row for row, group in enumerate(groups) if group is not None], np.int64)
    if not len(named):
        return "the data set names no group, so nobody knows who is on a picture"
    if space is None:
        return (
            "no face network has seen the pictures; 'embedkit embed -b facenet' adds a space of one"
        )
    part = part_of(store, named, spaces=dict.fromkeys([backbone, space.name]))
    twins = find_twins(part, backbone=backbone, label=label)
    _, person = np.unique([str(groups[row]) for row in named], return_inverse=True)
    person = person.ravel()
    generator = np.random.default_rng(seed)
    several = np.flatnonzero(np.bincount(person) > 1)
    if not len(several):
        return "nobody is on two photographs"
    n_people = int(person.max()) + 1
    chosen = generator.permutation(n_people)[: max(1, round(TEST * n_people))]
    alone = np.isin(person, chosen)
    # Every other person of test who has several photographs gives half of them to train.
    both = np.isin(person, np.intersect1d(chosen, several)[::2])
    turn = generator.permutation(len(person))
    rank = np.array(
        [np.sum((person == who) & (turn < at)) for who, at in zip(person, turn, strict=True)]
    )
    planted_test = alone & ~(both & (rank % 2 == 1))
    hidden: list[str | None] = [None] * len(person)

    def look(test: BoolArray) -> Siblings | str:
        sides: list[str | None] = ["test" if one else "train" for one in test]
        shadow = with_columns(part, split=sides, group=hidden)
        return find_siblings(shadow, twins, split="test", seed=seed)

    with_plants, without = look(planted_test), look(alone)
    if isinstance(with_plants, str):
        return with_plants
    if isinstance(without, str):
        return without
    own, other = _led(with_plants.identity, person, twins, planted_test)
    truth, _ = _led(person, person, twins, planted_test)
    mates = planted_test & truth
    _, strangers = _led(without.identity, person, twins, alone)
    led = planted_test & (own | other)
    return People(
        space.name,
        int(mates.sum()),
        proportion((own & mates)[mates], person[mates], seed=seed),
        int((other & planted_test).sum()),
        proportion((own & ~other)[led], person[led], seed=seed),
        proportion(strangers[alone], person[alone], seed=seed),
    )


def _led(
    identity: IntArray, person: IntArray, twins: Twins, test: BoolArray
) -> tuple[BoolArray, BoolArray]:
    """Mark the test images that a cluster joins to their own person in train, and to another."""
    own, other = np.zeros(len(person), bool), np.zeros(len(person), bool)
    for row in np.flatnonzero(test).tolist():
        mates = (identity == identity[row]) & ~test & (twins.near != twins.near[row])
        own[row] = bool((person[mates] == person[row]).any())
        other[row] = bool((person[mates] != person[row]).any())
    return own, other
