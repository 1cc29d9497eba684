"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from embedkit_cli import console

Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object.", callback=console.want_json)
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="No talk on stderr.", callback=console.want_quiet)
]
Seed: TypeAlias = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of everything drawn at random.")
]
Threads: TypeAlias = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads to use; the result does not depend on it."),
]
Engine: TypeAlias = Annotated[
    str,
    typer.Option(
        "--engine", metavar="local|ray", help="ray: worker processes, here or on a cluster."
    ),
]
RayAddress: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Of a Ray cluster; default: start Ray here.",
    ),
]
MaxPixels: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-pixels", metavar="N", help="Leave out larger pictures; default 64 million, the most."
    ),
]
StorePath: TypeAlias = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of a store.")]
HeadPath: TypeAlias = Annotated[Path, typer.Argument(metavar="HEAD", help="File of a head.")]
MovedStore: TypeAlias = Annotated[
    Path | None, typer.Option("--store", metavar="STORE", help="Where the head's store is now.")
]
Backbone: TypeAlias = Annotated[
    str | None,
    typer.Option("--backbone", "-b", metavar="NAME", help="Which space; needed if there are more."),
]
Label: TypeAlias = Annotated[
    str, typer.Option("--label", metavar="COLUMN", help="Column with the class, or any attribute.")
]
BlurFaces: TypeAlias = Annotated[
    bool, typer.Option("--blur-faces", help="Make faces in shown pictures unrecognisable.")
]
NoImages: TypeAlias = Annotated[bool, typer.Option("--no-images", help="Show no picture.")]
AllowPrivate: TypeAlias = Annotated[
    bool,
    typer.Option("--allow-private", help="Fetch also from this machine and private networks."),
]
By: TypeAlias = Annotated[
    str, typer.Option("--by", metavar="COLUMN", help="Attribute with the groups.")
]
Layout: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--layout", metavar="LEVELS", help="What each folder level means, e.g. split/class."
    ),
]
Root: TypeAlias = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Folder that a manifest's paths are relative to."),
]
LabelColumn: TypeAlias = Annotated[
    str | None, typer.Option("--label", metavar="COLUMN", help="Manifest column with the class.")
]
SplitColumn: TypeAlias = Annotated[
    str | None, typer.Option("--split", metavar="COLUMN", help="Manifest column with the split.")
]
Bins: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="RANGES|N", help="Cut a label that is a number: 1-3,4-10,11+ or how many bins."
    ),
]
GroupColumn: TypeAlias = Annotated[
    str | None,
    typer.Option("--group", metavar="COLUMN", help="Manifest column with the person or video."),
]
