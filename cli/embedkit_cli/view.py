"""The commands view and reviews."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Backbone, BlurFaces, Json, Label, Quiet, StorePath


def view(
    store: StorePath,
    label: Label = "label",
    backbone: Backbone = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="To listen on; 0: a free one.")
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    blur_faces: BlurFaces = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at a store in the browser: its map, findings and pictures; tick what is real.

    Only this machine is served, and only who knows the address. What is ticked is kept in the
    store; 'embedkit reviews' lists it. Ctrl-C ends it.

    \b
        embedkit view indexes/faces
        embedkit view indexes/faces --no-browser --port 8123
    """
    from embedkit.explorer.serving import open_browser, serve, wait
    from embedkit.reports import documents

    with serve(store, label=label, backbone=backbone, port=port, blur_faces=blur_faces) as served:
        console.show(served.address, documents.viewer(store, served.address, served.port))
        if not browser or not open_browser(served):
            console.say("Open this address in a browser on this machine.")
        console.say("Ctrl-C ends it.")
        wait()


def reviews(
    store: StorePath,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.csv", help="Write every answer to a list."),
    ] = None,
    label: Label = "label",
    backbone: Backbone = None,
    json: Json = False,
) -> None:
    """Say how much of what the audit lists is real, by what was ticked in 'embedkit view'.

    \b
        embedkit reviews indexes/faces -o ticked.csv
    """
    from embedkit.audits.reviews import reviewed
    from embedkit.audits.ticks import reviews_csv, ticks
    from embedkit.files import write_output
    from embedkit.reports import documents, reviews
    from embedkit.store import Store

    opened = Store.open(store)
    found, given = reviewed(opened, label=label, backbone=backbone), ticks(opened)
    if output is not None:
        write_output(output, reviews_csv(given))
    console.show(
        reviews.reviews_text(found, len(given), output),
        documents.reviews(opened, found, len(given), output),
    )
