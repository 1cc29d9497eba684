"""What is known of each image, as the columns that every export to a table shares."""

import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import compute

from embedkit.audits.kept import kept
from embedkit.store import Space, Store

NUISANCE = "nuisance"
Document = dict[str, Any]
Values = dict[str, Any]  # by id of the image


@dataclass(frozen=True, slots=True)
class Columns:
    """What is known of the images of a store.

    Attributes:
        label: name of the column with the class.
        table: a row an image, in item order: `id`, `path`, what the data set says, what its files
            say, and what the last audit found.
        notes: what a user should know about them.
    """

    label: str
    table: pa.Table
    notes: tuple[str, ...]


def columns(store: Store, space: Space, *, label: str) -> Columns:
    """Return what is known of each image.

    Args:
        store: of the images.
        space: that the last audit looked at.
        label: column that it went by.

    Raises:
        InputError: there is no such column of labels.
    """
    items = store.items
    items.label_column(label)
    paths = [_text(str(items.path(id_))) for id_ in items.ids]
    found = _findings(kept(store, label=label, backbone=space.name))
    rows = items.rows
    nuisances = {
        f"{NUISANCE}.{field.name}": compute.struct_field(rows.column(NUISANCE), field.name)
        for field in rows.schema.field(NUISANCE).type
    }
    own = {"path", "vector", *found, *nuisances}
    name_of = {
        name: f"{name} (given)" if name in own else name
        for name in rows.column_names
        if name != NUISANCE
    }
    made = {name_of[name]: rows.column(name) for name in name_of}
    made = {"id": made.pop("id"), "path": pa.array(paths, pa.string()), **made, **nuisances}
    for name, (type_, values) in found.items():
        made[name] = pa.array([values.get(id_) for id_ in items.ids], type_)
    notes = []
    if missing := paths.count(None):
        notes.append(f"{missing} paths are no Unicode and left empty; the id names the file")
    if not found:
        command = ["embedkit", "audit", str(store.path), *(["--label", label] * (label != "label"))]
        notes.append(
            f"no audit by {label!r} of this space is kept in the store, so nothing that one finds "
            f"is exported; '{shlex.join(command)}' keeps one"
        )
    return Columns(name_of[label], pa.table(made), tuple(notes))


def text_columns(found: Columns) -> pa.Table:
    """Return the columns that a table of text can hold: all but lists of numbers."""
    nested = [field.name for field in found.table.schema if pa.types.is_nested(field.type)]
    return found.table.drop_columns(nested)


def _text(path: str) -> str | None:
    """Return a path, None where it is no Unicode."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return None
    return path


def _findings(documents: dict[str, Document]) -> dict[str, tuple[pa.DataType, Values]]:
    """Return columns of what audits found; none of those that did not run."""
    made: dict[str, tuple[pa.DataType, Values]] = {}
    for name, read in _READ.items():
        details = documents.get(name, {}).get("details")
        if details:
            made |= read(details)
    return made


def _of_twins(details: Document) -> dict[str, tuple[pa.DataType, Values]]:
    cluster = {
        id_: number for number, one in enumerate(details["clusters"]) for id_ in one["images"]
    }
    exact, across = Counter[str](), Counter[str]()
    for pair in details["pairs"]:
        for id_ in (pair["a"], pair["b"]):
            exact[id_] += pair["kind"] == "exact"
            across[id_] += pair["across_splits"]
    kinds = {id_: "exact" if exact[id_] else "near" for id_ in cluster}
    sides = {id_: bool(across[id_]) for id_ in cluster}
    return {
        "twin_cluster": (pa.int32(), cluster),
        "twin_kind": (pa.string(), kinds),
        "twin_across_splits": (pa.bool_(), sides),
    }


def _of_labels(details: Document) -> dict[str, tuple[pa.DataType, Values]]:
    issues = {issue["id"]: issue for issue in details["issues"]}
    return {
        f"label_{name}": (type_, {id_: issue[name] for id_, issue in issues.items()})
        for name, type_ in (
            ("suggested", pa.string()),
            ("score", pa.float64()),
            ("reason", pa.string()),
        )
    }


def _of_quality(details: Document) -> dict[str, tuple[pa.DataType, Values]]:
    flags = {
        one["id"]: "; ".join(fault["check"] for fault in one["faults"])
        for one in details["flagged"]
    }
    return {"quality_flags": (pa.string(), flags)}


_READ: dict[str, Callable[[Document], dict[str, tuple[pa.DataType, Values]]]] = {
    "twins": _of_twins,
    "labels": _of_labels,
    "quality": _of_quality,
}
