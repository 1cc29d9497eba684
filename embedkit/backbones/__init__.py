"""Backbones: an image becomes a vector, by a frozen network."""

import difflib
import hashlib
import importlib
import json
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embedkit.backbones.cards import CARDS, Card
from embedkit.errors import InputError
from embedkit.vectors import FloatArray, Pixels

__all__ = [
    "CARDS",
    "Backbone",
    "Card",
    "choose_backbone",
    "contract",
    "contract_hash",
    "known_backbone",
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


def known_backbone(name: str) -> str:
    """Return the name of a backbone if there is one of that name.

    Raises:
        InputError: there is none; the message says which there are.
    """
    if name not in CARDS:
        near = difflib.get_close_matches(name, CARDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"no backbone is called {name!r}; known are {', '.join(sorted(CARDS))}{hint}"
        )
    return name


def load_backbone(name: str) -> Backbone:
    """Load a backbone by its name.

    Raises:
        InputError: there is none of that name.
    """
    card = CARDS[known_backbone(name)]
    module, class_ = card.module.split(":")
    backbone: Backbone = getattr(importlib.import_module(module), class_)(card)
    return backbone


def choose_backbone() -> str:
    """Return what `--backbone auto` takes: the strongest whose weights are on this machine."""
    return "mtcnn"


def contract(backbone: Backbone) -> dict[str, Any]:
    """Return everything that two spaces must share for their vectors to be comparable."""
    card = backbone.card
    return {
        "backbone": card.name,
        "network": card.network,
        "dimension": card.dimension,
        "batch": card.batch,
        "preprocessing": card.preprocessing,
        "weights_sha256": backbone.weights_sha256,
        "dtype": "float32",
        "precision": "fp32",
    }


def contract_hash(contract: dict[str, Any]) -> str:
    """Return the hash that names a space."""
    canonical = json.dumps(contract, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def embed_pictures(backbone: Backbone, pictures: list[Pixels]) -> FloatArray:
    """Return the vectors of pictures in memory: (n, d) float32, unit rows."""
    step = backbone.card.batch
    parts = [
        backbone.embed(np.stack([backbone.prepare(pixels) for pixels in pictures[i : i + step]]))
        for i in range(0, len(pictures), step)
    ]
    return np.concatenate(parts) if parts else np.empty((0, backbone.card.dimension), np.float32)
