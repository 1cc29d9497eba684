"""The command search."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import AllowPrivate, Backbone, BlurFaces, Json, Label, StorePath


def search(
    store: StorePath,
    query: Annotated[
        str, typer.Argument(metavar="IMAGE|TEXT", help="Path, http(s) address, or words.")
    ],
    neighbours: Annotated[
        int, typer.Option("-k", "--neighbours", min=1, help="How many to show.")
    ] = 10,
    label: Label = "label",
    backbone: Backbone = None,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Contact sheet; default: neighbours.png."),
    ] = None,
    blur_faces: BlurFaces = False,
    allow_private: AllowPrivate = False,
    json: Json = False,
) -> None:
    """Find the images of a store that are nearest to a picture, or fit a text best.

    Texts need a space of clip.

    \b
        embedkit search indexes/faces suspicious.jpg -k 12 --sheet suspicious.png
        embedkit search indexes/faces "a person with glasses" -b clip
    """
    from embedkit.fetch import allow_private as allowed
    from embedkit.fetch import is_address
    from embedkit.images import SUFFIXES
    from embedkit.neighbours import search as run
    from embedkit.neighbours import search_text
    from embedkit.reports import documents, text
    from embedkit.reports.sheets import search_sheet
    from embedkit.store import Store

    opened = Store.open(store)
    if allow_private:
        (query,) = allowed([query])
    is_image = is_address(query) or Path(query).exists() or Path(query).suffix.lower() in SUFFIXES
    look = run if is_image else search_text
    found = look(opened, query, k=neighbours, backbone=backbone, label=label)
    for note in opened.index_notes:
        console.say(note)
    image = query if is_image else None
    path = search_sheet(
        opened, image, found, sheet or Path("neighbours.png"), blur_faces=blur_faces
    )
    console.show(
        f"{text.neighbours(found)}\nwrote {path}", documents.neighbours(query, found, path)
    )
