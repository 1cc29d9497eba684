"""The command selftest."""

from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Backbone, Json, Label, Seed, StorePath


def selftest(
    store: StorePath,
    backbone: Backbone = None,
    label: Label = "label",
    sample: Annotated[int, typer.Option(min=1, help="Pictures to make the shadow from.")] = 400,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Plant copies, people and wrong labels in a shadow of your own data; say what is found.

    The store and its pictures are only read.

    \b
        embedkit selftest indexes/faces
        embedkit selftest indexes/faces -b facenet --sample 1000 --json
    """
    from embedkit.audits.selftest import selftest as run
    from embedkit.reports.selftests import selftest_text
    from embedkit.store import Store

    result = run(Store.open(store), backbone=backbone, label=label, sample=sample, seed=seed)
    console.show(selftest_text(result), result.to_dict())
