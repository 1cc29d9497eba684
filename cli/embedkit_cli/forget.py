"""The command forget."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Backbone, BlurFaces, Json, Quiet, StorePath

if TYPE_CHECKING:
    from embedkit.store.forgetting import Forgotten

LEFT_BEHIND = 3


def forget(
    store: StorePath,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Of images, as search shows them.")
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME", help="All of a person or video; repeatable."),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like", metavar="ID", help="An image, its copies and its person; repeatable."
        ),
    ] = None,
    backbone: Backbone = None,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Contact sheet of what is meant, to look at first."),
    ] = None,
    blur_faces: BlurFaces = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without this nothing is changed.")
    ] = False,
    tombstones: Annotated[
        bool, typer.Option("--list", help="Show what the store keeps from coming back.")
    ] = False,
    lift: Annotated[
        str | None,
        typer.Option(metavar="FILE|HASH|all", help="Let a forgotten image be embedded again."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove images or a person from a store, and all that was made of them in it.

    Vectors of every space, indexes, thumbnails, faces, findings, views, altered copies, ticks, and
    heads that learned from them; other images of the very same pixels too. Then every file of the
    store is searched for what they leave. What stays is a hash that keeps 'embed', 'merge' and
    'subset' from taking them again. Nothing outside the store is touched, the pictures least of
    all. If it is cut off, the same command finishes it.

    \b
        embedkit forget indexes/faces --like train/happy/17.png --sheet meant.png
        embedkit forget indexes/faces --group "Jane Doe" --yes
        embedkit forget indexes/faces --lift consent/17.png
    """
    from embedkit.audits.people import meant
    from embedkit.errors import InputError
    from embedkit.reports import forgetting as shown
    from embedkit.reports.sheets import chosen_sheet
    from embedkit.store import Store
    from embedkit.store.forgetting import forget as run
    from embedkit.store.forgetting import is_cut_off
    from embedkit.store.forgotten import forgotten
    from embedkit.store.forgotten import lift as lift_tombstones

    opened = Store.open(store)
    given = bool(ids or group or like)
    if tombstones or lift is not None:
        if given or yes:
            raise InputError("--list and --lift are asked by themselves")
        lifted = None if lift is None else lift_tombstones(opened, lift)
        kept = forgotten(Store.open(store))
        console.show(
            shown.tombstones(store, kept, lifted),
            shown.tombstones_document(store, kept, lifted or ()),
        )
        return
    if is_cut_off(store):
        if not yes:
            raise InputError(
                f"a forgetting was cut off in {store}; 'embedkit forget {store} --yes' finishes it"
            )
        _finish(store, run(opened, say=_say))
        return
    if not given:
        raise InputError("name what is to be forgotten: ids, --group NAME or --like ID")
    notes: list[str] = []
    pictures = meant(
        opened, ids or (), group or (), like or (), backbone=backbone, say=notes.append
    )
    for note in notes:
        console.say(note)
    path = None
    if sheet is not None:
        path = chosen_sheet(
            opened, [(one.id, one.why) for one in pictures], sheet, blur_faces=blur_faces
        )
    if not yes:
        console.show(
            shown.chosen(opened, pictures, path, console.command()),
            shown.chosen_document(opened, pictures, path, notes),
        )
        return
    _finish(store, run(opened, [one.id for one in pictures], say=_say))


def _say(what: str) -> None:
    console.say(f"{what} ...")


def _finish(store: Path, made: "Forgotten") -> None:
    """Show what was done; what is still found afterwards is a failure."""
    from embedkit.reports import forgetting as shown

    console.show(shown.done(store, made), shown.done_document(store, made))
    if made.found:
        raise typer.Exit(LEFT_BEHIND)
