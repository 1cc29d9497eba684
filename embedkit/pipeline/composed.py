"""Stores that were made from others: they have no data set to be read, and are their own source."""

from collections.abc import Mapping
from pathlib import Path

from embedkit.errors import InputError
from embedkit.items import FACTS, ItemTable
from embedkit.store import Store
from embedkit.store.schema import STORE


def composed_store(
    source: Path, place: Path | None, options: Mapping[str, str | None]
) -> Store | None:
    """Return the store that a source is, if `merge` or `subset` made it.

    Args:
        source: what is to be embedded.
        place: the store that is named for it.
        options: how a data set is to be read.

    Raises:
        InputError: a store is to be embedded into another one, read in another way, or is one with
            a data set of its own; or a data set into a store that was made from others.
        StoreError: a store is damaged.
    """
    if not (source / STORE).exists():
        if place is not None and (place / STORE).exists():
            made = Store.open(place).record.source.get("made_from")
            if made is not None:
                raise InputError(
                    f"{place} was made by 'embedkit {made['command']}' and holds what it was made "
                    f"of; embed {source} into a store of its own and merge the two"
                )
        return None
    store = Store.open(source)
    record = store.record.source
    if "made_from" not in record:
        raise InputError(
            f"{source} is a store; 'embedkit embed {record['given']} -o {source}' brings it up to "
            "date with its data set"
        )
    given = [f"--{name}" for name, value in options.items() if value]
    if place is not None and place.resolve() != source.resolve():
        given.append("-o")
    if given:
        raise InputError(
            f"{source} was made by 'embedkit {record['made_from']['command']}' and is its own "
            f"source; leave out {' and '.join(given)}"
        )
    return store


def items_of(store: Store) -> ItemTable:
    """Return the images of a store as a reader would."""
    items = store.items
    rows = items.rows.select([name for name in items.rows.column_names if name not in FACTS])
    return ItemTable(items.root, rows, items.layout, unreadable=store.unreadable)
