"""`embedkit predict`: heads on pictures, on every face of pictures and videos, and on a camera."""

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedkit_cli import console
from embedkit_cli.live import eyes, watch
from embedkit_cli.options import (
    AllowPrivate,
    BlurFaces,
    HeadPath,
    Json,
    MaxPixels,
    MovedStore,
    Quiet,
)

if TYPE_CHECKING:
    from embedkit.heads.predict import Panel
    from embedkit.inputs import Input

EVIDENCE = 5  # neighbours of a picture; of a face none unless asked for


def predict(
    head: HeadPath,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT", help="Path, folder, http(s) address, or -; with --faces a video too."
        ),
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(metavar="HEAD", help="Another head on the same pictures; repeatable."),
    ] = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="Find every face, and judge each on its own.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="With --faces: the annotated picture or video, or a folder for several.",
        ),
    ] = None,
    every: Annotated[
        int, typer.Option(min=1, metavar="N", help="With --faces: look at each N-th frame only.")
    ] = 1,
    camera: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Show the faces that camera N sees, live."),
    ] = None,
    neighbours: Annotated[
        int | None,
        typer.Option(
            "-k",
            "--neighbours",
            min=0,
            help="Training images shown as evidence; default 5, of faces none.",
        ),
    ] = None,
    max_pixels: MaxPixels = None,
    blur_faces: BlurFaces = False,
    store: MovedStore = None,
    offline: Annotated[bool, typer.Option("--offline", help="Refuse addresses.")] = False,
    allow_private: AllowPrivate = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Classify pictures, or every face in pictures and videos.

    Of whole pictures the nearest training images are shown as evidence. With --faces, boxes and
    answers are also written as JSON lines beside the annotated file, which has no sound. A camera
    is shown in a window; without a screen, or with --json, it is printed as JSON lines.

    \b
        embedkit predict faces.safetensors new.jpg more/ https://example.org/face.jpg
        cat new.jpg | embedkit predict faces.safetensors -
        embedkit predict age.safetensors clip.mp4 --also mood.safetensors --faces -o seen.mp4
        embedkit predict age.safetensors --camera 0
    """
    from embedkit.errors import InputError
    from embedkit.fetch import allow_private as allowed
    from embedkit.fetch import is_address
    from embedkit.heads import load_head
    from embedkit.heads.predict import panel_of
    from embedkit.images import check_max_pixels

    given = allowed(inputs or []) if allow_private else inputs or []
    if (camera is None) == (not given):
        both = ", not both" if given else ""
        raise InputError(f"name pictures, folders or videos, or a camera with --camera N{both}")
    if offline and any(is_address(one) for one in given):
        raise InputError("--offline was given, so addresses are not fetched")
    if camera is not None and every != 1:
        raise InputError("--every is for videos; of a camera the newest frame is always taken")
    check_max_pixels(max_pixels)
    if blur_faces and not faces and camera is None:
        raise InputError("--blur-faces goes with --faces or --camera; no picture is shown here")
    if not faces and camera is None:
        _refuse_what_is_of_faces(given, output, every)
    others = also or []
    panel = panel_of(
        [load_head(head, store=store), *(load_head(one) for one in others)], [head, *others]
    )
    if camera is not None:
        from embedkit.videos.cameras import camera_frames

        watch(
            panel,
            camera_frames(camera),
            output=output,
            k=neighbours or 0,
            blur_faces=blur_faces,
        )
    elif faces:
        _faces(panel, given, output, every, neighbours or 0, max_pixels, blur_faces=blur_faces)
    else:
        _pictures(panel, given, EVIDENCE if neighbours is None else neighbours, max_pixels)


def _refuse_what_is_of_faces(given: list[str], output: Path | None, every: int) -> None:
    """Refuse what only --faces does, before anything is loaded."""
    from embedkit.errors import InputError
    from embedkit.videos.files import is_video

    video = next((one for one in given if is_video(Path(one))), None)
    if video is not None:
        raise InputError(f"{video} is a video; --faces looks at the faces in it")
    if output is not None or every != 1:
        raise InputError("--output and --every go with --faces or --camera")


def _sources(given: list[str]) -> "list[Input]":
    from embedkit.images import MAX_BYTES

    return [sys.stdin.buffer.read(MAX_BYTES + 1) if one == "-" else one for one in given]


def _pictures(panel: "Panel", given: list[str], k: int, max_pixels: int | None) -> None:
    """Print what the heads say of whole pictures."""
    from embedkit.errors import InputError
    from embedkit.heads.predict import predict_each
    from embedkit.items import Unreadable
    from embedkit.reports import documents, text

    # Bytes have no name of their own; what came through the pipe is called as it was asked for.
    piped = {f"picture {place}" for place, one in enumerate(given, 1) if one == "-"}

    def named(one: Any) -> Any:
        if isinstance(one, Unreadable):
            return replace(one, id="-") if one.id in piped else one
        return replace(one, source="-") if one.source in piped else one

    answered = predict_each(panel, _sources(given), k=k, max_pixels=max_pixels)
    rows = [tuple(named(one) for one in row) for row in answered]
    refused = [row[0] for row in rows if all(isinstance(one, Unreadable) for one in row)]
    answers = [row for row in rows if not all(isinstance(one, Unreadable) for one in row)]
    for one in refused:
        console.say(f"{one.id}: not read: {one.reason}")
    if not answers:
        what = f"{refused[0].id}: {refused[0].reason}"
        raise InputError(f"none of {len(refused)} pictures could be read; {what}")
    console.show(
        "\n".join(text.prediction(panel, row) for row in answers),
        documents.predictions(panel, answers, refused),
    )


def _faces(
    panel: "Panel",
    given: list[str],
    output: Path | None,
    every: int,
    k: int,
    max_pixels: int | None,
    *,
    blur_faces: bool,
) -> None:
    """Print, draw and write what the heads say of every face."""
    from embedkit.errors import InputError
    from embedkit.heads.faces import look_at_faces
    from embedkit.heads.tallies import Tally
    from embedkit.interrupts import held_back
    from embedkit.items import Unreadable
    from embedkit.reports import documents, text
    from embedkit.reports.footage import Footage, wants_folder
    from embedkit.videos.frames import read_frames

    folder = output is not None and wants_folder(output, given)
    looks: list[dict[str, Any]] = []
    seen_with = eyes(panel)
    tally = Tally()
    with ExitStack() as open_files, held_back() as interrupted:
        footage = output and open_files.enter_context(
            Footage(output, panel, folder=folder, blur_faces=blur_faces)
        )
        frames = read_frames(_sources(given), max_pixels=max_pixels)
        for one in look_at_faces(panel, frames, eyes=seen_with, every=every, k=k):
            interrupted()
            tally.count(one)
            if isinstance(one, Unreadable):
                if len(tally.unreadable) == tally.n_unreadable:
                    console.say(f"{one.id}: not read: {one.reason}")
                continue
            if footage:
                footage.write(one)
            elif one.sightings is not None:
                if console.json_wanted():
                    looks.append(documents.look(one, panel))
                else:
                    console.line(text.look(one, panel))
        if not tally.anything:
            what = f"{tally.unreadable[0].id}: {tally.unreadable[0].reason}"
            raise InputError(f"nothing could be read; {what}")
    files = footage.files if footage else []
    console.say(text.tally(tally))
    console.show(
        "\n".join(f"wrote {path}" for path in files), documents.faces(panel, tally, looks, files)
    )
