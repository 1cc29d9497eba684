"""The command finetune."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Backbone, Json, Label, Quiet, Seed, StorePath, Threads

if TYPE_CHECKING:
    from embedkit.finetuning import Finetuned


def finetune(
    store: StorePath,
    network: Annotated[
        str, typer.Option(metavar="NAME", help="small, torchvision:NAME or timm:NAME.")
    ] = "small",
    unfreeze: Annotated[
        str, typer.Option(metavar="last|all", help="Of a published network: what is trained.")
    ] = "last",
    label: Label = "label",
    backbone: Backbone = None,
    size: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Default: 64 for small, 96 for others.")
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="N", help="At most.")] = 40,
    patience: Annotated[
        int, typer.Option(metavar="N", help="Epochs that bring nothing before it stops.")
    ] = 8,
    augment: Annotated[
        bool | None,
        typer.Option(
            "--augment/--no-augment",
            help="Alter training pictures each time. Default: unless only the last block is "
            "trained.",
            show_default=False,
        ),
    ] = None,
    without_leaks: Annotated[
        bool,
        typer.Option("--without-leaks", help="Train again without relatives of test images."),
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The network's file, or a folder.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Default: in the store's heads/."),
    ] = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a network on the pictures themselves, to see what freezing costs and leaking gains.

    Says beforehand how long it will take at most; Ctrl-C keeps the best epoch so far. Writes the
    network, its training curves and its answers to the test images, which the audit judges.

    \b
        embedkit finetune indexes/faces
        embedkit finetune indexes/faces --without-leaks -o scratch/
        embedkit finetune indexes/faces --network torchvision:resnet18 --unfreeze last --size 96
    """
    from embedkit.files import check_place
    from embedkit.finetuning import finetune as run
    from embedkit.reports import finetunings
    from embedkit.store import Store

    opened = Store.open(store)
    check_place((output or store) / finetunings.RECORD)
    folder, files = Path(), list[Path]()

    def keep(result: "Finetuned") -> None:
        nonlocal folder, files
        folder = output or finetunings.default_folder(result)
        console.say(f"Keeping it in {folder}")
        files = finetunings.write(result, folder)

    with console.progress() as update:
        result = run(
            opened,
            network=network,
            unfreeze=unfreeze,
            label=label,
            backbone=backbone,
            size=size,
            epochs=epochs,
            patience=patience,
            augment=augment,
            without_leaks=without_leaks,
            weights=weights,
            seed=seed,
            threads=threads,
            say=console.say,
            progress=update,
            keep=keep,
        )
    console.show(
        "\n".join([finetunings.text(result, folder), *(f"wrote {path}" for path in files)]),
        finetunings.document(result, files),
    )
