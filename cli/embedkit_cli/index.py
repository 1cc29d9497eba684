"""The command index."""

from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Backbone, Json, Quiet, Seed, StorePath


def index(
    store: StorePath,
    type_: Annotated[
        str,
        typer.Option(
            "--type", metavar="auto|flat|ivf|ivfpq|hnsw", help="auto: exact to a million."
        ),
    ] = "auto",
    memory: Annotated[
        str, typer.Option(metavar="4GB", help="That making it may take beside the program.")
    ] = "4GB",
    backbone: Backbone = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the index that search goes by, of another type or again; audits stay exact.

    What it will take is said before. What an approximate one finds is scored exactly, and how much
    that is, is measured on a sample. 'embed' makes the type that was asked for last.

    \b
        embedkit index indexes/faces
        embedkit index indexes/faces --type ivfpq --memory 2GB -b clip
    """
    from embedkit.reports import documents, text
    from embedkit.store import Store
    from embedkit.store.index_build import index_space
    from embedkit.store.index_plans import parse_memory, plan_index

    opened = Store.open(store)
    space = opened.space(backbone)
    plan = plan_index(*space.rows.shape, asked=type_, memory=parse_memory(memory))
    console.say(text.index_plan(plan))
    record = index_space(opened, space, plan, seed=seed, say=console.say)
    console.show(text.index(space, record, plan), documents.index(space, record, plan))
