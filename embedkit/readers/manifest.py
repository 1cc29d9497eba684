"""Manifests: a table that names each image with its label, split, group and attributes."""

import csv
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet
from pyarrow import csv as arrow_csv
from pyarrow import json as arrow_json

from embedkit.cells import GUARD, bare
from embedkit.errors import InputError
from embedkit.files import open_plain
from embedkit.items import FACTS, GIVEN, ItemTable, Unreadable, id_of_path, item_table, path_of_id
from embedkit.readers.splits import canonical_split
from embedkit.remote import is_url
from embedkit.shards.tables import holds_bytes

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
DEEPEST = 1000  # levels of JSON
NO_NUMBER = frozenset({"na", "n/a", "nan", "null", "none"})
MANIFEST_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})
PATH_NAMES = (
    "file_name",
    "file",
    "filename",
    "path",
    "file_path",
    "filepath",
    "image",
    "image_path",
    "img_path",
)
LABEL_NAMES = ("label", "class", "target", "labels", "class_name", "y")
SPLIT_NAMES = ("split", "subset", "usage", "partition")
GROUP_NAMES = ("group", "identity", "person", "subject", "person_id", "subject_id", "identity_id")


@dataclass(frozen=True)
class ManifestColumns:
    """What a manifest says; each list has an entry an image, or is None without such a column."""

    ids: list[str]
    labels: list[str | None] | None
    splits: list[str | None] | None
    groups: list[str | None] | None
    attributes: pa.Table
    missing: tuple[Unreadable, ...]
    mapping: str
    notes: tuple[str, ...]


def read_manifest(
    manifest: Path,
    *,
    root: Path | None = None,
    label: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> ItemTable:
    """Read a csv, tsv, jsonl or parquet table of images.

    Columns are found by their usual names unless named here; the others become attributes.
    Images that the table names and that are not on disk are listed as unreadable.

    Args:
        manifest: the table.
        root: what its paths are relative to; the manifest's folder where left out.
        label: column with the class.
        split: column with the split.
        group: column with the person, video or patient.

    Raises:
        InputError: the table cannot be read, has no column of paths or no row, names a file twice
            with different values, or names files outside `root`.
    """
    base = root or manifest.parent
    columns = read_columns(manifest, base, base, label=label, split=split, group=group)
    if not columns.ids:
        raise InputError(
            f"none of the {len(columns.missing)} images that {manifest} names is there, e.g. "
            f"{base / columns.missing[0].id}; --root says what its paths are relative to"
        )
    return item_table(
        base,
        columns.ids,
        labels=columns.labels,
        splits=columns.splits,
        groups=columns.groups,
        attributes=columns.attributes,
        layout=f"manifest {manifest.name}: {columns.mapping}",
        notes=columns.notes,
        unreadable=columns.missing,
    )


def read_columns(
    manifest: Path,
    root: Path,
    base: Path,
    *,
    label: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> ManifestColumns:
    """Read a manifest's columns; its paths are relative to `base`, the ids to `root`.

    Raises:
        InputError: as `read_manifest`.
    """
    table = read_table(manifest)
    if holds_pictures(table.schema):
        raise InputError(
            f"{manifest} holds pictures itself; 'embedkit unpack {manifest} FOLDER' makes files of "
            "them, which can be embedded"
        )
    paths = _column(str(manifest), table, None, PATH_NAMES, "image paths", needed=True)
    ids = [_id(manifest, root, base, row, p) for row, p in enumerate(_paths(table, paths))]
    if not ids:
        raise InputError(f"{manifest} has no row")
    keep, missing = _rows_on_disk(manifest, root, table, ids)
    kept = table.take(pa.array(keep, type=pa.int64()))
    columns = understood(
        str(manifest),
        kept,
        [ids[row] for row in keep],
        image=paths,
        label=label,
        split=split,
        group=group,
    )
    notes = list(columns.notes)
    repeated = len(ids) - len(keep) - len(missing)
    if repeated:
        notes.append(f"{repeated} rows of {manifest.name} repeat another and count once")
    if missing:
        notes.append(f"{len(missing)} images are named and not there, e.g. {missing[0].id}")
    return replace(columns, missing=tuple(missing), notes=tuple(notes))


def understood(
    name: str,
    table: pa.Table,
    ids: list[str],
    *,
    image: str | None = None,
    label: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> ManifestColumns:
    """Find what each column of a table of images is, by its usual name unless named here.

    Args:
        name: of the table, for messages.
        table: a row an image.
        ids: of the images, in order.
        image: column with their paths, if there is one.
        label: column with the class.
        split: column with the split.
        group: column with the person, video or patient.

    Raises:
        InputError: a named column is not there.
    """
    columns = {
        "label": _column(name, table, label, LABEL_NAMES, "--label"),
        "split": _column(name, table, split, SPLIT_NAMES, "--split"),
        "group": _column(name, table, group, GROUP_NAMES, "--group"),
    }
    attributes, notes = _attributes(table, {image, *columns.values()})
    mapping = {"image": image} | columns
    splits = _values(table, columns["split"])
    return ManifestColumns(
        ids=ids,
        labels=_values(table, columns["label"]),
        splits=splits and [None if word is None else canonical_split(word) for word in splits],
        groups=_values(table, columns["group"]),
        attributes=attributes,
        missing=(),
        mapping=", ".join(f"{what} = {name}" for what, name in mapping.items() if name),
        notes=tuple(notes),
    )


def read_table(manifest: Path) -> pa.Table:
    """Read a csv, jsonl or parquet file as a table, numbers of plain form as numbers.

    Raises:
        InputError: it cannot be read, or has two columns of one name.
    """
    try:
        open_plain(manifest).close()  # a pipe would be waited for
        match manifest.suffix.lower():
            case ".parquet":
                table = parquet.read_table(manifest, use_threads=False, pre_buffer=False)
            case ".jsonl" | ".ndjson":
                _check_depth(manifest)
                table = arrow_json.read_json(
                    manifest, read_options=arrow_json.ReadOptions(use_threads=False)
                )
            case _:
                table = _read_csv(manifest)
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n", 1)[0]
        raise InputError(f"{manifest} cannot be read as a table: {reason}") from None
    table = table.rename_columns([name.strip() for name in table.column_names])
    if len(set(table.column_names)) < len(table.column_names):
        raise InputError(f"{manifest} has two columns of one name")
    return table


def _check_depth(manifest: Path) -> None:
    """Refuse JSON so deep that Arrow's reader, which calls itself once a level, ends the process.

    Raises:
        InputError: it is.
    """
    depth = 0
    with manifest.open("rb") as stream:
        for line in stream:
            bare = _STRING.sub(b"", line)
            depth += bare.count(b"[") + bare.count(b"{")
            if depth > DEEPEST:
                raise InputError(f"{manifest} cannot be read as a table: it is nested too deep")
            depth = max(0, depth - bare.count(b"]") - bare.count(b"}"))


def _read_csv(manifest: Path) -> pa.Table:
    with manifest.open("rb") as stream:  # what follows may name files that are no Unicode
        header = stream.readline().decode("utf-8-sig")
    separator = max("\t;,", key=header.count)  # the last, the comma, where none occurs
    names = next(csv.reader([header], delimiter=separator), [])
    table = arrow_csv.read_csv(
        manifest,
        read_options=arrow_csv.ReadOptions(use_threads=False),
        parse_options=arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types={name: pa.binary() if _is_path(name) else pa.string() for name in names},
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    for place, name in enumerate(table.column_names):
        column = table.column(place)
        if _is_path(name):
            table = table.set_column(place, name, _text_or_bytes(column))
            continue
        column = compute.replace_substring_regex(column, GUARD, r"\1")
        if name.strip().lower() not in {*LABEL_NAMES, *SPLIT_NAMES, *GROUP_NAMES}:
            column = _numbers(column)
        table = table.set_column(place, bare(name), column)
    return table


def _is_path(name: str) -> bool:
    return name.strip().lower() in PATH_NAMES


def _text_or_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return paths as text, or, where one is no Unicode, each as a list of its bytes."""
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        cells = [None if cell is None else list(cell) for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(cells, pa.list_(pa.uint8()))])


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of text as numbers, if every cell is one and would be written just so.

    "007" is a name: as a number it would be the same as "7".
    """
    cells = [
        None if cell is None or cell.lower() in NO_NUMBER else cell for cell in column.to_pylist()
    ]
    numbers = [cell for cell in cells if cell is not None]
    if not numbers or not all(NUMBER.fullmatch(cell) for cell in numbers):
        return column
    whole = not any(mark in cell for cell in numbers for mark in ".eE")
    try:
        return pa.chunked_array(
            [pa.array(cells, pa.string()).cast(pa.int64() if whole else pa.float64())]
        )
    except pa.ArrowInvalid:  # more digits than a number holds
        return column


def holds_pictures(schema: pa.Schema) -> bool:
    """Say whether pictures are in a table, as values or as files, rather than named by it."""
    names = {field.name.strip().lower(): holds_bytes(field.type) for field in schema}
    if any(names.get(name) is False for name in PATH_NAMES):
        return False
    return "pixels" in names or any(names.values())


def _column(
    manifest: str,
    table: pa.Table,
    named: str | None,
    usual: tuple[str, ...],
    what: str,
    *,
    needed: bool = False,
) -> str | None:
    if named is not None:
        if named not in table.column_names:
            raise InputError(
                f"{manifest} has no column {named!r} for {what}; it has "
                f"{', '.join(table.column_names)}"
            )
        return named
    folded = {str(name).lower(): str(name) for name in table.column_names}
    for name in usual:
        if name in folded:
            return folded[name]
    if needed:
        raise InputError(
            f"{manifest} has no column of {what}; one of {', '.join(usual)} is expected, it has "
            f"{', '.join(table.column_names)}"
        )
    return None


def _strings(table: pa.Table, name: str | None) -> list[str | None]:
    values: list[Any] = table.column(name).to_pylist()
    return [None if is_empty(value) else str(value).strip() for value in values]


def _paths(table: pa.Table, name: str | None) -> list[str | None]:
    values: list[Any] = table.column(name).to_pylist()
    return [
        None
        if is_empty(value)
        else os.fsdecode(bytes(value))
        if isinstance(value, list)
        else str(value)
        for value in values
    ]


def is_empty(value: Any) -> bool:
    """Say whether a cell of a table holds nothing."""
    # pandas writes an empty cell of a column of numbers as NaN.
    return value is None or str(value).strip() == "" or value != value


def _values(table: pa.Table, name: str | None) -> list[str | None] | None:
    return None if name is None else _strings(table, name)


def _id(manifest: Path, root: Path, base: Path, row: int, value: str | None) -> str:
    if value is None:
        raise InputError(f"{manifest}, row {row + 1}: the path is empty")
    if value != value.strip() and not os.path.lexists(base / value):  # a name may end in spaces
        value = value.strip()
    if "://" in value:
        raise InputError(f"{manifest}, row {row + 1}: {value} is an address, not a file")
    relative = os.path.relpath(os.path.normpath(base / value), root)
    if relative == ".." or relative.startswith("../"):
        raise InputError(
            f"{manifest}, row {row + 1}: {value} lies outside {root}; --root names the folder that "
            "holds all images"
        )
    return id_of_path(relative)


def _rows_on_disk(
    manifest: Path, root: Path, table: pa.Table, ids: list[str]
) -> tuple[list[int], list[Unreadable]]:
    """Return the first row of each image that is there, and the images that are not."""
    first: dict[str, int] = {}
    keep, missing = [], []
    remote = is_url(root)  # what is not there shows when it is fetched
    for row, id_ in enumerate(ids):
        if id_ in first:
            if _cells(table, row) != _cells(table, first[id_]):
                raise InputError(
                    f"{manifest} names {id_} in rows {first[id_] + 1} and {row + 1} with different "
                    "values; one image has one row"
                )
            continue
        first[id_] = row
        if remote or os.path.lexists(root / path_of_id(id_)):
            keep.append(row)
        else:
            missing.append(Unreadable(id_, f"named in {manifest.name}, not on disk"))
    return keep, missing


def _cells(table: pa.Table, row: int) -> list[str | None]:
    cells = table.slice(row, 1).to_pylist()[0].values()
    return [None if is_empty(cell) else str(cell) for cell in cells]


def _attributes(table: pa.Table, used: set[str | None]) -> tuple[pa.Table, list[str]]:
    """Return the columns that are left, renamed where a name means something else to embedkit."""
    reserved = {*GIVEN, *FACTS}
    names, renamed, notes = [], [], []
    for name in table.column_names:
        if name in used or pa.types.is_nested(table.schema.field(name).type):
            continue
        new = name
        while new in reserved or (new != name and new in table.column_names):
            new = f"{new}_given"
        if new != name:
            notes.append(f"column {name!r} is called {new!r} here")
        names.append(name)
        renamed.append(new)
    return _without_nan(table.select(names)).rename_columns(renamed), notes


def _without_nan(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            values = [None if is_empty(value) else value for value in table[place].to_pylist()]
            table = table.set_column(place, field.name, pa.array(values, pa.float64()))
    return table
