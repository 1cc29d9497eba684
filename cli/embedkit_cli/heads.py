"""Commands about heads: train, evaluate, compare, mitigate."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import (
    Backbone,
    By,
    Engine,
    HeadPath,
    Json,
    Label,
    MovedStore,
    Quiet,
    RayAddress,
    Seed,
    StorePath,
)


def train(
    store: StorePath,
    head: Annotated[
        str, typer.Option(metavar="KIND", help="logistic, knn, cumulative or zeroshot.")
    ] = "logistic",
    label: Label = "label",
    balance: Annotated[
        str,
        typer.Option(
            metavar="classes|groups|subset",
            help="Even out classes, or every class in every group.",
        ),
    ] = "",
    by: By = "",
    select: Annotated[
        str,
        typer.Option(metavar="mean|worst-group", help="Whose errors choose C or k inside train."),
    ] = "mean",
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For zeroshot: a line 'class: prompt' for each prompt."),
    ] = None,
    backbone: Backbone = None,
    augmented: Annotated[
        bool, typer.Option(help="Fit on altered copies too, where the store has some.")
    ] = True,
    ledger: Annotated[
        bool,
        typer.Option(
            "--ledger", help="Find out for the card how much of the accuracy is real; takes longer."
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: in the store's heads/."),
    ] = None,
    engine: Engine = "local",
    ray_address: RayAddress = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a head on the train split and score it on the test split.

    A cumulative head is for classes that are ranges of numbers, such as bins of age. With
    --balance or --select, what that changes for each class and group is shown beside the plain
    head.

    A zeroshot head is made from prompts, for backbones that know texts (clip); what it says of
    every image is written beside it, as guesses of an attribute that nobody has labelled.

    A model card is written beside every head: data, figures by class and group, limits, and with
    --ledger what the accuracy becomes without copies and people on both sides. With --engine ray,
    heads that the ledger trains again are trained by worker processes.

    \b
        embedkit train indexes/faces --ledger
        embedkit train indexes/faces --head knn --label gender -o gender.safetensors
        embedkit train indexes/faces --balance groups --by race
        embedkit train indexes/faces --head zeroshot --prompts smile.txt --label smile
    """
    from embedkit.audits.ledger import Ledger
    from embedkit.engines import ENGINES, choose_engine
    from embedkit.errors import InputError
    from embedkit.files import write_output
    from embedkit.heads import evaluate as score
    from embedkit.heads import zeroshot as texts
    from embedkit.heads.balance import Balance
    from embedkit.heads.mitigation import against_plain
    from embedkit.heads.training import default_path, fit, held_out_split
    from embedkit.reports import documents, mitigations, text
    from embedkit.reports.model_cards import check_card, ledger_of, write_model_card
    from embedkit.store import Store
    from embedkit.store.schema import parquet_bytes

    choose_engine(engine, address=ray_address)
    if engine != ENGINES[0] and not ledger:
        raise InputError(
            f"--engine {engine} divides what --ledger trains again; a head alone is trained in one "
            "process, so give --ledger too, or leave the engine out"
        )
    if (head == texts.KIND) != (prompts is not None):
        raise InputError("--head zeroshot and --prompts FILE go together")
    way = Balance(balance, by, select)
    if prompts is not None and not way.plain:
        raise InputError("a zeroshot head is trained on no image, so there is nothing to balance")
    opened = Store.open(store)
    if prompts is None:
        fitted = fit(
            opened,
            head=head,
            label=label,
            backbone=backbone,
            augmented=augmented,
            balance=way,
            seed=seed,
        )
    else:
        fitted = texts.zeroshot(opened, texts.read_prompts(prompts), label=label, backbone=backbone)
    lines, effect, scored = [text.training(fitted)], None, None
    there = label in opened.items.rows.column_names
    if there and held_out_split(opened, label) is not None:
        scored = score(fitted, opened, seed=seed)
        fitted = fitted.with_metrics(scored.to_dict())
        lines.append(text.classification_report(scored))
        if not way.plain:
            effect = against_plain(fitted, seed=seed)
            lines += ["", mitigations.effect(effect)]
    else:
        lines.append("There is no test or valid split with labels, so it was not scored.")
    check_card(output or default_path(fitted))
    path = fitted.save(output or default_path(fitted))
    lines.append(f"saved as {path}")
    real: Ledger | str = "train again with --ledger"
    if ledger:
        with console.progress() as update:
            real = ledger_of(
                fitted, seed=seed, engine=engine, ray_address=ray_address, progress=update
            )
    if isinstance(real, str) and ledger:
        console.say(f"No ledger: {real}")
    card = write_model_card(fitted, path, evaluation=scored, effect=effect, ledger=real, seed=seed)
    lines.append(f"wrote {card}")
    if prompts is not None:
        guessed = write_output(
            path.with_suffix(".parquet"), parquet_bytes(texts.guesses(fitted, opened))
        )
        lines.append(f"wrote {guessed}")
    console.show("\n".join(lines), documents.training(fitted, path, card, effect))


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
    from embedkit.reports import documents, text
    from embedkit.reports.figures import write_comparison
    from embedkit.store import Store

    result = run(
        Store.open(store),
        label=label,
        backbones=backbone or (),
        heads=head or (),
        seed=seed,
    )
    files = write_comparison(result, output) if output else []
    lines = [text.comparison(result), *(f"wrote {path}" for path in files)]
    console.show("\n".join(lines), documents.comparison(result, files))


def mitigate(
    store: StorePath,
    by: Annotated[str, typer.Option("--by", metavar="COLUMN", help="Attribute with the groups.")],
    head: Annotated[
        str, typer.Option(metavar="KIND", help="logistic, knn or cumulative.")
    ] = "logistic",
    label: Label = "label",
    backbone: Backbone = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Even out classes and groups in every way there is, and show what each changes for whom.

    Each way trains a head anew: with classes that weigh the same, with every class of every group
    weighing the same, on sets that hold as many of each, and with C (or k) chosen by the worst
    group. What it gives and what it costs stands beside the plain head, on the same test images.

    \b
        embedkit mitigate indexes/faces --by race
    """
    from embedkit.heads.mitigation import mitigate as run
    from embedkit.reports import documents, mitigations
    from embedkit.store import Store

    effects = run(Store.open(store), by=by, head=head, label=label, backbone=backbone, seed=seed)
    console.show(mitigations.effects(effects), documents.effects(effects))
