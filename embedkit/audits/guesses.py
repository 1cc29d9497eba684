"""Guesses: attributes that a network made of the pictures, and no annotator gave."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedkit.audits.predictions import ids_of
from embedkit.errors import InputError
from embedkit.items import ItemTable
from embedkit.readers.manifest import is_empty, read_table

LISTED = 6


@dataclass(frozen=True, slots=True)
class Guess:
    """What somebody's network says of every image of a store.

    Attributes:
        name: of the attribute.
        source: where the guesses come from, in words.
        column: of the store, that holds them; empty where a file does.
        values: of each image; None without a guess.
        given: what the store's own column of that name says of each image; None without one.
    """

    name: str
    source: str
    column: str
    values: tuple[str | None, ...]
    given: tuple[str | None, ...] | None


def read_guesses(items: ItemTable, asked: Iterable[str], *, label: str) -> tuple[Guess, ...]:
    """Read guesses of attributes.

    Args:
        items: of the store.
        asked: `NAME`, for a column of the store that is guessed; `NAME=COLUMN`, for one that holds
            guesses of another; or `NAME=FILE`, for a csv, jsonl or parquet with the images' ids and
            a column of that name, or just one other, such as `embedkit train --head zeroshot`
            writes.
        label: column with the class.

    Raises:
        InputError: there is no such column or file, an attribute is asked for twice or is the
            label, or what is guessed has no value in common with what is given.
    """
    found: dict[str, Guess] = {}
    for one in asked:
        name, equals, source = (part.strip() for part in one.partition("="))
        if not name or (equals and not source):
            raise InputError(
                f"{one!r} is not NAME, NAME=COLUMN or NAME=FILE, as gender=mine.csv is"
            )
        if name in found:
            raise InputError(f"guesses of {name!r} are named twice; an attribute has one")
        if label in (name, source):
            raise InputError(f"{label!r} is the label, and is not compared as an attribute")
        found[name] = _read(items, name, source)
        _check(found[name])
    return tuple(found.values())


def _read(items: ItemTable, name: str, source: str) -> Guess:
    apart = source not in ("", name)
    given = _words(items.column(name)) if apart and name in items.attributes else None
    column = source if apart else name
    if column in items.attributes:
        return Guess(name, f"column {column}", column, _words(items.column(column)), given)
    brought = ", ".join(items.attributes) or "none"
    if not apart:
        raise InputError(
            f"there is no column {name!r} that could be guessed; the data set brought {brought}, "
            f"and {name}=FILE reads guesses from a file"
        )
    path = Path(source)
    if not path.is_file():
        raise InputError(
            f"{name}={source}: there is no such file, and no such column beside {name!r}; the data "
            f"set brought {brought}"
        )
    return Guess(name, path.name, "", _of_file(path, name, items.ids), given)


def _of_file(path: Path, name: str, ids: Sequence[str]) -> tuple[str | None, ...]:
    table = read_table(path)
    column, every = ids_of(path, table)
    others = [c for c in table.column_names if c != column and not c.startswith("p_")]
    wanted = name if name in others else others[0] if len(others) == 1 else None
    if wanted is None:
        raise InputError(f"{path} has no column {name!r}; it has {', '.join(table.column_names)}")
    by_id = dict(zip(every, _words(table.column(wanted).to_pylist()), strict=True))
    if not by_id.keys() & set(ids):
        raise InputError(
            f"{path} guesses of no image that the store has, e.g. of {every[0] if every else ''!r};"
            f" ids are paths relative to the data set, as {ids[0]!r} is"
        )
    return tuple(by_id.get(one) for one in ids)


def _words(values: Iterable[object]) -> tuple[str | None, ...]:
    return tuple(None if is_empty(value) else str(value).strip() for value in values)


def _check(guess: Guess) -> None:
    said, given = ({*values} - {None} for values in (guess.values, guess.given or ()))
    if given and not said & given:
        raise InputError(
            f"guesses of {guess.name!r} ({guess.source}) are {_some(said)}, what is given is "
            f"{_some(given)}: no value is the same; write the guesses as the data set does"
        )


def _some(values: Iterable[str | None]) -> str:
    names = sorted(value for value in values if value is not None)
    return ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "") or "none"
