"""Items: what a data set says about its images, one row each, in a fixed order."""

import os
import re
import unicodedata
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedkit.errors import InputError
from embedkit.nuisance import Appearance, Header
from embedkit.results import Result

GIVEN = ("id", "label", "split", "group")
_ARROW: dict[Any, pa.DataType] = {
    int: pa.int32(),
    int | None: pa.int32(),
    float: pa.float32(),
    bool: pa.bool_(),
    bool | None: pa.bool_(),
    str | None: pa.string(),
    list[int]: pa.list_(pa.uint8()),
}
FACTS = {
    "sha256": pa.string(),
    "pixel_sha256": pa.string(),
    "phash": pa.uint64(),
    "width": pa.int32(),
    "height": pa.int32(),
    "format": pa.string(),
    "mode": pa.string(),
    "bytes": pa.int64(),
    "orientation": pa.int8(),
    "frames": pa.int32(),
    "faces": pa.int32(),
    "face_left": pa.float32(),
    "face_top": pa.float32(),
    "face_right": pa.float32(),
    "face_bottom": pa.float32(),
    "face_confidence": pa.float32(),
    "face_landmarks": pa.list_(pa.float32()),
    "nuisance": pa.struct(
        [(one.name, _ARROW[one.type]) for made in (Header, Appearance) for one in fields(made)]
    ),
}
# Those that are known only where a backbone looks for faces; null elsewhere.
FACES = tuple(name for name in FACTS if name.startswith("face"))
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image that is part of the data set and could not be read, with the reason."""

    id: str
    reason: str

    @property
    def kind(self) -> str:
        """The constant words that the reason begins with, without what it was found by."""
        return self.reason.partition(":")[0].partition(" (")[0]


@dataclass(frozen=True)
class ItemTable(Result):
    """The images of a data set, in order, with what is known of them before they are opened.

    Attributes:
        root: the folder that ids are relative to.
        rows: columns `id`, `label`, `split`, `group` (strings; null where unknown), then the data
            set's attributes and, once read, the facts of each picture. Those of a store are read
            where they are asked for; `table` has all of them.
        layout: how the source was read, in words.
        notes: what a user should know about that reading.
        unreadable: images that the source names and that are not there.
    """

    root: Path
    rows: pa.Table
    layout: str = ""
    notes: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def table(self) -> pa.Table:
        """All columns, in memory."""
        return self.rows.select(self.rows.column_names)

    @cached_property
    def ids(self) -> list[str]:
        """Path of each image relative to the root, '/'-separated; see `id_of_path`."""
        return self.column("id")  # type: ignore[return-value]

    @property
    def labels(self) -> list[str | None]:
        """Label of each image."""
        return self.column("label")  # type: ignore[return-value]

    @property
    def splits(self) -> list[str | None]:
        """Split of each image: train, valid, test, or the data set's own other word."""
        return self.column("split")  # type: ignore[return-value]

    @property
    def groups(self) -> list[str | None]:
        """Person, video or patient of each image, where the data set names them."""
        return self.column("group")  # type: ignore[return-value]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the columns that the data set brought besides label, split and group."""
        known = {*GIVEN, *FACTS}
        return tuple(name for name in self.rows.column_names if name not in known)

    def column(self, name: str) -> list[object]:
        """Return one column as a Python list, None where it is empty.

        Raises:
            InputError: there is no such column.
        """
        if name not in self.rows.column_names:
            raise InputError(
                f"there is no column {name!r}; known are {', '.join(self.rows.column_names)}"
            )
        values: list[object] = self.rows.column(name).to_pylist()
        return values

    def label_column(self, name: str = "label") -> list[str | None]:
        """Return a column that the data set brought as labels: strings, None where it is empty.

        Raises:
            InputError: there is no such column, or embedkit read it off the files.
        """
        if name == "id" or name in FACTS:
            can = ", ".join(map(repr, ("label", "split", "group", *self.attributes)))
            raise InputError(
                f"the column {name!r} is no label: it names or describes files; {can} can be one"
            )
        return [None if value is None else str(value) for value in self.column(name)]

    def counts(self) -> dict[str | None, Counter[str | None]]:
        """Count the images of each label, by split; splits in their usual order."""
        table: dict[str | None, Counter[str | None]] = {}
        for split, label in zip(self.splits, self.labels, strict=True):
            table.setdefault(split, Counter())[label] += 1
        order = {name: place for place, name in enumerate(SPLITS)}
        return dict(sorted(table.items(), key=lambda kv: (order.get(kv[0] or "", 9), kv[0] or "")))

    def take(self, rows: list[int]) -> "ItemTable":
        """Return the table with only these rows, in this order."""
        return replace(self, rows=self.rows.take(pa.array(rows, type=pa.int64())))

    def with_column(self, name: str, values: list[str | None]) -> "ItemTable":
        """Return the table with one string column replaced."""
        place = self.rows.column_names.index(name)
        column = pa.array(values, type=pa.string())
        return replace(self, rows=self.rows.set_column(place, name, column))

    def with_attribute(self, name: str, values: pa.Array) -> "ItemTable":
        """Return the table with one column more, or with one of that name replaced."""
        rows = self.rows
        if name in rows.column_names:
            rows = rows.drop_columns([name])
        return replace(self, rows=rows.append_column(name, values))

    def noting(self, *notes: str) -> "ItemTable":
        """Return the table with more to say about how it was read."""
        return replace(self, notes=(*self.notes, *notes))

    def path(self, id_: str) -> Path:
        """Return where an image's file is."""
        return self.root / path_of_id(id_)


def item_table(
    root: Path,
    ids: list[str],
    *,
    labels: list[str | None] | None = None,
    splits: list[str | None] | None = None,
    groups: list[str | None] | None = None,
    attributes: pa.Table | None = None,
    layout: str = "",
    notes: tuple[str, ...] = (),
    unreadable: tuple[Unreadable, ...] = (),
) -> ItemTable:
    """Build an `ItemTable` from columns; a column left out is empty.

    Raises:
        InputError: an id occurs twice.
    """
    twice = [id_ for id_, times in Counter(ids).items() if times > 1]
    if twice:
        raise InputError(f"{twice[0]!r} is listed twice")
    empty: list[str | None] = [None] * len(ids)
    columns = {
        "id": ids,
        "label": labels or empty,
        "split": splits or empty,
        "group": groups or empty,
    }
    rows = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    if attributes is not None:
        for name in attributes.column_names:
            rows = rows.append_column(name, attributes.column(name))
    return ItemTable(root, rows, layout, notes, unreadable)


RAW = ("utf-8", "surrogateescape")  # as file names are read where the language is UTF-8
_ESCAPED = re.compile(rb"\\(?:x([0-9a-f]{2})|\\)")
# Line ends and marks that turn the direction of the text around them.
_MISLEADING = frozenset(
    "\u2028\u2029\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def id_of_path(relative: str) -> str:
    r"""Return the id of an image from its path relative to the source.

    An id is one line of harmless text whatever the file is called: a byte that is not UTF-8, and
    those of control characters and marks of direction, become `\xNN`, and a backslash in a name is
    doubled, so that `path_of_id` finds the file again. It hangs on the bytes of the file's name
    alone, not on what this machine's language takes them for.
    """
    return name_of_path(relative.replace(os.sep, "/").replace("\\", "\\\\"))


def name_of_path(path: str) -> str:
    r"""Return how a picture is called that is in no store: its path, on one line of harmless text.

    What would be none becomes `\xNN`, as in ids.
    """
    with suppress(UnicodeEncodeError):  # a table's name that this machine cannot give a file
        path = os.fsencode(path).decode(*RAW)
    return "".join(map(_harmless, path))


def _harmless(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cs") or character in _MISLEADING:
        return "".join(f"\\x{byte:02x}" for byte in character.encode(*RAW))
    return character


def path_of_id(id_: str) -> str:
    """Return the path, relative to the source, of the image with this id.

    What `id_of_path` would not have written, as somebody else's store may hold, stands for itself.
    """
    raw = _ESCAPED.sub(
        lambda one: bytes.fromhex(one[1].decode()) if one[1] else b"\\", id_.encode(*RAW)
    )
    return os.fsdecode(raw)
