"""Backbones: an image becomes a vector, by a frozen network."""

import difflib
import hashlib
import importlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from embedkit.backbones.cards import (
    ALIGN,
    CARDS,
    DEFAULTS,
    NO_FACE,
    NOTHING,
    OPEN,
    PRECISIONS,
    SEVERAL_FACES,
    Card,
    Options,
)
from embedkit.errors import InputError, SpaceMismatchError
from embedkit.trust import trust
from embedkit.vectors import FloatArray, Pixels

if TYPE_CHECKING:
    from embedkit.backbones.faces import Face
    from embedkit.backbones.preprocessing import Preprocessing

__all__ = [
    "CARDS",
    "NOTHING",
    "Backbone",
    "Card",
    "FaceBackbone",
    "PreparedBackbone",
    "TextBackbone",
    "choose_backbone",
    "contract",
    "contract_hash",
    "find_card",
    "load_again",
    "load_backbone",
]


class Backbone(Protocol):
    """What every backbone does; both methods are safe to call from several threads at once."""

    card: Card
    weights_sha256: str

    def prepare(self, pixels: Pixels) -> npt.NDArray[Any]:
        """Turn one picture into the network's input.

        Args:
            pixels: (h, w, 3) uint8 RGB, any size.

        Returns:
            An array of one shape and type for all pictures.
        """

    def embed(self, inputs: npt.NDArray[Any]) -> FloatArray:
        """Turn prepared pictures into vectors.

        A vector has the same bits whatever else is in the batch.

        Args:
            inputs: (n, ...) stacked results of `prepare`, n at most the card's batch.

        Returns:
            (n, d) float32, unit rows.
        """


class TextBackbone(Backbone, Protocol):
    """A backbone with a second tower, for texts.

    Attributes:
        text_scale: what it multiplies cosines with before they become probabilities.
    """

    text_scale: float

    def embed_text(self, prompts: Sequence[str]) -> FloatArray:
        """Return the texts' vectors, (n, d) float32, unit rows, comparable with pictures'."""


@runtime_checkable
class FaceBackbone(Backbone, Protocol):
    """A backbone that sees a face of each picture.

    Attributes:
        rule: what is taken of a picture with several faces, and of one with none.
    """

    rule: tuple[str, str]

    def find(self, pixels: Pixels) -> "tuple[Face, ...]":
        """Return the faces in a picture, the largest first."""

    def choose(self, faces: "Sequence[Face]", width: int, height: int) -> "Face | None":
        """Return the face that it is to see, None for the whole picture; see `Aligned.choose`."""

    def cut(self, pixels: Pixels, face: "Face | None") -> Pixels:
        """Return the part of a picture that is to be seen: a face, or the whole of it."""

    def prepare_cut(self, pixels: Pixels) -> npt.NDArray[Any]:
        """Return the network's input for what `cut` returned."""


@runtime_checkable
class PreparedBackbone(Backbone, Protocol):
    """A backbone whose preprocessing is a `Preprocessing`.

    Attributes:
        preprocessing: what turns a picture into its input.
    """

    preprocessing: "Preprocessing"

    def seeing(self, preprocessing: "Preprocessing") -> "PreparedBackbone":
        """Return the same network with another preprocessing of the same size of input.

        For audits that prepare pictures wrongly on purpose; its vectors belong to no space.
        """


def find_card(name: str) -> Card:
    """Return the card of a backbone; nothing heavy is imported.

    Args:
        name: one of `CARDS`, of `DEFAULTS`, of an outside package, or of an open kind with what it
            asks for, such as `timm:resnet50`.

    Raises:
        InputError: there is none; the message says which there are.
    """
    cards = CARDS | _outside()
    name = DEFAULTS.get(name, name)
    if name in cards:
        return cards[name]
    kind, _, rest = name.partition(":")
    if kind in OPEN and rest and (kind != "clip" or all(rest.partition("/"))):
        card = OPEN[kind]
        words = {"MODEL": rest.partition("/")[0], "TAG": rest.partition("/")[2]}
        words |= {"NAME": rest, "FILE": Path(rest).name}
        network = re.sub(r"\b[A-Z]{3,}\b", lambda m: words.get(m[0], m[0]), card.network)
        return replace(card, name=name, network=network)
    known = [*sorted({*cards, *DEFAULTS}), *(card.name for card in OPEN.values())]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"no backbone is called {name!r}; known are {', '.join(known)}{hint}")


def load_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    align: str = "none",
    several_faces: str = "largest",
    no_face: str = "whole",
    precision: str = "fp32",
    device: str = "cpu",
    named_by: str = "",
) -> Backbone:
    """Load a backbone by its name.

    Args:
        name: as for `find_card`.
        weights: its file of weights, or a folder that holds it.
        align: `mtcnn` to give it the face in each picture, `none` for the picture.
        several_faces: what to take of a picture with several; see `Options`.
        no_face: what to take of a picture without one; see `Options`.
        precision: see `Options`.
        device: `cpu` or `cuda`.
        named_by: what on disk names it, where the user does not: a file that only a store or a
            head names is not opened; see `embedkit.trust`.

    Raises:
        InputError: there is none of that name, an option is not one of those allowed, or only a
            store or a head names its file.
        WeightsError: its weights are not on this machine, damaged, or of another network.
        BackboneError: it cannot be computed in that precision, or on that device.
    """
    for option, value, allowed in (
        ("align", align, ALIGN),
        ("several_faces", several_faces, SEVERAL_FACES),
        ("no_face", no_face, NO_FACE),
        ("precision", precision, PRECISIONS),
    ):
        if value not in allowed:
            raise InputError(f"{option} is {value!r}; allowed are {', '.join(allowed)}")
    options = Options(str(weights or ""), align, several_faces, no_face, precision, named_by)
    card = find_card(name)
    module, build = card.module.split(":")
    backbone: Any = getattr(importlib.import_module(module), build)(card, options)
    if (precision, device) != ("fp32", "cpu"):
        if not hasattr(backbone, "to"):
            raise InputError(f"{card.name} is computed in fp32 on the processor only")
        backbone.to(precision=precision, device=device)
    if align == "mtcnn":
        aligned = importlib.import_module("embedkit.backbones.aligned")
        backbone = aligned.Aligned(backbone, options)
    loaded: Backbone = backbone
    return loaded


@lru_cache(maxsize=2)
def load_again(
    name: str, contract_sha256: str, where: str, vouched: str = "", **options: str
) -> Backbone:
    """Load the backbone that made something on disk, and check that it is still the same.

    Args:
        name: of the backbone, in full.
        contract_sha256: of the vectors on disk.
        where: what was made with it, for the message.
        vouched: SHA-256 of its file, where this process was told by one that the user told.
        options: how it was loaded; see `Options`.

    Raises:
        InputError: its file is not one that the user has named; nothing of it was loaded.
        SpaceMismatchError: this embedkit, or these weights, would make other vectors.
        WeightsError: as `load_backbone`.
    """
    if vouched:
        trust(vouched, keep=False)
    backbone = load_backbone(name, **options, named_by=where)
    if contract_hash(contract(backbone)) != contract_sha256:
        raise SpaceMismatchError(
            f"{where} was made by another version of {name}, or with other weights; embed again "
            "into a new store with -o"
        )
    return backbone


def choose_backbone() -> str:
    """Return what `--backbone auto` takes: the strongest whose weights are on this machine."""
    weights = importlib.import_module("embedkit.backbones.weights")
    here = (name for name, source in weights.STRONGEST if weights.find(source(), None))
    return next(here, "mtcnn")


@cache
def _outside() -> dict[str, Card]:
    """Return the cards that other packages bring, by the entry point `embedkit.backbones`.

    Kept: to look for them reads a file of every package that is installed.
    """
    cards = [point.load() for point in metadata.entry_points(group="embedkit.backbones")]
    return {card.name: card for card in cards}


def contract(backbone: Backbone) -> dict[str, Any]:
    """Return everything that two spaces must share for their vectors to be comparable."""
    card = backbone.card
    return {
        "backbone": card.name,
        "network": card.network,
        "dimension": card.dimension,
        "preprocessing": card.preprocessing,
        "weights_sha256": backbone.weights_sha256,
        "dtype": "float32",
        "precision": card.precision,
    }


def contract_hash(contract: dict[str, Any]) -> str:
    """Return the hash that names a space."""
    canonical = json.dumps(contract, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def embed_pictures(backbone: Backbone, pictures: Sequence[Pixels]) -> FloatArray:
    """Return the vectors of pictures in memory: (n, d) float32, unit rows."""
    return embed_prepared(backbone, [backbone.prepare(pixels) for pixels in pictures])


def embed_prepared(backbone: Backbone, inputs: Sequence[npt.NDArray[Any]]) -> FloatArray:
    """Return the vectors of pictures that are prepared already: (n, d) float32, unit rows."""
    step = backbone.card.batch
    parts = [
        backbone.embed(np.stack(inputs[start : start + step]))
        for start in range(0, len(inputs), step)
    ]
    return np.concatenate(parts) if parts else np.empty((0, backbone.card.dimension), np.float32)
