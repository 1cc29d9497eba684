"""The command export."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Backbone, BlurFaces, Json, Label, MovedStore, Quiet, Seed


def export(
    what: Annotated[
        Path, typer.Argument(metavar="STORE|HEAD", help="A store; a head's file for onnx.")
    ],
    to: Annotated[
        str,
        typer.Option(metavar="parquet|npy|fiftyone|atlas|projector|onnx", help="For which tool."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="File or folder to write.")
    ],
    backbone: Backbone = None,
    label: Label = "label",
    no_images: Annotated[
        bool, typer.Option("--no-images", help="No small pictures (atlas, projector).")
    ] = False,
    blur_faces: BlurFaces = False,
    store: MovedStore = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write vectors, labels and findings, or a head, for other tools.

    What the last audit found goes along as columns, tags or fields. parquet, atlas and onnx are
    one file, the others a folder. onnx is the head alone: it takes vectors, not pictures.

    \b
        embedkit export indexes/faces --to parquet -o faces.parquet
        embedkit export indexes/faces --to projector -o projector/
        embedkit export indexes/faces/heads/label-mtcnn-logistic.safetensors --to onnx -o head.onnx
    """
    from embedkit.exports import export as run

    with console.progress() as update:
        made = run(
            what,
            output,
            to=to,
            backbone=backbone,
            label=label,
            images=not no_images,
            blur_faces=blur_faces,
            store=store,
            seed=seed,
            progress=update,
        )
    console.show(made.text, made.to_dict())
