"""Groups: which attributes divide test images into groups that can be compared."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.audits.guesses import Guess
from embedkit.items import ItemTable
from embedkit.statistics import FOUND
from embedkit.vectors import IntArray

MOST = 12  # values of an attribute
PAIRED = 12  # attributes that are also looked at two at a time, the first of the data set
WIDEST = 0.20  # gap that two of the smallest groups show in 4 of 5 tests
LEAST = 30  # independent images, however few would show that gap
GUESSED = " (guessed)"  # ends the name of an attribute that nobody gave
SETTINGS = ("ground_truth",)  # columns that speak of the data set, and not of a picture


@dataclass(frozen=True, slots=True)
class Attribute:
    """A column of the data set besides label, split and group.

    Attributes:
        name: of the column.
        values: of each image of the store, in words; None where it has none.
        guess: what it is made of, where nobody gave it.
    """

    name: str
    values: tuple[str | None, ...]
    guess: Guess | None = None

    def again(self, other: "Attribute") -> bool:
        """Say whether one of the two is a guess of the other."""
        pairs = ((self, other), (other, self))
        return any(one.guess is not None and one.guess.name == two.name for one, two in pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """Test images divided by one attribute, or by two at once.

    Attributes:
        name: of the attribute, or `first × second`.
        attributes: one or two.
        groups: names of those that are large enough, at least two.
        members: (m,) number of each test image's group; -1 where it is too small, or not known.
        small: (group, independent images) of those too small to be compared.
        missing: images without a value.
        guessed: whether an attribute of it is.
    """

    name: str
    attributes: tuple[str, ...]
    groups: tuple[str, ...]
    members: IntArray
    small: tuple[tuple[str, int], ...]
    missing: int
    guessed: bool = False


def attributes_of(
    items: ItemTable, *, label: str, guesses: Sequence[Guess] = ()
) -> tuple[tuple[Attribute, ...], tuple[tuple[str, str], ...]]:
    """Return the attributes whose values are groups, and (column, why) of all others.

    Numbers are groups only where they are few whole ones, as codes are; others would have to be cut
    somewhere, and where is for the data set's author to say.

    Args:
        items: of the store.
        label: column with the class.
        guesses: of attributes, which come after those that are given.
    """
    labels = items.label_column(label)
    no_attribute = {label, *SETTINGS, *(one.column for one in guesses)}
    asked = [
        (Attribute(name, tuple(items.label_column(name))), items.column(name))
        for name in items.attributes
        if name not in no_attribute
    ]
    asked += [(Attribute(f"{g.name}{GUESSED}", g.values, g), list(g.values)) for g in guesses]
    found, without = [], []
    for one, raw in asked:
        reason = _why_not(one.values, raw, labels)
        if reason:
            without.append((one.name, reason))
        else:
            found.append(one)
    return tuple(found), tuple(without)


def _why_not(
    words: Sequence[str | None], raw: Sequence[object], labels: Sequence[str | None]
) -> str:
    """Say why a column's values are no groups; empty if they are."""
    values = {value for value in words if value is not None}
    numbers = [v for v in raw if isinstance(v, int | float) and not isinstance(v, bool)]
    codes = len(values) <= MOST and all(float(v).is_integer() for v in numbers)
    if any(isinstance(value, list | dict) for value in raw):
        return "neither words nor numbers"
    if len(values) < 2:
        return "one value only" if values else "no image has a value"
    if numbers and not codes:
        return "numbers, which are not cut here; a column that names their bins is taken"
    if len(values) > MOST:
        return f"{len(values)} values; at most {MOST} are compared"
    return "it says the same as the label" if _same(words, labels) else ""


def smallest(accuracy: float) -> int:
    """Return how many independent images a group needs to be compared.

    Two groups of that size, at this accuracy, show a gap of `WIDEST` in 4 of 5 tests.
    """
    return max(LEAST, math.ceil(2 * accuracy * (1 - accuracy) * (FOUND / WIDEST) ** 2 - 1e-9))


def find_groups(
    attributes: Sequence[Attribute], rows: IntArray, clusters: IntArray, *, least: int
) -> tuple[tuple[Grouping, ...], tuple[tuple[str, str], ...]]:
    """Divide test images by every attribute and every pair of them.

    Args:
        attributes: of all images.
        rows: (m,) the test images.
        clusters: (m,) of relatives, which count as one image.
        least: independent images that a group needs.

    Returns:
        Divisions with two groups or more, attributes before pairs; and (name, why) of all others.
    """
    found: dict[bytes, Grouping] = {}
    without = []
    every = [(one,) for one in attributes]
    without += [(one.name, f"by itself only: {PAIRED} are paired") for one in attributes[PAIRED:]]
    pairs = itertools.combinations(attributes[:PAIRED], 2)
    for some in (*every, *(pair for pair in pairs if not pair[0].again(pair[1]))):
        made = _divide(some, rows, clusters, least)
        same = found.get(_division(made))
        if len(made.groups) < 2:
            few = f"fewer than two groups have {least} independent test images"
            without.append((made.name, few))
        elif same is not None:
            without.append((made.name, f"it divides the images as {same.name} does"))
        else:
            found[_division(made)] = made
    return tuple(found.values()), tuple(without)


def _divide(
    attributes: Sequence[Attribute], rows: IntArray, clusters: IntArray, least: int
) -> Grouping:
    kinds: list[tuple[str, ...] | None] = []
    for row in rows.tolist():
        parts = [one.values[row] for one in attributes]
        known = tuple(part for part in parts if part is not None)
        kinds.append(known if len(known) == len(parts) else None)
    shown = {kind: ", ".join(kind) for kind in {*kinds} - {None} if kind is not None}
    if len(set(shown.values())) < len(shown):  # values that hold commas themselves
        shown = {kind: ", ".join(map(repr, kind)) for kind in shown}
    names = [None if kind is None else shown[kind] for kind in kinds]
    sizes = {
        name: len(np.unique(clusters[[one == name for one in names]]))
        for name in sorted({name for name in names if name is not None})
    }
    groups = tuple(name for name, size in sizes.items() if size >= least)
    number = {name: place for place, name in enumerate(groups)}
    return Grouping(
        " × ".join(one.name for one in attributes),
        tuple(one.name for one in attributes),
        groups,
        np.array([-1 if name is None else number.get(name, -1) for name in names], np.int64),
        tuple((name, size) for name, size in sizes.items() if size < least),
        sum(name is None for name in names),
        any(one.guess is not None for one in attributes),
    )


def _division(one: Grouping) -> bytes:
    """Return the same for two groupings that put the same images together."""
    _, first, number = np.unique(one.members, return_index=True, return_inverse=True)
    places = np.where(one.members[first] < 0, -1, first)
    return bytes(places[number.ravel()].tobytes())


def _same(words: Sequence[str | None], labels: Sequence[str | None]) -> bool:
    """Whether every value goes with one label and every label with one value."""
    pairs = {pair for pair in zip(words, labels, strict=True) if None not in pair}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
