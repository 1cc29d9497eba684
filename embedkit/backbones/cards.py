"""Cards: the facts about each backbone, readable without importing a network."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a backbone before it is loaded.

    Attributes:
        name: what `--backbone` calls it, in full.
        module: where it is loaded, as `module:callable`.
        network: the network and the layers that are read.
        batch: images in one pass; every pass has this many, the last is filled up.
        weights: where the weights come from.
        licence: of code and weights.
        limits: what the vectors are not good for.
        dimension: width of a vector; 0 where only the loaded network knows it.
        preprocessing: the contract that turns a picture into the network's input; hashed into the
            space, so that vectors of different contracts never mix. Empty where only the loaded
            network knows it.
        text: whether it also embeds texts.
        faces: whether it wants a face cut out of the picture.
        precision: in which it is computed, one of `PRECISIONS`.
    """

    name: str
    module: str
    network: str
    weights: str
    licence: str
    limits: str
    batch: int = 16
    dimension: int = 0
    preprocessing: dict[str, Any] = field(default_factory=dict)
    text: bool = False
    faces: bool = False
    precision: str = "fp32"

    @property
    def space(self) -> str:
        """The name of the space, and of its folder, that this backbone makes."""
        kind, _, rest = self.name.partition(":")
        if kind in FILE_KINDS:
            rest = Path(rest).stem
        return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{kind}-{rest}" if rest else kind)


ALIGN = ("none", "mtcnn")
SEVERAL_FACES = ("largest", "central", "whole", "skip")
NO_FACE = ("whole", "skip")
NOTHING = "no face found in it"
PRECISIONS = ("fp32", "bf16", "openvino-fp32", "openvino-bf16")


@dataclass(frozen=True, slots=True)
class Options:
    """How a backbone is loaded; recorded with the vectors, so that it is loaded so again.

    Attributes:
        weights: its file, or a folder that holds it; empty to find it where they are kept.
        align: `mtcnn` to cut the face out of each picture, `none` to leave pictures as they are.
        several_faces: what is taken of a picture with several: the `largest` or the most `central`,
            the `whole` picture, or nothing (`skip`).
        no_face: what is taken of a picture without: the `whole` picture, or nothing (`skip`).
        precision: `fp32`, the reference; `bf16`; `openvino-fp32` or `openvino-bf16`.
        named_by: what on disk names the network, where the user does not; see `embedkit.trust`. Not
            recorded.
    """

    weights: str = ""
    align: str = "none"
    several_faces: str = "largest"
    no_face: str = "whole"
    precision: str = "fp32"
    named_by: str = ""

    @property
    def file(self) -> Path | None:
        """The file of weights, or the folder that holds it."""
        return Path(self.weights) if self.weights else None


OWN = "the weights' own"  # licence; which it is hangs on the network, see `weights.licence_of`
EMBEDDED = ("mtcnn", "pixels")  # at work at once, nothing to be fetched
FILE_KINDS = ("onnx", "torchscript")
DEFAULTS = {
    "facenet": "facenet:vggface2",
    "clip": "clip:ViT-B-32/laion2b_s34b_b79k",
}

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
        Card(
            name="vgg16",
            module="embedkit.backbones.torchvision_models:build",
            network="torchvision VGG16, fc7 after its ReLU",
            dimension=4096,
            weights="torchvision, trained on ImageNet (528 MiB)",
            licence="BSD-3-Clause (torchvision); ImageNet's terms for the weights",
            limits="made for objects: sees clothes and background as much as the face",
        ),
        Card(
            name="vgg16:pooled",
            module="embedkit.backbones.torchvision_models:build",
            network="torchvision VGG16, last feature maps averaged",
            dimension=512,
            weights="torchvision, trained on ImageNet (528 MiB)",
            licence="BSD-3-Clause (torchvision); ImageNet's terms for the weights",
            limits="made for objects: sees clothes and background as much as the face",
        ),
        *(
            Card(
                name=f"facenet:{faces}",
                module="embedkit.backbones.facenet:build",
                network=f"facenet-pytorch InceptionResnetV1, trained on {people}",
                dimension=512,
                weights="release page of facenet-pytorch (107 MiB)",
                licence="MIT (facenet-pytorch); weights: the face set's terms, for research",
                limits="made to tell people apart; wants a face of 80 pixels or more; those it was "
                "trained on were collected from the web and not asked",
                faces=True,
            )
            for faces, people in (("vggface2", "VGGFace2"), ("casia-webface", "CASIA-WebFace"))
        ),
    )
}

# Names that stand for many networks: what comes after the colon says which.
OPEN = {
    "clip": Card(
        name="clip:MODEL/TAG",
        module="embedkit.backbones.clip:build",
        network="image tower of open_clip's MODEL, trained as TAG says",
        weights="the Hugging Face hub, or the project's page",
        licence=f"MIT (open_clip); {OWN}",
        limits="learned from captions of the web, with their prejudices",
        text=True,
    ),
    "torchvision": Card(
        name="torchvision:NAME",
        module="embedkit.backbones.torchvision_models:build",
        network="torchvision's NAME without its last layer",
        weights="torchvision, trained on ImageNet",
        licence="BSD-3-Clause (torchvision); ImageNet's terms for the weights",
        limits="made for objects: sees clothes and background as much as the face",
    ),
    "timm": Card(
        name="timm:NAME",
        module="embedkit.backbones.timm_models:build",
        network="timm's NAME, pooled features",
        weights="the Hugging Face hub, or the project's page",
        licence=f"Apache-2.0 (timm); {OWN}",
        limits="made for what its weights were trained on",
    ),
    "onnx": Card(
        name="onnx:FILE",
        module="embedkit.backbones.model_files:build",
        network="the network in FILE",
        weights="the file",
        licence="the file's own",
        limits="as known to whoever made the file",
    ),
    "torchscript": Card(
        name="torchscript:FILE",
        module="embedkit.backbones.model_files:build",
        network="the network in FILE",
        weights="the file",
        licence="the file's own",
        limits="as known to whoever made the file",
    ),
}
