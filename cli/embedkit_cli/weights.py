"""The commands weights list, weights get and weights verify."""

from pathlib import Path
from typing import Annotated

import typer

from embedkit_cli import console
from embedkit_cli.options import Json, Quiet

app = typer.Typer(
    name="weights",
    help="Look for, fetch and check the files that backbones are loaded from.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(metavar="BACKBONE", help="As for embed -b; see 'backbones'.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """Say which weights are on this machine, and where.

    \b
        embedkit weights list
    """
    from embedkit.backbones.weights import known_weights
    from embedkit.reports import documents, text

    found = known_weights()
    console.show(text.weights(found), documents.weights(found))


@app.command()
def get(name: Name, json: Json = False, quiet: Quiet = False) -> None:
    """Fetch the weights of a backbone into the cache of the library that they belong to.

    \b
        embedkit weights get facenet
        embedkit weights get clip:ViT-L-14/openai
    """
    from embedkit.backbones.download import get_weights
    from embedkit.reports import documents, text

    found = get_weights(name, say=console.say)
    console.show(text.weights([found]), documents.weights([found]))


@app.command()
def trust(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Of networks or weights.")],
    json: Json = False,
) -> None:
    """Let stores and heads that others made be used with the networks in these files.

    A file that only a store or a head names is not opened until you name it: by embedding with it,
    or here. What is remembered is its SHA-256.

    \b
        embedkit weights trust face.onnx
    """
    from embedkit.backbones.model_files import trust_network
    from embedkit.reports import documents

    known = [(str(path), trust_network(path)) for path in files]
    lines = "\n".join(f"{path}\n  sha256 {sha256}" for path, sha256 in known)
    console.show(lines, documents.trusted(known))


@app.command()
def verify(name: Name, json: Json = False) -> None:
    """Check the weights of a backbone against the checksum that was published, and load them.

    \b
        embedkit weights verify vgg16
    """
    from embedkit.backbones import load_backbone
    from embedkit.backbones.weights import weights_of
    from embedkit.reports import documents, text

    load_backbone(name)
    found = weights_of(name)
    console.show(text.weights([found]), documents.weights([found]))
