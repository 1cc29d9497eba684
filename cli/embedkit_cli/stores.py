"""Commands that make a store out of others: merge, subset."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Json, Quiet, StorePath

Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUT", help="Folder of the new store.")
]


def merge(
    stores: Annotated[list[Path], typer.Argument(metavar="STORE", help="Two or more.")],
    output: Output,
    backbone: Annotated[
        list[str] | None,
        typer.Option("--backbone", "-b", metavar="NAME", help="Spaces to keep; default: all."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make one store of several, without embedding again.

    No picture is read. Ids stay paths: where the stores' sources differ, relative to the nearest
    folder above them all, so that they are unique. A picture that several stores hold is taken
    once, from the first. Labels, splits and groups are kept as they are; columns that a store
    lacks are empty in its rows. Every store needs every space (-b names those to keep), made with
    the same network and preprocessing. Heads, findings, views and altered copies stay behind.

    \b
        embedkit merge indexes/lfw indexes/faces -o indexes/both
        embedkit merge a/ b/ c/ -b mtcnn -o all/
    """
    from embedkit.reports import documents, text
    from embedkit.store.merging import merge as run

    notes: list[str] = []
    made = run(stores, output, backbone=backbone or (), say=notes.append)
    for note in notes:
        console.say(note[0].upper() + note[1:] + ".")
    console.show(text.store(made), documents.composed("merge", made, notes))


def subset(
    store: StorePath,
    output: Output,
    where: Annotated[
        str, typer.Option(metavar="CONDITION", help="In SQL, over the columns of the items.")
    ],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a store of those images that fulfil a condition.

    Nothing is embedded again. The condition is one expression of DuckDB's SQL: label, split,
    group, id, the data set's own columns, width, height, format, faces ... (a wrong name lists
    all). Text in single quotes. Columns of whole numbers that are stored as text compare as
    numbers. A row that is empty where the condition asks is left out.

    \b
        embedkit subset indexes/faces --where "split = 'test' and age < 20" -o indexes/young
        embedkit subset indexes/faces --where "label in ('happy', 'sad') and width >= 48" -o small
    """
    from embedkit.reports import documents, text
    from embedkit.store.subsets import subset as run

    notes: list[str] = []
    made = run(store, output, where=where, say=notes.append)
    for note in notes:
        console.say(note[0].upper() + note[1:] + ".")
    console.show(text.store(made), documents.composed("subset", made, notes))
