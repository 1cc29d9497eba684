"""Stores made one: the rows of all, each picture once, ids that stay unique."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedkit.errors import InputError, SpaceMismatchError
from embedkit.items import FACTS, Unreadable, id_of_path
from embedkit.store.composing import Part, Plan, compose, empty_space, made_from
from embedkit.store.forgotten import FORGOTTEN, of_all, tombstone, tombstone_of_id
from embedkit.store.schema import SpaceRecord
from embedkit.store.store import Store
from embedkit.vectors import BoolArray, IntArray

MANY = 5  # names in a sentence
LONG = 60  # characters of a value in an error


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of all stores under one another.

    Attributes:
        table: all columns of all, ids relative to the common root.
        owner: (n,) which store each row is of.
        first: (n,) the first row with the same id, which for most is the row itself.
        forgotten: (n,) whether one of the stores was told to forget the picture.
    """

    table: pa.Table
    owner: IntArray
    first: IntArray
    forgotten: BoolArray

    @property
    def kept(self) -> IntArray:
        """Those that are the first of their id, without what was forgotten."""
        return np.flatnonzero((self.first == np.arange(len(self.first))) & ~self.forgotten)

    def again(self, owner: int) -> IntArray:
        """Return the rows of a store that an earlier store has too."""
        second = (self.first != np.arange(len(self.first))) & ~self.forgotten
        return np.flatnonzero((self.owner == owner) & second)


def merge(
    stores: Sequence[Store | str | Path],
    path: str | Path,
    *,
    backbone: str | Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> Store:
    """Make one store of several, and open it; nothing is embedded, no picture is read.

    An id stays a path relative to the source: where the stores' sources differ, it is relative to
    the nearest folder above them all, so that ids are unique and pictures are found. A picture
    that several stores hold is taken once, from the first; what that leaves empty of label, split,
    group and attributes is filled in from the others. Columns that a store lacks are empty for its
    rows. Altered copies, views, heads and findings are not carried over.

    Args:
        stores: two or more, or their folders, in the order of the rows.
        path: folder of the new store; what a killed run of this left there is finished.
        backbone: names of the spaces to keep; all where left out.
        say: told what a user should know of the result.

    Raises:
        SpaceMismatchError: vectors of one name were made in different ways; with what differs.
        InputError: a store lacks a space that others have, holds another file under the same id,
            or is named twice; nothing lies above all pictures; or something else is at `path`.
        StoreError: a store is damaged, or cannot be written.
    """
    tell = say or (lambda _: None)
    opened = [one if isinstance(one, Store) else Store.open(one) for one in stores]
    if len({one.path.resolve() for one in opened}) < max(2, len(opened)):
        raise InputError("merge takes two stores or more, each of them once")
    root = _root(opened)
    spaces = _spaces(opened, [backbone] if isinstance(backbone, str) else list(backbone))
    rows, notes = _rows(opened, root)
    items = _filled(rows)
    made = compose(
        Path(path),
        Plan(
            parts=tuple(_parts(rows, opened)),
            items=items,
            unreadable=_unreadable(opened, root, set(items.column("id").to_pylist())),
            spaces=spaces,
            source={
                "given": str(path),
                "source": str(Path(path).resolve()),
                "options": {},
                "path": str(root),
                "layout": "merge of "
                + ", ".join(f"{one.path} ({len(one.items)} images)" for one in opened),
                "split": _split(opened),
                "made_from": made_from("merge", opened, spaces=sorted(spaces)),
            }
            | ({FORGOTTEN: list(buried)} if (buried := of_all(opened)) else {}),
        ),
    )
    for note in (*notes, *_about_the_same(rows, opened), *_about_names(opened, root, made)):
        tell(note)
    for note in _about_splits(rows, opened, made):
        tell(note)
    return made


def _root(opened: Sequence[Store]) -> Path:
    """Return the nearest folder above all pictures."""
    roots = [one.items.root for one in opened]
    if len({root.parts[0] for root in roots}) > 1:
        raise InputError(
            "no folder lies above all pictures: those of one store are behind another kind of URL "
            "than those of another, or only some behind one"
        )
    return Path(os.path.commonpath(roots))


def _spaces(opened: Sequence[Store], asked: Sequence[str]) -> dict[str, SpaceRecord]:
    """Return the spaces of the new store, made in one way in all stores."""
    first = opened[0]
    names = {name: None for one in opened for name in one.spaces}
    if asked:
        names = {first.space(name).name: None for name in asked}
    for name in names:
        without = [one for one in opened if name not in one.spaces]
        if without:
            common = [one for one in names if all(one in other.spaces for other in opened)]
            keep = " ".join(f"-b {one}" for one in common)
            raise InputError(
                f"{without[0].path} has no vectors of {name}, others have; 'embedkit embed "
                f"{without[0].record.source['given']} -o {without[0].path} -b {name}' adds them"
                + (f", {keep} merges what all have" if common else "")
            )
        for other in opened[1:]:
            mine, theirs = first.spaces[name], other.spaces[name]
            if mine.contract_sha256 != theirs.contract_sha256:
                raise SpaceMismatchError(
                    f"the vectors of {name} in {first.path} and {other.path} cannot be compared: "
                    + "; ".join(_differences(mine.record.contract, theirs.record.contract))
                )
    return {name: empty_space(first.spaces[name].record) for name in sorted(names)}


def _differences(first: Any, second: Any, name: str = "") -> list[str]:
    """Say where two contracts differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        return [
            one
            for key in sorted(first.keys() | second.keys())
            for one in _differences(first.get(key), second.get(key), f"{name} {key}".strip())
        ]
    if first == second:
        return []
    shown = [
        text if len(text := repr(one)) <= LONG else f"{text[:LONG]}…" for one in (first, second)
    ]
    return [f"{name} is {shown[0]} in the first, {shown[1]} in the second"]


def _rows(opened: Sequence[Store], root: Path) -> tuple[Rows, list[str]]:
    """Put the stores' rows under one another, with what had to be changed for that."""
    tables, text = _alike([one.items.table for one in opened])
    table = pa.concat_tables(tables, promote_options="permissive")
    attributes = [name for name in table.column_names if name not in FACTS]
    table = table.select([*attributes, *FACTS])
    ids = [id_ for one in opened for id_ in _ids(one.items.ids, one.items.root, root)]
    table = table.set_column(table.column_names.index("id"), "id", pa.array(ids, pa.string()))
    owner = np.repeat(np.arange(len(opened)), [len(one.items) for one in opened])
    place: dict[str, int] = {}
    first = np.array([place.setdefault(id_, row) for row, id_ in enumerate(ids)], np.int64)
    hashes = table.column("sha256").to_pylist()
    changed = [row for row, one in enumerate(first.tolist()) if hashes[row] != hashes[one]]
    if changed:
        row = changed[0]
        stores = opened[owner[first[row]]].path, opened[owner[row]].path
        more = f", as are {len(changed) - 1} more" if changed[1:] else ""
        raise InputError(
            f"{ids[row]} is another file in {stores[1]} than in {stores[0]}{more}; bring both "
            "up to date with 'embedkit embed' first"
        )
    notes = [
        f"the column {name!r} is text now: the stores have it in different kinds" for name in text
    ]
    for one in opened:
        lacks = [name for name in attributes if name not in one.items.rows.column_names]
        if lacks:
            notes.append(f"{one.path} has no column {_listed(lacks)}; it is empty in its rows")
    buried = set(of_all(opened))
    gone = np.array([tombstone(one) in buried for one in hashes]) if buried else first < 0
    if gone.any():
        notes.append(f"{gone.sum()} images are left out: one of the stores was told to forget them")
    if gone.all():
        raise InputError("every image of these stores was forgotten in one of them")
    return Rows(table, owner, first, gone), notes


def _ids(ids: Iterable[str], old: Path, root: Path) -> list[str]:
    """Return ids relative to a folder above, or to the same."""
    above = "" if old == root else f"{id_of_path(os.path.relpath(old, root))}/"
    return [f"{above}{id_}" for id_ in ids]


def _alike(tables: list[pa.Table]) -> tuple[list[pa.Table], list[str]]:
    """Make columns text that have no kind in common in all tables; also return their names."""
    kinds: dict[str, list[pa.DataType]] = defaultdict(list)
    for table in tables:
        for field in table.schema:
            kinds[field.name].append(field.type)
    text = [name for name, found in kinds.items() if not _agree(found)]
    for name in text:
        for number, table in enumerate(tables):
            if name in table.column_names:
                cells = [None if cell is None else str(cell) for cell in table[name].to_pylist()]
                place = table.column_names.index(name)
                tables[number] = table.set_column(place, name, pa.array(cells, pa.string()))
    return tables, text


def _agree(kinds: Iterable[pa.DataType]) -> bool:
    """Say whether values of some kinds can stand in one column as they are."""
    schemas = [pa.schema([("x", kind)]) for kind in kinds]
    try:
        pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True


def _filled(rows: Rows) -> pa.Table:
    """Return the rows that are kept, where they are empty with what other stores say."""
    kept = rows.kept
    table = rows.table.take(pa.array(kept))
    for owner in np.unique(rows.owner)[1:].tolist():
        again = rows.again(owner)
        if not len(again):
            continue
        source = np.full(len(rows.first), -1)
        source[rows.first[again]] = again
        there = pa.array(source[kept], mask=source[kept] < 0)
        for place, name in enumerate(table.column_names):
            if name != "id" and name not in FACTS:
                filled = pc.coalesce(table[name], rows.table[name].take(there))
                table = table.set_column(place, name, filled)
    return table


def _parts(rows: Rows, opened: Sequence[Store]) -> Iterable[Part]:
    kept, start = rows.kept, 0
    for one in opened:
        low, high = np.searchsorted(kept, (start, start + len(one.items)))
        yield Part(one, kept[low:high] - start)
        start += len(one.items)


def _unreadable(opened: Sequence[Store], root: Path, read: set[str]) -> tuple[Unreadable, ...]:
    """Return what no store could read, once each, in the order of the ids."""
    every: dict[str, str] = {}
    buried = set(of_all(opened))
    for one in opened:
        there = [image for image in one.unreadable if tombstone_of_id(image.id) not in buried]
        ids = _ids([image.id for image in there], one.items.root, root)
        for id_, image in zip(ids, there, strict=True):
            every.setdefault(id_, image.reason)
    return tuple(Unreadable(id_, every[id_]) for id_ in sorted(every.keys() - read))


def _split(opened: Sequence[Store]) -> dict[str, Any]:
    """Return who made the splits, where that is the same for all."""
    made: list[dict[str, Any]] = [one.record.source["split"] for one in opened]
    return made[0] if all(one == made[0] for one in made) else {"made_by": "merge"}


def _about_the_same(rows: Rows, opened: Sequence[Store]) -> list[str]:
    """Say which pictures several stores hold, and what these say of them differently."""
    again = np.concatenate([rows.again(owner) for owner in range(len(opened))])
    if not len(again):
        return []
    notes = [f"{len(again)} pictures are in more than one store and are taken once"]
    for name in ("label", "split", "group"):
        mine, theirs = (
            rows.table[name].take(pa.array(which)) for which in (rows.first[again], again)
        )
        differing = pc.sum(pc.not_equal(mine, theirs)).as_py()
        if differing:
            notes.append(f"{differing} of them have another {name} there; that of the first stays")
    return notes


def _about_names(opened: Sequence[Store], root: Path, made: Store) -> list[str]:
    """Say what names mean now."""
    notes = []
    if {one.items.root for one in opened} != {root}:
        ids = made.items.ids
        notes.append(f"ids are relative to {root} now, such as {ids[0]} and {ids[-1]}")
    labels = [{*one.items.labels} - {None} for one in opened]
    if all(labels) and not set.intersection(*labels):
        notes.append("no label is in all stores; all are kept as they are")
    times = Counter(group for one in opened for group in {*one.items.groups} - {None})
    shared = sorted(group for group, n in times.items() if n > 1 and group is not None)
    if shared:
        notes.append(
            f"{len(shared)} group names are in more than one store ({_listed(shared)}) and count "
            "as the same person or video"
        )
    return notes


def _about_splits(rows: Rows, opened: Sequence[Store], made: Store) -> list[str]:
    """Say how many test pictures have their very pixels in another store's train."""
    train: dict[str, set[int]] = defaultdict(set)
    facts = [made.items.splits, made.items.column("pixel_sha256"), rows.owner[rows.kept].tolist()]
    every: list[tuple[Any, ...]] = list(zip(*facts, strict=True))
    for split, pixels, owner in every:
        if split == "train":
            train[pixels].add(owner)
    n = sum(split == "test" and bool(train[pixels] - {owner}) for split, pixels, owner in every)
    by_chance = any(one.record.source["split"]["made_by"] == "embedkit" for one in opened)
    if not n and not by_chance:
        return []
    return [
        f"splits are kept as they were: {n} test pictures have the pixels of a training picture of "
        f"another store, and near copies may; 'embedkit split {made.path}' makes a split anew"
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(map(repr, names[:MANY])) + more
