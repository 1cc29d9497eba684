"""The command map."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import (
    AllowPrivate,
    Backbone,
    BlurFaces,
    Json,
    Label,
    NoImages,
    Quiet,
    Seed,
    StorePath,
)


def map_(
    store: StorePath,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Page (.html) or figure (.png, .svg)."),
    ] = Path("map.html"),
    colour_by: Annotated[
        str | None,
        typer.Option("--colour-by", metavar="COLUMN", help="What colours mean; default the label."),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE|FOLDER", help="Place new pictures too; repeatable."),
    ] = None,
    label: Label = "label",
    backbone: Backbone = None,
    neighbours: Annotated[
        int,
        typer.Option("-k", "--neighbours", min=2, max=200, help="That each picture is tied to."),
    ] = 15,
    blur_faces: BlurFaces = False,
    no_images: NoImages = False,
    allow_private: AllowPrivate = False,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw a store as a map: pictures that the network finds alike are near.

    A page can be moved, searched, coloured and lassoed; pictures below --add are placed among the
    others, which stay where they are. How far to trust the map is printed on it.

    \b
        embedkit map indexes/faces -o map.html
        embedkit map indexes/faces -o map.png --colour-by split
        embedkit map indexes/faces --add new/ --no-images
    """
    from embedkit.fetch import allow_private as allowed
    from embedkit.files import check_place
    from embedkit.maps import map_of
    from embedkit.reports.map_files import check_file, map_text, write_map
    from embedkit.store import Store

    check_place(output)
    check_file(output, images=not no_images)
    opened = Store.open(store)
    with console.progress() as progress:
        made = map_of(
            opened,
            label=label,
            backbone=backbone,
            neighbours=neighbours,
            colour_by=colour_by,
            add=allowed(add or ()) if allow_private else add or (),
            seed=seed,
            progress=progress,
        )
    path = write_map(made, output, images=not no_images, blur_faces=blur_faces)
    console.show(f"{map_text(made)}\nwrote {path}", made.to_dict() | {"path": str(path)})
