"""A part of a store: the images that fulfil a condition, with their vectors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from embedkit.errors import InputError
from embedkit.store.composing import Part, Plan, compose, empty_space, made_from
from embedkit.store.conditions import fulfilled
from embedkit.store.store import Store


def subset(
    store: Store | str | Path,
    path: str | Path,
    *,
    where: str,
    say: Callable[[str], None] | None = None,
) -> Store:
    """Make a store of the images of another one that fulfil a condition, and open it.

    Ids, labels, splits, groups, attributes, facts and vectors are those of `store`; nothing is
    embedded, and the pictures need not be there. Text columns in which every value is a whole
    number are compared as numbers. Unreadable images stay on their list if the condition holds
    for them with nothing known but their id.

    Args:
        store: a store, or its folder.
        path: folder of the new store; what a killed run of this left there is finished.
        where: a condition in DuckDB's SQL over the columns of `items.parquet`, such as
            `split = 'test' and age < 20`; one expression without queries.
        say: told what a user should know of the result.

    Raises:
        InputError: it is no condition, names a column that is not there, no image fulfils it, or
            something else is at `path`.
        StoreError: a store is damaged, or cannot be written.
    """
    tell = say or (lambda _: None)
    opened = store if isinstance(store, Store) else Store.open(store)
    items, refused = opened.items, opened.unreadable
    # Of an unreadable image nothing is known but its id; all other columns are empty.
    listed = pa.table({"id": pa.array([one.id for one in refused], pa.string())})
    keep, numbers = fulfilled(
        pa.concat_tables([items.table, listed], promote_options="default"),
        where,
        as_numbers=("label", "split", "group", *items.attributes),
    )
    kept, still_refused = keep[: len(items)], keep[len(items) :]
    if not kept.any():
        raise InputError(f"--where {where!r}: none of the {len(items)} images fulfils it")
    rows = np.flatnonzero(kept)
    unreadable = tuple(one for one, stays in zip(refused, still_refused, strict=True) if stays)
    record = opened.record.source
    made = compose(
        Path(path),
        Plan(
            parts=(Part(opened, rows),),
            items=items.table.take(pa.array(rows)),
            unreadable=unreadable,
            spaces={name: empty_space(one.record) for name, one in opened.spaces.items()},
            source=record
            | {
                "given": str(path),
                "source": str(Path(path).resolve()),
                "options": {},
                "layout": f"{len(rows)} of {len(items)} images of {opened.path}, where {where}",
                "made_from": made_from("subset", [opened], where=where),
            },
        ),
    )
    notes = [f"{name} is text of whole numbers and was compared as numbers" for name in numbers]
    if gone := len(refused) - len(unreadable):
        notes.append(
            f"{gone} of {len(refused)} unreadable images are not on the new store's list: the "
            "condition does not hold for what is known of them, their id"
        )
    lost = sorted({*items.splits} - {*made.items.splits} - {None}, key=str)
    for note in (*notes, *(f"no image of the split {split!r} is left" for split in lost)):
        tell(note)
    return made
