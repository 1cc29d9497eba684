"""The command parity."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Json, Label, Quiet, Seed


def parity(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.onnx", help="Classifier; MODEL.json says what it sees.")
    ],
    source: Annotated[Path, typer.Argument(metavar="STORE|SOURCE", help="Labelled pictures.")],
    labels: Annotated[
        str, typer.Option(metavar="A,B,C", help="Classes, in the order of its outputs.")
    ],
    figure: Annotated[
        list[str] | None,
        typer.Option(metavar="0.71|71/100", help="Accuracy to find the cause of; repeatable."),
    ] = None,
    label: Label = "label",
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Default: test, or valid without one.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="How many to show it, at most.")] = 200,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find out which mistake in preparing pictures gives your own classifier its accuracy.

    \b
        embedkit parity mine.onnx faces/ --labels angry,happy,sad --figure 0.95 --figure 71/100
    """
    from embedkit.audits.classifiers import check_classifier
    from embedkit.readers import read_source
    from embedkit.reports import text
    from embedkit.reports.audits import classifier
    from embedkit.store import Store
    from embedkit.store.schema import STORE

    if (source / STORE).exists():
        items = Store.open(source).items
    else:
        items = read_source(source)
        console.say(text.data_set(items))
    result = check_classifier(
        model,
        items,
        [name.strip() for name in labels.split(",")],
        figures=figure or (),
        label=label,
        split=split,
        pictures=pictures,
        seed=seed,
    )
    console.show(classifier(result), result.to_dict())
