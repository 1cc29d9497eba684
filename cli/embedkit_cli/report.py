"""The command report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Backbone, BlurFaces, Json, Label, NoImages, Quiet, Seed

if TYPE_CHECKING:
    from embedkit.audits import Audit


def report(
    store: Annotated[Path, typer.Argument(metavar="STORE|SOURCE", help="Store, or what to embed.")],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            *("--output", "-o"),
            metavar="FILE.html|.md|.json",
            help="Default: report.html; repeatable.",
        ),
    ] = None,
    label: Label = "label",
    backbone: Backbone = None,
    blur_faces: BlurFaces = False,
    no_images: NoImages = False,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run every audit and write what they find as one page that opens anywhere.

    For other settings than the usual ones there is 'embedkit audit --report'.

    \b
        embedkit report indexes/faces -o faces.html
        embedkit report indexes/faces -o faces.html -o faces.md --blur-faces
    """
    from embedkit.audits import audit
    from embedkit.pipeline import store_of
    from embedkit.reports import text
    from embedkit.reports.outputs import check_report

    paths = output or [Path("report.html")]
    for path in paths:
        check_report(path)
    with console.progress() as update:
        opened = store_of(
            store, understood=lambda items: console.say(text.data_set(items)), progress=update
        )
        result = audit(opened, label=label, backbone=backbone, seed=seed, progress=update)
    keep(result)
    write(result, paths, blur_faces=blur_faces, images=not no_images)
    first = result.headline
    console.show(
        f"{first.title}\n{first.text}",
        {
            "schema": "embedkit.report/1",
            "headline": first.to_dict(),
            "files": [str(path) for path in paths],
        },
    )


def keep(result: "Audit") -> None:
    """Keep the findings in the store, where that can be written to."""
    from embedkit.audits.kept import keep
    from embedkit.errors import OutputError

    try:
        keep(result)
    except OutputError as error:
        console.say(f"not kept in the store for map and view: {error}")


def write(result: "Audit", paths: list[Path], *, blur_faces: bool, images: bool) -> None:
    """Write a report to every path, in the form that its end names."""
    from embedkit.reports.outputs import write_report

    for path in paths:
        write_report(result, path, command=console.command(), blur_faces=blur_faces, images=images)
        console.say(f"wrote {path}")
