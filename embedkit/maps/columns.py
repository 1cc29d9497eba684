"""Columns: what is known of each image that a map can be coloured by, or an explorer filtered."""

import difflib
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from embedkit.audits.kept import kept
from embedkit.audits.nuisance import nuisance_columns
from embedkit.errors import InputError
from embedkit.heads.training import fit, held_out_split, labelled_rows
from embedkit.items import ItemTable
from embedkit.maps.findings import AuditColumns, audit_columns
from embedkit.store import Store
from embedkit.vectors import DoubleArray, IntArray

SHARED, FAINT = -1, -2  # colours of values that have none of their own
MOST_VALUES = 50  # of a column of words that are read off files: more are names, not kinds
NUMBERS_FROM = 12  # different numbers from which a column of the data set is a scale, not classes
# What tells pictures apart at a glance; the audit's other nuisances differ too finely for colours.
FACTS = (
    "size in pixels",
    "width",
    "height",
    "file format",
    "colour mode",
    "JPEG quality",
    "bytes per pixel",
    "make of the file",
    "camera",
    "software",
    "faces found",
    "size of the face",
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "noise",
    "sides with a border",
)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One thing that is known of images.

    Attributes:
        name: such as "label" or "sharpness".
        group: where it comes from: `data set`, `classifier`, `audit` or `file`.
        values: (n,) numbers, NaN where there is none; or (n,) words, None likewise.
        note: what must be known to read it; may be empty.
        usual: the value of images that nothing is to be said of; shown in a faint colour.
    """

    name: str
    group: str
    values: DoubleArray | tuple[str | None, ...]
    note: str = ""
    usual: str = ""

    @property
    def kind(self) -> str:
        """`number` or `category`."""
        return "number" if isinstance(self.values, np.ndarray) else "category"

    def take(self, rows: IntArray) -> "Column":
        """Return the column of some rows only, in this order."""
        if isinstance(self.values, np.ndarray):
            return replace(self, values=self.values[rows])
        return replace(self, values=tuple(self.values[row] for row in rows))


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """All columns of a store's images.

    Attributes:
        columns: the data set's own first, then the classifier's, the audit's and the files'.
        pairs: rows of two copies of one photograph, as the kept audit found them.
        missing: what there could be and is not, each with the reason and the way out.
    """

    columns: tuple[Column, ...]
    pairs: tuple[tuple[int, int], ...]
    missing: tuple[str, ...]

    def __getitem__(self, name: str) -> Column:
        """Return the column of a name.

        Raises:
            InputError: there is none; the message names near ones.
        """
        known = [one.name for one in self.columns]
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise InputError(
                f"there is no column {name!r} to colour by; known are {', '.join(known)}{hint}"
                + "".join(f"; not there: {one}" for one in self.missing)
            )
        return self.columns[known.index(name)]

    def chosen(self, name: str | None, label: str) -> str:
        """Return the column to colour by: that asked for, or the label, or any; "" for none.

        Raises:
            InputError: that asked for is not there.
        """
        if name is not None:
            return self[name].name
        names = [one.name for one in self.columns]
        return label if label in names else next(iter(names), "")

    def take(self, rows: IntArray) -> "Columns":
        """Return what is known of some rows only, in ascending order; pairs are renumbered."""
        number = {int(row): place for place, row in enumerate(rows)}
        pairs = [(number[a], number[b]) for a, b in self.pairs if a in number and b in number]
        return Columns(tuple(one.take(rows) for one in self.columns), tuple(pairs), self.missing)


def item_columns(
    store: Store, *, label: str = "label", backbone: str | None = None, seed: int = 0
) -> Columns:
    """Return everything that is known of each image of a store, row by row.

    A logistic head is trained on train for what it answers on the test split; what an audit found
    is read from the findings that it left in the store.

    Args:
        store: to describe.
        label: column with the class.
        backbone: which space; can be left out where there is only one.
        seed: of the head.

    Raises:
        InputError: no such column or space.
    """
    found = audit_columns(store, kept(store, label=label, backbone=backbone), label)
    answers, reason = _answers(store, label, backbone, seed)
    columns = [*_given(store.items, label), *answers, *_audited(found), *_files(store.items, label)]
    missing = [reason] if reason else []
    unique: dict[str, Column] = {}
    for one in columns:
        # A data set may call an attribute as embedkit calls a column of its own.
        name = one.name if one.name not in unique else f"{one.name} ({one.group})"
        unique[name] = replace(one, name=name)
    return Columns(tuple(unique.values()), found.pairs, (*missing, *found.missing))


def _given(items: ItemTable, label: str) -> list[Column]:
    """Return the columns that the data set brought; those that hold nothing are left out."""
    names = dict.fromkeys((label, "label", "split", "group", *items.attributes))
    made = []
    for name in names:
        if name not in items.rows.column_names:
            continue
        words = name in (label, "label", "split", "group")
        numbers = None if words else _numbers(items, name)
        if numbers is not None:
            made.append(Column(name, "data set", numbers))
            continue
        values = tuple(None if one is None else str(one) for one in items.column(name))
        if any(one is not None for one in values):
            made.append(Column(name, "data set", values))
    return made


def _numbers(items: ItemTable, name: str) -> DoubleArray | None:
    """Return an attribute as numbers; None where it is none, or has so few that they are classes.

    A manifest's columns may be text throughout, so text that reads as numbers counts.
    """
    column = items.rows.column(name)
    if pa.types.is_boolean(column.type) or pa.types.is_nested(column.type):
        return None
    try:
        values = [np.nan if one is None else float(str(one)) for one in column.to_pylist()]
    except ValueError:
        return None
    numbers = np.array(values)
    if np.isinf(numbers).any() or len(np.unique(numbers[~np.isnan(numbers)])) < NUMBERS_FROM:
        return None
    return numbers


def _answers(store: Store, label: str, backbone: str | None, seed: int) -> tuple[list[Column], str]:
    """Return what the default head says of the test images, or why it says nothing."""
    split = held_out_split(store, label)
    if split is None:
        reason = "there is no labelled test or valid split; 'embedkit split' makes a split"
        return [], f"answers of a classifier: {reason}"
    try:
        head = fit(store, label=label, backbone=backbone, seed=seed)
    except InputError as error:
        return [], f"answers of a classifier: {error}"
    rows = labelled_rows(store, label, split)
    p = head.probabilities(store.space(backbone), rows)
    given = store.items.label_column(label)
    answers: list[str | None] = [None] * len(store.items)
    unasked = f"not predicted (not in {split})"
    right: list[str | None] = [unasked] * len(store.items)
    sure = np.full(len(store.items), np.nan)
    for row, chances in zip(rows, p, strict=True):
        answers[row] = head.labels[int(chances.argmax())]
        right[row] = "right" if answers[row] == given[row] else "wrong"
        sure[row] = chances.max()
    note = f"A logistic head, trained on train, asked about the {len(rows)} images of {split}."
    return [
        Column("prediction", "classifier", tuple(right), note, unasked),
        Column("predicted label", "classifier", tuple(answers), note),
        Column("confidence", "classifier", sure, f"{note} The probability of its answer."),
    ], ""


def _audited(found: AuditColumns) -> list[Column]:
    kept_there = "By the audit kept in the store."
    return [
        Column(one.name, "audit", one.values, f"{kept_there} {one.note}".strip(), one.usual)
        for one in found.columns
    ]


def _files(items: ItemTable, label: str) -> list[Column]:
    """Return facts of files and pixels that differ, in the order of `FACTS`."""
    known = {one.name: one.values for one in nuisance_columns(items, label=label)}
    made = []
    for name in FACTS:
        values = known[name]
        if isinstance(values, np.ndarray):
            differing = len(np.unique(values[~np.isnan(values)]))
        else:
            differing = len(set(values))
            if differing > MOST_VALUES:
                continue
        if differing > 1:
            made.append(Column(name, "file", values))
    return made


def colour_numbers(column: Column, most: int) -> dict[str, int]:
    """Return the values of a category in the order of a legend, and which colour each has.

    The commonest have a colour of their own, numbered in the order of the legend; if there are
    more than `most`, the others have `SHARED`. The usual value has `FAINT`.
    """
    counts = Counter(one for one in column.values if isinstance(one, str))
    ordered = sorted(counts, key=_natural)
    asked = [one for one in ordered if one != column.usual or not column.usual]
    often = set(sorted(asked, key=lambda one: (-counts[one], _natural(one)))[:most])
    numbers = iter(range(most))
    made = {one: next(numbers) if one in often else SHARED for one in asked}
    return made | {one: FAINT for one in ordered if one not in made}


def _natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a key that sorts 9 before 10, and "60-69" before "70+"."""
    parts: list[tuple[int, int, str]] = []
    number = ""
    for letter in [*text, ""]:
        if letter.isascii() and letter.isdigit():
            number += letter
            continue
        if number:
            parts.append((0, int(number), ""))
            number = ""
        parts.append((1, 0, letter))
    return parts, text
