"""Tombstones: what a store keeps of pictures that were forgotten, so that they do not come back.

A tombstone is a hash of the SHA-256 of a picture's bytes; that hash itself is not kept. Whoever has
the picture can tell that it was forgotten, and nobody can tell anything else from it.
"""

from collections.abc import Iterable
from pathlib import Path

import embedkit
from embedkit.errors import InputError, StoreError, UnreadableImageError
from embedkit.files import remove, sha256, sync_folder
from embedkit.images import read_bytes
from embedkit.store.journal import told
from embedkit.store.schema import JOURNAL
from embedkit.store.store import Store, read_record
from embedkit.store.writer import StoreWriter

FORGOTTEN = "forgotten"  # in `source` of store.json
ALL = "all"
SHORT = 12  # characters of a tombstone that name it


def tombstone(digest: str) -> str:
    """Return the tombstone of a picture, by the SHA-256 of its file in hexadecimal."""
    return sha256(f"embedkit forgot the picture {digest}".encode())


def tombstone_of_id(id_: str) -> str:
    """Return the tombstone of a picture that could not be read and may have no bytes."""
    return sha256(f"embedkit forgot the id {id_}".encode("utf-8", "backslashreplace"))


def forgotten(store: Store) -> tuple[str, ...]:
    """Return the tombstones of a store, sorted."""
    return tuple(store.record.source.get(FORGOTTEN, ()))


def of_all(stores: Iterable[Store]) -> tuple[str, ...]:
    """Return the tombstones of several stores, sorted, each once."""
    return tuple(sorted({one for store in stores for one in forgotten(store)}))


def check_since(store: Path, ids: Iterable[str], what: str) -> None:
    """Refuse what rests on images that were forgotten since their store was opened.

    Args:
        store: its folder.
        ids: of the images.
        what: rests on them, for the message.

    Raises:
        StoreError: some were forgotten.
    """
    if _gone_since(store, ids):
        raise _late(what, store)


def take_back_if_forgotten(written: Iterable[Path], store: Path, ids: Iterable[str]) -> None:
    """Remove files in a store that rest on images which were forgotten while they were made.

    Called once they are written: forgetting removes what is there before it ends, and this whatever
    comes after. Files elsewhere are their owner's.

    Raises:
        StoreError: some were forgotten, and the files are gone.
    """
    inside = [one for one in written if one.resolve().is_relative_to(store.resolve())]
    if inside and _gone_since(store, ids):
        with told(store):
            for one in inside:
                remove(one)
            for folder in {one.parent for one in inside}:
                sync_folder(folder)
        raise _late(inside[0].name, store)


def lift(store: Store | str | Path, what: str) -> tuple[str, ...]:
    """Remove tombstones, so that the next `embed` may take the pictures again; return those.

    Args:
        store: a store, or its folder.
        what: the picture's file, the beginning of a tombstone, or `all`.

    Raises:
        InputError: no tombstone is meant, or the store is being extended and unfinished.
        StoreError: it cannot be written.
    """
    opened = store if isinstance(store, Store) else Store.open(store)
    with StoreWriter(opened.path) as writer:
        there = writer.store
        if there is None or (opened.path / JOURNAL).exists():
            raise InputError(unfinished(opened.path))
        known = forgotten(there)
        lifted = _meant(known, what)
        kept = [one for one in known if one not in lifted]
        source = {name: one for name, one in there.record.source.items() if name != FORGOTTEN}
        writer.commit(
            there.items.table,
            there.unreadable,
            {name: space.record for name, space in there.spaces.items()},
            source | {FORGOTTEN: kept},  # also where none is left: something was forgotten once
            embedkit.__version__,
        )
    return lifted


def _gone_since(store: Path, ids: Iterable[str]) -> bool:
    if FORGOTTEN not in read_record(store).source:
        return False
    return not set(ids) <= set(Store.open(store).items.ids)


def _late(what: str, store: Path) -> StoreError:
    return StoreError(
        f"{what} rests on images that were forgotten from {store} meanwhile; make it again from "
        "the store as it is now"
    )


def unfinished(path: Path) -> str:
    """Return why nothing can be forgotten now."""
    return (
        f"{path} is being extended and unfinished; run the same 'embedkit embed' again to finish "
        "it first"
    )


def _meant(known: tuple[str, ...], what: str) -> tuple[str, ...]:
    if what == ALL and known:
        return known
    try:
        digest = sha256(read_bytes(Path(what)))
        meant = [one for one in known if one == tombstone(digest)]
    except UnreadableImageError:
        meant = [one for one in known if len(what) >= SHORT and one.startswith(what)]
    if not meant:
        raise InputError(
            f"{what!r} is no picture that was forgotten, and begins none of the {len(known)} "
            f"tombstones with {SHORT} characters or more; --list shows them"
        )
    return tuple(meant)
