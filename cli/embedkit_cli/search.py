"""The command search."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Backbone, Json, Label, StorePath


def search(
    store: StorePath,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Path or http(s) address.")],
    neighbours: Annotated[
        int, typer.Option("-k", "--neighbours", min=1, help="How many to show.")
    ] = 10,
    label: Label = "label",
    backbone: Backbone = None,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Contact sheet; default: neighbours.png."),
    ] = None,
    json: Json = False,
) -> None:
    """Find the images of a store that are nearest to a picture.

    \b
        embedkit search indexes/faces suspicious.jpg -k 12 --sheet suspicious.png
    """
    from embedkit.neighbours import search as run
    from embedkit.reports import documents, text
    from embedkit.reports.sheets import search_sheet
    from embedkit.store import Store

    opened = Store.open(store)
    found = run(opened, image, k=neighbours, backbone=backbone, label=label)
    path = search_sheet(opened, image, found, sheet or Path("neighbours.png"))
    console.show(
        f"{text.neighbours(found)}\nwrote {path}", documents.neighbours(image, found, path)
    )
