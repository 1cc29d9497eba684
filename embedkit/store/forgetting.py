"""Forgetting: pictures leave a store, and what was derived from them leaves with them.

What is to go is written to `forgetting.json` first, so that whatever cuts it off, the same command
finishes it; until then no other writer touches the store. Blocks with such pictures are written
again without them and the store is committed as by `embed`; then indexes are made anew, what was
derived is removed, every file is searched for what the pictures left, and that file goes last.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import embedkit
from embedkit import files
from embedkit.errors import InputError, StoreError, UnreadableImageError
from embedkit.images import read_bytes
from embedkit.results import Result
from embedkit.store.forgotten import (
    FORGOTTEN,
    forgotten,
    tombstone,
    tombstone_of_id,
    unfinished,
)
from embedkit.store.journal import told
from embedkit.store.schema import FORGETTING, HEADS, JOURNAL, SCHEMA, check_form, sealed, unsealed
from embedkit.store.store import Store
from embedkit.store.traces import Trace, names_of, search_files, traces_in, traces_of
from embedkit.store.writer import StoreWriter

VIEWS, AUDITS, REVIEWS, COPIES = "views", "audits", "reviews.jsonl", "augmented*"
Say = Callable[[str], None]
_ORDER = {"ids": [str], "tombstones": [str], "traces": [list], "shared": int, "plain": int}


@dataclass(frozen=True, slots=True)
class Forgotten(Result):
    """What was done, and what was found afterwards.

    Attributes:
        ids: of the pictures that are gone.
        pictures: files of them that are still there; the store never touches them.
        left: how many pictures the store has now.
        heads: files and folders below `heads/` that had learned from them, and are removed.
        removed: other files that had been derived from them, and are removed.
        traces: how many byte strings were looked for: ids, hashes, thumbnails, parts of vectors.
        shared: of thumbnails and vectors, those that pictures have that stay.
        plain: of them, those of so few different bytes that they stand anywhere.
        files: how many files were searched, and their size in `bytes`.
        found: what was still found, by file; empty if nothing was.
    """

    ids: tuple[str, ...]
    pictures: tuple[str, ...]
    left: int
    heads: tuple[str, ...]
    removed: tuple[str, ...]
    traces: int
    shared: int
    plain: int
    files: int
    bytes: int
    found: dict[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "found": {name: list(what) for name, what in self.found.items()}
        }


@dataclass(frozen=True, slots=True)
class _Order:
    """What `forgetting.json` holds."""

    ids: tuple[str, ...]
    tombstones: tuple[str, ...]
    traces: tuple[Trace, ...]
    shared: int
    plain: int

    def to_bytes(self) -> bytes:
        traces = [[one.what, one.data.hex(), one.is_name] for one in self.traces]
        record = {name: getattr(self, name) for name in self.__slots__} | {"traces": traces}
        return sealed(record | {"schema": SCHEMA}, indent=None)


def with_copies(store: Store, ids: Iterable[str] = (), groups: Iterable[str] = ()) -> list[str]:
    """Return pictures of a store, in its order, with every other one of the same pixels.

    Args:
        store: that has them.
        ids: of pictures, read or unreadable.
        groups: persons or videos of which all pictures are meant.

    Raises:
        InputError: there is no such picture or group; with the nearest there is.
    """
    named, people = set(ids), set(groups)
    items = store.items
    unreadable = [one.id for one in store.unreadable]
    _check_known(named, {*items.ids, *unreadable}, "image")
    _check_known(people, {one for one in items.groups if one is not None}, "group")
    pixels = items.column("pixel_sha256")
    meant = [
        id_ in named or group in people for id_, group in zip(items.ids, items.groups, strict=True)
    ]
    seen = {one for one, is_meant in zip(pixels, meant, strict=True) if is_meant}
    rows = [id_ for id_, one in zip(items.ids, pixels, strict=True) if one in seen]
    return [*rows, *(id_ for id_ in unreadable if id_ in named)]


def forget(
    store: Store | str | Path, ids: Sequence[str] = (), *, say: Say = lambda _: None
) -> Forgotten:
    """Remove pictures from a store and all that was derived from them in it; see the module.

    A forgetting that was cut off is finished first. Pictures of the same pixels go too.

    Args:
        store: a store, or its folder.
        ids: of its pictures; may be empty where a forgetting is to be finished.
        say: is told what is being done.

    Raises:
        InputError: no such picture, nothing to forget, all pictures, or an unfinished `embed`.
        StoreError: the store is damaged, written by another process, or cannot be written.
    """
    path = store.path if isinstance(store, Store) else Path(store)
    Store.open(path)
    with StoreWriter(path, forgets=True) as writer:
        order, done = _cut_off(path), None
        if order is not None:
            say("finishing what was cut off")
            done = _carry_out(writer, order, say)
            ids = [id_ for id_ in ids if id_ not in order.ids]
        if ids or done is None:
            order = _ordered(writer, ids)
            done = _carry_out(writer, order, say)
    return done


def is_cut_off(path: Path) -> bool:
    """Say whether a forgetting was cut off in a store; `forget` without ids finishes it."""
    return (path / FORGETTING).exists()


def _ordered(writer: StoreWriter, ids: Sequence[str]) -> _Order:
    """Write down what is to be forgotten, before anything is changed."""
    path, store = writer.path, writer.store
    if store is None or (path / JOURNAL).exists():
        raise InputError(unfinished(path))
    for block in writer.blocks:
        for name in store.spaces.keys() - block.shards.keys():
            raise StoreError(
                f"{path / name} is damaged; 'embedkit embed' makes it anew, forget after that"
            )
    gone = set(with_copies(store, ids))
    if not gone:
        raise InputError("name the pictures to be forgotten: ids, --group NAME or --like ID")
    rows = np.flatnonzero([id_ in gone for id_ in store.items.ids])
    if len(rows) == len(store.items):
        raise InputError(f"these are all {len(rows)} images of {path}; delete the folder instead")
    traces = traces_of(store, rows)
    hashes = store.items.rows.column("sha256").take(pa.array(rows)).to_pylist()
    buried = {tombstone(one) for one in hashes}
    for one in store.unreadable:
        if one.id in gone:
            buried |= {tombstone_of_id(one.id)}
            try:
                digest = files.sha256(read_bytes(store.items.path(one.id)))
                buried |= {tombstone(digest)}
            except UnreadableImageError:
                pass
    order = _Order(
        ids=tuple(sorted(gone)),
        tombstones=tuple(sorted(buried)),
        traces=(*names_of(sorted(gone), store.items.root), *traces.every),
        shared=traces.shared,
        plain=traces.plain,
    )
    with told(path / FORGETTING):
        files.write_whole(path / FORGETTING, order.to_bytes())
    return order


def _cut_off(path: Path) -> _Order | None:
    """Return what an earlier run was to forget and did not get done, if there is such a thing."""
    try:
        record = unsealed(files.read_plain(path / FORGETTING), path / FORGETTING)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path / FORGETTING} cannot be read: {error.strerror}") from None
    check_form(record, _ORDER, path / FORGETTING)
    try:
        traces = tuple(
            Trace(what, bytes.fromhex(data), name) for what, data, name in record["traces"]
        )
    except (ValueError, TypeError):
        raise StoreError(f"{path / FORGETTING} is no record as embedkit writes it") from None
    return _Order(
        tuple(record["ids"]),
        tuple(record["tombstones"]),
        traces,
        record["shared"],
        record["plain"],
    )


def _carry_out(writer: StoreWriter, order: _Order, say: Say) -> Forgotten:
    """Do it, or what is left to be done of it, and look whether it is done."""
    path, gone = writer.path, set(order.ids)
    say("writing what stays")
    for block in list(writer.blocks):
        stays = [id_ not in gone for id_ in block.ids]
        if not all(stays):
            writer.keep(block, stays)
    store = _committed(writer, order)
    say("removing what was derived")
    with told(path):
        heads, removed = _without_derived(store, order.traces)
    say("searching every file")
    found, size = search_files(path, order.traces)
    found.pop(FORGETTING, None)
    n = sum(one.is_file() and one.name != FORGETTING for one in path.rglob("*"))
    with told(path / FORGETTING):
        files.remove(path / FORGETTING)
        files.sync_folder(path)
    return Forgotten(
        ids=order.ids,
        pictures=tuple(str(one) for one in map(store.items.path, order.ids) if one.exists()),
        left=len(store.items),
        heads=heads,
        removed=removed,
        traces=len(order.traces),
        shared=order.shared,
        plain=order.plain,
        files=n,
        bytes=size,
        found={name: tuple(sorted(what)) for name, what in found.items()},
    )


def _committed(writer: StoreWriter, order: _Order) -> Store:
    """Commit the store without the pictures and with their tombstones."""
    store, gone = writer.store, set(order.ids)
    if store is None:
        raise StoreError(f"{writer.path} has no {FORGETTING} of its own")
    stays = pa.array([id_ not in gone for id_ in store.items.ids])
    return writer.commit(
        store.items.table.filter(stays),
        [one for one in store.unreadable if one.id not in gone],
        {name: space.record for name, space in store.spaces.items()},
        store.record.source | {FORGOTTEN: sorted({*forgotten(store), *order.tombstones})},
        embedkit.__version__,
    )


def _without_derived(
    store: Store, traces: Sequence[Trace]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Remove what was made from forgotten pictures, and return heads and other files that went."""
    path = store.path
    heads: list[str] = []
    for together in _by_stem(path / HEADS):
        if any(_holds(one, traces) for one in together):
            heads += [str(one.relative_to(path)) for one in together]
            _remove(together, traces)
    removed = []
    for folder in [path / VIEWS, path / AUDITS]:
        # Findings of other items than the store has are not looked at by anything any more.
        if folder.is_dir() and (folder.name == AUDITS or _holds(folder, traces)):
            _remove([folder], traces)
            removed.append(folder.name)
    for space in store.spaces.values():
        copies = sorted(space.folder.glob(COPIES))
        if any(_holds(one, traces) for one in copies):
            _remove(copies, traces)
            removed.append(f"{space.name}/{COPIES}")
    if _without_lines(path / REVIEWS, traces):
        removed.append(f"lines of {REVIEWS}")
    return tuple(heads), tuple(removed)


def _by_stem(folder: Path) -> list[list[Path]]:
    """Return what belongs together in a folder: a head, its card, its export and its figures."""
    together: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        together.setdefault(path.name if path.is_dir() else path.stem, []).append(path)
    return list(together.values())


def _holds(path: Path, traces: Sequence[Trace]) -> bool:
    if path.is_dir():
        return bool(search_files(path, traces)[0])
    return path.is_file() and bool(traces_in(path, traces)[0])


def _remove(paths: Sequence[Path], traces: Sequence[Trace]) -> None:
    """Remove files and folders; those that hold traces last, so that a run cut off is taken up."""
    every = [one for path in paths for one in (path, *path.rglob("*"))]
    folders = [one for one in every if one.is_dir() and not one.is_symlink()]
    within = [one for one in every if one not in folders]
    for one in sorted(within, key=lambda file: _holds(file, traces)):
        files.remove(one)
    for folder in sorted({one.parent for one in within}):
        files.sync_folder(folder)  # what is forgotten must not come back when the power is lost
    for one in sorted(folders, reverse=True):
        files.remove_folder(one)
        files.sync_folder(one.parent)


def _without_lines(path: Path, traces: Sequence[Trace]) -> bool:
    """Remove the lines of a file that hold a trace, and say whether there were any."""
    with files.alone(path.parent):
        try:
            lines = files.read_plain(path).splitlines(keepends=True)
        except FileNotFoundError:
            return False
        kept = [line for line in lines if not any(one.found_in(line) for one in traces)]
        if len(kept) == len(lines):
            return False
        files.write_whole(path, b"".join(kept))
        return True


def _check_known(asked: set[str], known: set[str], what: str) -> None:
    for one in sorted(asked - known):
        near = difflib.get_close_matches(one, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise InputError(f"the store has no {what} {one!r}{hint}")
