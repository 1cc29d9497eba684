"""A store's data set, read as it was before, and what has become of the pictures in it."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embedkit.items import ItemTable
from embedkit.pipeline.blocks import hash_of
from embedkit.pipeline.composed import items_of
from embedkit.pipeline.witnesses import Source
from embedkit.readers import read_source
from embedkit.remote import absolute, is_url, url_of
from embedkit.store import Store
from embedkit.store.forgotten import forgotten, tombstone, tombstone_of_id
from embedkit.trust import check_url
from embedkit.workers import usable_cores

Options = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids of pictures whose files are others than the store has, each list sorted.

    Attributes:
        changed: they have other bytes now.
        missing: they are not there, or cannot be read, or are no part of the data set any more.
        new: `embed` would take them.
        n: pictures of the store that were looked at, all of them.
    """

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    new: tuple[str, ...]
    n: int


def changes_of(store: Store) -> Changes:
    """Read every picture of a store's data set, and say what `embed` would find; writes nothing.

    A store that was made from others has no data set that could hold new ones.

    Raises:
        InputError: the data set is not where it was, or cannot be understood any more.
        SourceGoneError: the disk or share that it lies on does not answer.
    """
    record, items = store.record.source, store.items
    listed = items_of(store) if "made_from" in record else read_again(store)
    there = Source(listed.root, listed.ids)
    buried = frozenset(forgotten(store))
    with ThreadPoolExecutor(usable_cores()) as pool:

        def hashes(ids: list[str]) -> dict[str, str | None]:
            return dict(zip(ids, pool.map(lambda id_: hash_of(listed.root, id_), ids), strict=True))

        wanted = set(listed.ids)
        now = hashes([id_ for id_ in items.ids if id_ in wanted])
        refused = {one.id for one in store.unreadable}
        more = sorted(wanted - set(items.ids) - refused)
        # Only where something was forgotten has a new picture to be read.
        new = hashes(more) if buried else dict.fromkeys(more, "")
    known = dict(zip(items.ids, items.column("sha256"), strict=True))
    missing = sorted(id_ for id_ in items.ids if now.get(id_) is None)
    if missing:
        there.check()
    return Changes(
        tuple(sorted(id_ for id_, one in now.items() if one not in (None, known[id_]))),
        tuple(missing),
        tuple(id_ for id_, one in new.items() if not _buried(id_, one, buried)),
        len(items),
    )


def _buried(id_: str, digest: str | None, buried: frozenset[str]) -> bool:
    return tombstone_of_id(id_) in buried or (bool(digest) and tombstone(str(digest)) in buried)


def read_again(store: Store) -> ItemTable:
    """Read a store's data set as it was read before.

    Raises:
        InputError: it is not where it was, or cannot be understood any more, or lies behind a URL
            that only the store names.
    """
    record = store.record.source
    place = Path(record["source"])
    for one in (place, Path(record["options"]["root"] or "")):
        if is_url(one):
            check_url(url_of(one))
    return _read(place, record["options"])


def read_as_asked(
    source: Path, before: Store | None, options: Options
) -> tuple[ItemTable, dict[str, Any]]:
    """Read a data set, as before where nobody says how; also return what a store says of it.

    Args:
        source: folder, manifest or URL.
        before: the store as it was, if there was one.
        options: of `read_source`.

    Raises:
        InputError: it cannot be understood.
    """
    here = absolute(source)
    record = {} if before is None else before.record.source
    again = record.get("source") == here and not any(options.values())
    if again:
        options = record["options"]
        recorded = Path(options["root"] or "")
        if is_url(recorded):
            check_url(url_of(recorded))
    items = _read(source, options)
    if again and any(options.values()):
        said = ", ".join(f"{name} {value}" for name, value in options.items() if value)
        items = replace(items, notes=(*items.notes, f"read as before: {said}"))
    return items, {"given": str(source), "source": here, "options": dict(options)}


def _read(source: Path, options: Options) -> ItemTable:
    root = options["root"]
    how: dict[str, Any] = {**options, "root": None if root is None else Path(root)}
    return read_source(source, **how)
