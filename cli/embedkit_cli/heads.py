"""Commands about heads: train, evaluate, compare."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import (
    Backbone,
    HeadPath,
    Json,
    Label,
    MovedStore,
    Quiet,
    Seed,
    StorePath,
)


def train(
    store: StorePath,
    head: Annotated[
        str, typer.Option(metavar="KIND", help="logistic, knn or zeroshot.")
    ] = "logistic",
    label: Label = "label",
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For zeroshot: a line 'class: prompt' for each prompt."),
    ] = None,
    backbone: Backbone = None,
    augmented: Annotated[
        bool, typer.Option(help="Fit on altered copies too, where the store has some.")
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: in the store's heads/."),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train a head on the train split and score it on the test split.

    A zeroshot head is made from prompts, for backbones that know texts (clip); what it says of
    every image is written beside it, as guesses of an attribute that nobody has labelled.

    \b
        embedkit train indexes/faces
        embedkit train indexes/faces --head knn --label gender -o gender.safetensors
        embedkit train indexes/faces --head zeroshot --prompts smile.txt --label smile
    """
    from embedkit.errors import InputError
    from embedkit.files import write_output
    from embedkit.heads import evaluate as score
    from embedkit.heads import zeroshot as texts
    from embedkit.heads.training import default_path, fit, held_out_split
    from embedkit.reports import documents, text
    from embedkit.store import Store
    from embedkit.store.schema import parquet_bytes

    if (head == texts.KIND) != (prompts is not None):
        raise InputError("--head zeroshot and --prompts FILE go together")
    opened = Store.open(store)
    if prompts is None:
        fitted = fit(
            opened, head=head, label=label, backbone=backbone, augmented=augmented, seed=seed
        )
    else:
        fitted = texts.zeroshot(opened, texts.read_prompts(prompts), label=label, backbone=backbone)
    lines = [text.training(fitted)]
    there = label in opened.items.rows.column_names
    if there and held_out_split(opened, label) is not None:
        scored = score(fitted, opened, seed=seed)
        fitted = fitted.with_metrics(scored.to_dict())
        lines.append(text.classification_report(scored))
    else:
        lines.append("There is no test or valid split with labels, so it was not scored.")
    path = fitted.save(output or default_path(fitted))
    lines.append(f"saved as {path}")
    if prompts is not None:
        guessed = write_output(
            path.with_suffix(".parquet"), parquet_bytes(texts.guesses(fitted, opened))
        )
        lines.append(f"wrote {guessed}")
    console.show("\n".join(lines), documents.training(fitted, path))


def evaluate(
    head: HeadPath,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Default: test, or valid without one.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Default: a folder beside the head, of its name."),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="png|svg", help="Repeatable; default both."),
    ] = None,
    store: MovedStore = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a head and draw its confusion heatmap and learning curve.

    \b
        embedkit evaluate indexes/faces/heads/label-mtcnn-logistic.safetensors
    """
    from embedkit.heads import evaluate as score
    from embedkit.heads import load_head
    from embedkit.heads.curve import learning_curve
    from embedkit.reports import documents, text
    from embedkit.reports.figures import write_figures

    loaded = load_head(head, store=store)
    evaluation = score(loaded, split=split, seed=seed)
    curve = learning_curve(loaded, split=evaluation.split, seed=seed)
    if evaluation.split == "train":
        console.say("These are the images that the head was trained on: it has seen the answers.")
    folder = figures or head.with_suffix("") / (split or "")
    paths = write_figures(evaluation, curve, folder, format or ["png", "svg"])
    lines = [text.classification_report(evaluation)]
    if curve.points:
        lines += ["", text.learning_curve(curve)]
    console.show(
        "\n".join([*lines, *(f"wrote {path}" for path in paths)]),
        documents.evaluation(evaluation, curve, paths),
    )


def compare(
    store: StorePath,
    backbone: Annotated[
        list[str] | None,
        typer.Option("--backbone", "-b", metavar="NAME", help="Only this space; repeatable."),
    ] = None,
    head: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only this head; repeatable.")
    ] = None,
    label: Label = "label",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write compare.csv and compare.png."),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare every backbone of a store with every kind of head, on the same test images.

    \b
        embedkit embed faces/ -b mtcnn -b pixels -b vgg16
        embedkit compare indexes/faces -o comparison/
    """
    from embedkit.heads.comparison import compare as run
    from embedkit.heads.training import HEADS
    from embedkit.reports import documents, text
    from embedkit.reports.figures import write_comparison
    from embedkit.store import Store

    result = run(
        Store.open(store),
        label=label,
        backbones=backbone or (),
        heads=head or list(HEADS),
        seed=seed,
    )
    files = write_comparison(result, output) if output else []
    lines = [text.comparison(result), *(f"wrote {path}" for path in files)]
    console.show("\n".join(lines), documents.comparison(result, files))
