"""Cards: the facts about each backbone, readable without importing a network."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a backbone before it is loaded.

    Attributes:
        name: what `--backbone` calls it.
        module: where its class is, as `module:Class`.
        network: the network and the layers that are read.
        dimension: width of a vector.
        batch: images in one pass; every pass has this many, the last is filled up.
        preprocessing: the contract that turns a picture into the network's input; hashed into the
            space, so that vectors of different contracts never mix.
        weights: where the weights come from.
        licence: of code and weights.
        limits: what the vectors are not good for.
    """

    name: str
    module: str
    network: str
    dimension: int
    batch: int
    preprocessing: dict[str, Any]
    weights: str
    licence: str
    limits: str


CARDS = {
    card.name: card
    for card in (
        Card(
            name="mtcnn",
            module="embedkit.backbones.mtcnn:Mtcnn",
            network=(
                "O-Net of MTCNN; third and fourth convolution pooled to 4 x 4 and 2 x 2, summed "
                "over the picture and its mirror image"
            ),
            dimension=1536,
            batch=16,
            preprocessing={
                "size": [80, 80],
                "resize": "squash, bilinear, antialiased",
                "channels": "RGB",
                "mean": 127.5,
                "scale": 1 / 128,
                "mirror": "summed",
            },
            weights="inside the facenet-pytorch wheel",
            licence="MIT (facenet-pytorch); weights of kpzhang93/MTCNN_face_detection_alignment",
            limits="made to find faces, not to tell them apart: no evidence of identity",
        ),
        Card(
            name="pixels",
            module="embedkit.backbones.pixels:PixelStatistics",
            network="none: 16 x 16 thumbnail, colour histogram, gradient histograms",
            dimension=1344,
            batch=16,
            preprocessing={
                "thumbnail": [16, 16],
                "colours": [4, 4, 4],
                "gradients": {"size": 64, "cells": 8, "bins": 8},
                "resize": "squash, bilinear, antialiased",
                "channels": "RGB",
            },
            weights="none",
            licence="Apache-2.0",
            limits="sees no content: the control that other backbones are compared with",
        ),
    )
}
