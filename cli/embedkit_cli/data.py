"""Commands about data and stores: scan, unpack, embed, info, backbones."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import (
    Bins,
    Engine,
    GroupColumn,
    Json,
    LabelColumn,
    Layout,
    MaxPixels,
    Quiet,
    RayAddress,
    Root,
    Seed,
    SplitColumn,
    StorePath,
    Threads,
)

Source = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="Folder of images, its URL, or a manifest.")
]


def scan(
    source: Source,
    layout: Layout = None,
    root: Root = None,
    label: LabelColumn = None,
    split: SplitColumn = None,
    group: GroupColumn = None,
    bins: Bins = None,
    json: Json = False,
) -> None:
    """Say what embedkit understands of a folder or manifest; writes nothing.

    \b
        embedkit scan faces/
        embedkit scan faces/labels.csv --label gender --group identity
    """
    from embedkit.readers import read_source
    from embedkit.reports import documents, text

    items = read_source(
        source, layout=layout, root=root, label=label, split=split, group=group, bins=bins
    )
    console.show(text.data_set(items), documents.data_set(items))


def unpack(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="FER2013's csv, .parquet, .tar, or a folder.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New or empty.")],
    json: Json = False,
) -> None:
    """Make files of the pictures that a table or an archive holds, for scan and embed.

    \b
        embedkit unpack fer2013.csv faces/      # emotion,pixels,Usage
        embedkit unpack shards/ faces/          # WebDataset's .tar, Hugging Face's .parquet
    """
    from embedkit.readers import unpack as write
    from embedkit.reports import documents, text

    made = write(source, folder)
    console.show(text.unpacked(made), documents.unpacked(made))


def embed(
    source: Source,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="STORE", help="Default: indexes/<name of source>."),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option("--backbone", "-b", metavar="NAME", help="Repeatable; see 'backbones'."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE|DIR", help="The backbone's weights, or a folder of such files."),
    ] = None,
    align: Annotated[
        str,
        typer.Option(metavar="auto|mtcnn|none", help="Embed the face found in each picture?"),
    ] = "auto",
    several_faces: Annotated[
        str,
        typer.Option(metavar="largest|central|whole|skip", help="Default: largest."),
    ] = "",
    no_face: Annotated[
        str, typer.Option(metavar="whole|skip", help="Default: the whole picture.")
    ] = "",
    precision: Annotated[
        str,
        typer.Option(metavar="auto|fp32|bf16", help="auto: the fastest that agrees with fp32."),
    ] = "auto",
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda", help="auto: cuda where there is one.")
    ] = "auto",
    augment: Annotated[
        str | None,
        typer.Option(metavar="flip,rotate,…", help="Embed altered copies for training too."),
    ] = None,
    copies: Annotated[int, typer.Option(min=1, help="Altered copies of each training image.")] = 2,
    layout: Layout = None,
    root: Root = None,
    label: LabelColumn = None,
    split: SplitColumn = None,
    group: GroupColumn = None,
    bins: Bins = None,
    max_errors: Annotated[
        str | None,
        typer.Option(metavar="N|P%", help="Fail (status 3) if more images are unreadable."),
    ] = None,
    max_pixels: MaxPixels = None,
    engine: Engine = "local",
    ray_address: RayAddress = None,
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read, embed and index every image of a data set; resumes where it was stopped.

    Run it again after adding images: only the new ones are embedded. A second backbone with -b is
    added beside the first.

    \b
        embedkit embed faces/
        embedkit embed faces/labels.csv --label gender -b mtcnn -b pixels -o indexes/faces
        embedkit embed faces/ -b vgg16 --weights vgg16-397923af.pth
        embedkit embed party/ -b facenet --align mtcnn --several-faces central --no-face skip
        embedkit embed faces/ --augment flip,rotate,shear,jitter --copies 3
        embedkit embed /nfs/faces -o /nfs/store --engine ray --ray-address 10.0.0.1:6379
    """
    from embedkit.backbones import choose_backbone
    from embedkit.pipeline import Progress, default_store
    from embedkit.pipeline import embed as run
    from embedkit.reports import documents, text
    from embedkit.store.schema import STORE

    store = output or default_store(source)
    if not backbone and not (store / STORE).exists():
        backbone = [choose_backbone()]
        stronger = (
            "" if backbone == ["clip"] else "; 'embedkit weights get clip' fetches a stronger"
        )
        console.say(f"Backbone: {backbone[0]}, the strongest on this machine{stronger}")
    state = Progress("embedding", 0, 0, 0, 0)
    with console.progress() as show:

        def update(now: Progress) -> None:
            nonlocal state
            state = now
            show(now)

        try:
            built = run(
                source,
                store,
                backbone=backbone or ["auto"],
                weights=weights,
                align=align,
                several_faces=several_faces,
                no_face=no_face,
                precision=precision,
                device=device,
                augment=[one.strip() for one in augment.split(",")] if augment else [],
                copies=copies,
                layout=layout,
                root=root,
                label=label,
                split=split,
                group=group,
                bins=bins,
                max_errors=_share(max_errors),
                max_pixels=max_pixels,
                engine=engine,
                ray_address=ray_address,
                threads=threads,
                seed=seed,
                understood=lambda items: console.say(text.data_set(items)),
                say=console.say,
                progress=update,
            )
        except KeyboardInterrupt:
            safe = f"{state.safe} of {state.total} images of this run are safe in {store}"
            done = safe if state.total else "No image was embedded yet"
            console.say(f"Stopped. {done}; run the same command again to go on.")
            raise typer.Exit(130) from None
    made = built.record.source["split"]
    if made["made_by"] == "embedkit":
        console.say(
            f"The data set has no split: embedkit put {made['test_share']:.0%} of each class into "
            f"test (seed {made['seed']}), copies of one picture and groups on one side."
        )
    if built.unreadable:
        console.say(text.unreadable(built))
    console.show(text.store(built), documents.store(built))


def info(
    store: StorePath,
    deep: Annotated[bool, typer.Option(help="Check every file against its checksum.")] = False,
    changed: Annotated[
        bool, typer.Option("--changed", help="List pictures that are not as they were embedded.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what a store holds and whether it is whole.

    \b
        embedkit info indexes/faces --deep
        embedkit info indexes/faces --changed     # what 'embedkit embed' would bring up to date
    """
    from embedkit.errors import StoreError
    from embedkit.reports import changes, documents, text
    from embedkit.store import Store
    from embedkit.wholeness import faults_of

    opened = Store.open(store)
    faults = faults_of(opened) if deep else []
    lines = [text.store_in_full(opened, deep=deep)]
    document = documents.store(opened) | ({"faults": faults} if deep else {})
    if changed:
        from embedkit.pipeline.sources import changes_of

        found = changes_of(opened)
        lines.append(changes.text(found))
        document["changes"] = changes.document(found)
    console.show("\n".join(lines), document)
    for fault in faults:
        console.say(f"Error: {fault}")
    if faults:
        raise typer.Exit(StoreError.exit_status)


def backbones(json: Json = False) -> None:
    """List the backbones and what they are good for.

    \b
        embedkit backbones
    """
    from embedkit.backbones.cards import CARDS, OPEN
    from embedkit.reports import documents, text

    every = [*CARDS.values(), *OPEN.values()]
    console.show(text.cards(every), documents.cards(every))


def _share(text: str | None) -> float | None:
    """Turn '20' or '5%' into a number of images or a share of them."""
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (text.endswith("%") and value > 100):
        raise typer.BadParameter(f"{text!r} is neither a number of images nor a percentage")
    return min(value / 100, 1 - 1e-12) if text.endswith("%") else value
