"""The command explain."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Backbone, BlurFaces, Json, Label, Quiet, Seed, StorePath

LIST = "list"


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
    occlusion: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw what covering each part of it takes off."),
    ] = None,
    patch: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", help="Side of a cover, as the network sees it; default a fifth."
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="From cover to cover; default half of one."),
    ] = None,
    cam: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw what each place gives to the answer, exactly."),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME...]", help="Draw the strongest channels of layers; list names them."
        ),
    ] = None,
    sheets: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the sheets of --layers.")
    ] = Path(),
    blur_faces: BlurFaces = False,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what the answer to one image rests on, and what it would be without its relatives.

    \b
        embedkit explain indexes/faces test/good/00123.jpg -o card.png
        embedkit explain indexes/faces new.jpg --head knn
        embedkit explain indexes/faces new.jpg --occlusion covered.png --cam places.png
        embedkit explain indexes/faces new.jpg --layers list
    """
    from embedkit.audits.activation import class_activation
    from embedkit.audits.channels import layers_of, strongest_channels
    from embedkit.audits.explain import explain_decision
    from embedkit.audits.occlusion import occlude, plan_covers
    from embedkit.errors import InputError
    from embedkit.reports import attributions, documents, heatmaps
    from embedkit.reports.cards import card_text
    from embedkit.reports.sheets import card_sheet
    from embedkit.store import Store

    drawn = [one for one in (output, occlusion, cam) if one is not None]
    if len(set(drawn)) < len(drawn):
        raise InputError("two of -o, --occlusion and --cam name the same file")
    if layers == LIST and drawn:
        raise InputError("--layers list only lists them; -o, --occlusion and --cam go without it")
    if blur_faces and layers not in (None, LIST):
        raise InputError("--layers draws what layers see of a face, which cannot be blurred")
    opened = Store.open(store)
    if layers == LIST:
        found = layers_of(opened, backbone)
        name = opened.space(backbone).name
        console.show(attributions.layers_text(name, found), documents.layers(name, found))
        return
    card, decision, seen = explain_decision(
        opened, image, head=head, label=label, backbone=backbone, k=neighbours, seed=seed
    )
    shown = heatmaps.without_faces if blur_faces else heatmaps.as_it_is
    lines, document = [card_text(card)], card.to_dict()
    document |= {"sheet": None, "occlusion": None, "class_activation": None, "layers": []}
    if output is not None:
        output = card_sheet(opened, card, output, blur_faces=blur_faces)
        lines.append(f"wrote {output}")
        document["sheet"] = str(output)
    if cam is not None:
        places = class_activation(decision, seen.reference)
        cam = heatmaps.write_class_activation(shown(seen.reference), places, cam)
        lines += [attributions.activation_text(places), f"wrote {cam}"]
        document["class_activation"] = {"file": str(cam)} | places.to_dict()
    if layers is not None:
        names = [name.strip() for name in layers.split(",")]
        for one in strongest_channels(seen.reference, names):
            path = heatmaps.write_channels(seen.reference, one, sheets, image)
            lines.append(f"wrote {path}")
            document["layers"].append({"file": str(path)} | one.to_dict())
    if occlusion is not None:
        covers = plan_covers(seen.frame, patch=patch, stride=stride)
        console.say(attributions.plan_text(covers))
        with console.progress() as progress:
            covered = occlude(decision, seen.frame, covers, progress=progress)
        occlusion = heatmaps.write_occlusion(shown(seen.frame), covered, occlusion)
        lines += [attributions.occlusion_text(covered), f"wrote {occlusion}"]
        document["occlusion"] = {"file": str(occlusion)} | covered.to_dict()
    console.show("\n".join(lines), document)
