"""The command explain."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Backbone, Json, Label, Seed, StorePath


def explain(
    store: StorePath,
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="Id (its end will do), or a picture's path.")
    ],
    head: Annotated[str, typer.Option(metavar="KIND", help="logistic or knn.")] = "logistic",
    label: Label = "label",
    backbone: Backbone = None,
    neighbours: Annotated[
        int, typer.Option("-k", "--neighbours", min=1, help="Training images to name.")
    ] = 5,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.png", help="Write the card as a picture."),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Say what the answer to one image rests on, and what it would be without its relatives.

    \b
        embedkit explain indexes/faces test/good/00123.jpg -o card.png
        embedkit explain indexes/faces new.jpg --head knn
    """
    from embedkit.audits.explain import explain as run
    from embedkit.reports.cards import card_text
    from embedkit.reports.sheets import card_sheet
    from embedkit.store import Store

    opened = Store.open(store)
    card = run(opened, image, head=head, label=label, backbone=backbone, k=neighbours, seed=seed)
    lines = [card_text(card)]
    if output is not None:
        output = card_sheet(opened, card, output)
        lines.append(f"wrote {output}")
    document = card.to_dict() | {"sheet": None if output is None else str(output)}
    console.show("\n".join(lines), document)
