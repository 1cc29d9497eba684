"""The commands split and clean."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Backbone, Json, Label, Seed, StorePath


def split(
    store: StorePath,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.csv", help="The manifest to write.")
    ] = Path("split.csv"),
    test: Annotated[float, typer.Option(metavar="SHARE", help="Share of test.")] = 0.2,
    valid: Annotated[float, typer.Option(metavar="SHARE", help="Share of valid.")] = 0.0,
    label: Label = "label",
    balance: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Give its values the same shares; repeatable."),
    ] = None,
    backbone: Backbone = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Make a split that no copy and no person crosses, as a manifest to embed.

    \b
        embedkit split indexes/faces --test 0.2 --valid 0.1 -o clean.csv
    """
    from embedkit.audits import relatives
    from embedkit.audits.remedies import plan_split, split_manifest
    from embedkit.files import check_place, write_output
    from embedkit.reports import audits
    from embedkit.store import Store

    check_place(output)
    opened = Store.open(store)
    twins, people = relatives(opened, label=label, backbone=backbone, seed=seed)
    siblings = None if isinstance(people, str) else people
    plan = plan_split(
        opened,
        twins,
        siblings,
        test=test,
        valid=valid,
        label=label,
        balance=balance or (),
        seed=seed,
    )
    write_output(output, split_manifest(opened, plan))
    command = ["embedkit", "embed", str(output), "--root", str(opened.items.root)]
    for space in opened.spaces.values():
        command += ["-b", space.record.backbone["name"]]
    command += ["-o", f"{store}-clean"]
    lines = [audits.split_plan(plan), f"wrote {output}; next:", f"  {shlex.join(command)}"]
    if isinstance(people, str):
        lines.append(f"The same person may be on both sides, for only copies are known: {people}.")
    document = {"schema": "embedkit.split/1", "file": str(output), **plan.to_dict()}
    console.show("\n".join(lines), document | {"siblings": siblings is not None})


def clean(
    store: StorePath,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.csv", help="The list to write.")
    ] = Path("clean.csv"),
    label: Label = "label",
    backbone: Backbone = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """List what to drop, label anew, move, look at or mend, with reasons; touches no picture.

    \b
        embedkit clean indexes/faces -o clean.csv
    """
    from dataclasses import asdict

    from embedkit.audits import relatives
    from embedkit.audits.labels import Labels, check_labels
    from embedkit.audits.quality import check_quality
    from embedkit.audits.remedies import advice_csv, advise
    from embedkit.files import check_place, write_output
    from embedkit.reports import audits
    from embedkit.store import Store

    check_place(output)
    opened = Store.open(store)
    twins, people = relatives(opened, label=label, backbone=backbone, seed=seed)
    siblings = None if isinstance(people, str) else people
    kin = twins.near if siblings is None else siblings.identity
    quality = check_quality(opened, kin, label=label, backbone=backbone, seed=seed)
    labels = check_labels(
        opened,
        twins,
        kin,
        label=label,
        backbone=backbone,
        people=siblings is not None,
        seed=seed,
    )
    doubted = labels if isinstance(labels, Labels) else None
    advice = advise(opened, twins, siblings, quality, doubted)
    if isinstance(people, str):
        console.say(f"People were not considered, only copies: {people}.")
    if isinstance(labels, str):
        console.say(f"Labels were not considered: {labels}.")
    write_output(output, advice_csv(advice))
    document = {
        "schema": "embedkit.clean/1",
        "file": str(output),
        "advice": [asdict(one) for one in advice],
    }
    console.show(f"{audits.advice(advice)}\nwrote {output}", document)
