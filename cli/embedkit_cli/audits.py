"""The command audit."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import (
    Backbone,
    BlurFaces,
    Engine,
    Json,
    Label,
    NoImages,
    Quiet,
    RayAddress,
    Seed,
)
from embedkit_cli.report import keep, write


def audit(
    store: Annotated[Path, typer.Argument(metavar="STORE|SOURCE", help="Store, or what to embed.")],
    check: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this audit; repeatable.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Not this audit; repeatable.")
    ] = None,
    label: Label = "label",
    backbone: Backbone = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Answers of a model of your own: id, prediction."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Causes of your own, 'name: prompt | opposite' a line."),
    ] = None,
    material: Annotated[
        float, typer.Option(metavar="POINTS", help="Accuracy points that are worth a headline.")
    ] = 1,
    tolerance: Annotated[
        float, typer.Option(metavar="POINTS", help="Gap between groups that counts as none.")
    ] = 5,
    guessed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=FILE|COLUMN]",
            help="This attribute is guessed, by FILE or by COLUMN of the data set; repeatable.",
        ),
    ] = None,
    no_ground_truth: Annotated[
        bool, typer.Option("--no-ground-truth", help="Labels are opinions: none is called wrong.")
    ] = False,
    views: Annotated[
        bool,
        typer.Option("--views", help="Look at changed pictures too; embeds each a dozen times."),
    ] = False,
    report: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.html|.md|.json", help="Write a report; repeatable."),
    ] = None,
    blur_faces: BlurFaces = False,
    no_images: NoImages = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Fail (status 1) above it; 'NAME>=VALUE': below it. leakage=1%; repeatable.",
        ),
    ] = None,
    limit_on: Annotated[
        str,
        typer.Option(metavar="END", help="What is compared: value, ci-low or ci-high."),
    ] = "value",
    limits: Annotated[
        bool, typer.Option("--limits", help="List every figure that can be limited, instead.")
    ] = False,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Known findings, which do not count.")
    ] = None,
    write_baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what is found now as known.")
    ] = None,
    allow_not_run: Annotated[
        bool, typer.Option("--allow-not-run", help="A limit that could not be judged passes.")
    ] = False,
    format: Annotated[
        str, typer.Option(metavar="FORMAT", help="On stdout: text, github or junit.")
    ] = "text",
    engine: Engine = "local",
    ray_address: RayAddress = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run every audit that can run: how much of this accuracy is real?

    With --engine ray, worker processes train the heads that the ledger trains again, and embed
    what --views shows.

    \b
        embedkit audit indexes/faces --report faces.html --report faces.md
        embedkit audit indexes/faces --json --limit leakage=0.01
        embedkit audit indexes/faces --baseline known.json --limit twins.pairs=0
        embedkit audit indexes/faces --predictions mine.csv
        embedkit audit indexes/faces --check shortcuts --views
        embedkit audit indexes/faces --check bias --guessed gender=deepface.csv
        embedkit audit /nfs/store --engine ray --ray-address 10.0.0.1:6379
    """
    from embedkit.audits import audit as run
    from embedkit.audits import baselines, gate
    from embedkit.audits.limits import parse_end, parse_limits
    from embedkit.audits.paths import figures_of
    from embedkit.engines import choose_engine
    from embedkit.errors import InputError
    from embedkit.files import check_place
    from embedkit.pipeline import store_of
    from embedkit.reports import gates, text
    from embedkit.reports.outputs import check_report

    # What cannot be had is refused before a data set is embedded.
    choose_engine(engine, address=ray_address)
    for path in report or ():
        check_report(path)
    if write_baseline is not None:
        check_place(write_baseline)
    bounds, end, show = parse_limits(limit or []), parse_end(limit_on), gates.form_of(format)
    if json and format != "text":
        raise InputError(f"--json and --format {format} are two forms of one result; take one")
    known = None if baseline is None else baselines.read_baseline(baseline)
    with console.progress() as update:
        opened = store_of(
            store, understood=lambda items: console.say(text.data_set(items)), progress=update
        )
    if opened.unreadable:
        console.say(text.unreadable(opened))
    if known is not None:
        known.check(opened, label)
    with console.progress() as update:
        result = run(
            opened,
            checks=check or (),
            skip=skip or (),
            label=label,
            backbone=backbone,
            predictions=predictions,
            prompts=prompts,
            material=material,
            tolerance=tolerance,
            ground_truth=not no_ground_truth,
            views=views,
            guessed=guessed or (),
            seed=seed,
            engine=engine,
            ray_address=ray_address,
            progress=update,
        )
    keep(result)
    judged = gate.judge(result, bounds, end=end, baseline=known, allow_not_run=allow_not_run)
    write(result, report or [], blur_faces=blur_faces, images=not no_images)
    if write_baseline is not None:
        baselines.write_baseline(result, write_baseline)
        console.say(f"wrote {write_baseline}")
    if limits:
        every = figures_of(result).values()
        console.show(gates.figures(every), gates.figures_document(every))
    else:
        commands = format == "github"
        console.show(show(result, judged), result.to_dict() | judged.to_dict(), commands=commands)
    for line in gates.sentences(judged):
        console.say(line, always=bool(judged.exit_code))
    if judged.exit_code:
        raise typer.Exit(judged.exit_code)
