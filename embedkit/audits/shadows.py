"""Shadows: a part of a store, or a store with more pictures, in memory; nothing is changed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedkit.backbones import embed_prepared, load_again
from embedkit.errors import UnreadableImageError
from embedkit.images import decode, read_bytes, strict_pillow
from embedkit.items import ItemTable, Unreadable, id_of_path
from embedkit.store import Space, Store
from embedkit.store.index import NeighbourIndex
from embedkit.vectors import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Added:
    """A picture to add: its file, and what the columns of the items table say of it."""

    path: Path
    columns: Mapping[str, Any]


def id_of(path: Path) -> str:
    """Return the id of an added picture: below any root, an absolute path stands for itself."""
    return id_of_path(str(path.resolve()))


def part_of(store: Store, rows: IntArray, *, spaces: Iterable[str | None] = (None,)) -> Store:
    """Return a store in memory that holds only some rows, in this order.

    Args:
        store: to take from.
        rows: to take.
        spaces: to keep; None where there is only one.
    """
    kept = {}
    for name in spaces:
        space = store.space(name)
        kept[space.name] = _space(space, space.vectors[rows])
    return _store(store, store.items.take(rows.tolist()), kept)


def with_pictures(
    store: Store, pictures: Sequence[Added], *, backbone: str | None = None
) -> tuple[Store, list[Unreadable]]:
    """Return a store in memory that also holds some pictures, as its last rows, in one space.

    Each picture's vector is what `predict` makes of it.

    Args:
        store: to add to.
        pictures: to add.
        backbone: which space; can be left out where there is only one.

    Returns:
        The store, and the pictures that are not in it because they cannot be read or embedded.

    Raises:
        SpaceMismatchError: this embedkit's backbone makes other vectors than the space holds.
    """
    space = store.space(backbone)
    network = load_again(
        **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
    )
    schema = store.items.rows.schema
    rows, parts, refused = [], [space.vectors], []
    for start in range(0, len(pictures), network.card.batch):
        prepared = []
        for one in pictures[start : start + network.card.batch]:
            try:
                with strict_pillow():
                    picture = decode(read_bytes(one.path))
                prepared.append(network.prepare(picture.pixels))
            except UnreadableImageError as error:
                refused.append(Unreadable(id_of(one.path), str(error)))
                continue
            row = asdict(picture.facts) | {"id": id_of(one.path)} | dict(one.columns)
            rows.append({name: row.get(name) for name in schema.names})
        if prepared:
            parts.append(embed_prepared(network, prepared))
    table = pa.concat_tables(
        [store.items.rows.select(schema.names), pa.Table.from_pylist(rows, schema=schema)]
    )
    longer = _space(space, np.concatenate(parts))
    return _store(store, replace(store.items, rows=table), {space.name: longer}), refused


def with_columns(store: Store, **columns: list[str | None]) -> Store:
    """Return a store in memory whose items have other columns, of strings."""
    items = store.items
    for name, values in columns.items():
        items = items.with_column(name, values)
    return _store(store, items, store.spaces)


def _space(space: Space, vectors: FloatArray) -> Space:
    """Return a space in memory; what is on disk is not that of these rows."""
    other = Space(space.folder, space.record)
    other.vectors = vectors
    other.index = NeighbourIndex(vectors)
    return other


def _store(store: Store, items: ItemTable, spaces: dict[str, Space]) -> Store:
    return Store(store.path, store.record, items, store.unreadable, spaces)
