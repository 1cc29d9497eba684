"""The command demo."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Json, Quiet, Seed


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put everything.")] = Path(
        "demo"
    ),
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a small face data set with known faults, audit it, and compare found with planted.

    Needs no download and no data; the faces are drawn.

    \b
        embedkit demo
    """
    from embedkit.demo import run_demo

    with console.progress() as update:
        result = run_demo(folder, seed=seed, say=console.say, progress=update)
    console.show(result.to_text(), result.to_dict())
