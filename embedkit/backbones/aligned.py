"""A backbone that sees faces: what it gets is cut out of each picture first."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from embedkit.backbones.cards import NOTHING, Card, Options
from embedkit.backbones.faces import (
    LOOKED_AT,
    MARGIN,
    SIZE,
    SMALLEST,
    Face,
    cut_out,
    face_finder,
    warp,
)
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.errors import UnreadableImageError
from embedkit.vectors import FloatArray, Pixels


class Aligned:
    """Another backbone, given faces.

    Attributes:
        inner: the other backbone.
        rule: what is taken of a picture with several faces, and of one with none.
    """

    def __init__(self, backbone: Any, options: Options) -> None:
        """Put a detector before a backbone.

        Args:
            backbone: what embeds the faces.
            options: what to take of a picture with several faces, and of one with none.
        """
        self.inner = backbone
        self.rule = (options.several_faces, options.no_face)
        self._finder = face_finder()
        self._onto: list[float] = backbone.card.preprocessing.get("landmarks", [])
        self.weights_sha256: str = backbone.weights_sha256
        terms: dict[str, Any] = {
            "finder": "facenet-pytorch MTCNN",
            "weights_sha256": self._finder.weights_sha256,
            "smallest": SMALLEST,
            "looked_at": LOOKED_AT,
            "several": options.several_faces,
            "none": options.no_face,
        }
        if not self._onto:
            terms |= {"margin": MARGIN, "of": SIZE}
        self.card: Card = replace(
            backbone.card, preprocessing=backbone.card.preprocessing | {"align": terms}
        )

    def find(self, pixels: Pixels) -> tuple[Face, ...]:
        """Return the faces in a picture, the largest first."""
        return self._finder.find(pixels)

    def choose(self, faces: Sequence[Face], width: int, height: int) -> Face | None:
        """Return the face to be embedded; None for the whole picture.

        Args:
            faces: of one picture, the largest first.
            width: of the picture, in pixels.
            height: of the picture, in pixels.

        Raises:
            UnreadableImageError: the picture is to be left out.
        """
        several, none = self.rule
        if (not faces and none == "skip") or (len(faces) > 1 and several == "skip"):
            raise UnreadableImageError(f"{len(faces)} faces found in it" if faces else NOTHING)
        if not faces or (len(faces) > 1 and several == "whole"):
            return None
        if several == "central":
            return min(faces, key=lambda face: face.distance(width, height))
        return faces[0]

    def cut(self, pixels: Pixels, face: Face | None) -> Pixels:
        """Return the part of a picture that is to be seen: a face, or the whole of it."""
        if face is None:
            return pixels
        if self._onto:
            height, width = self.inner.card.preprocessing["size"]
            return warp(pixels, face, self._onto, (height, width))
        return cut_out(pixels, face)

    def prepare_cut(self, pixels: Pixels) -> npt.NDArray[Any]:
        """Return the network's input for what `cut` returned."""
        inputs: npt.NDArray[Any] = self.inner.prepare(pixels)
        return inputs

    def prepare(self, pixels: Pixels) -> npt.NDArray[Any]:
        """Find the face and return the network's input; see `Backbone.prepare`.

        Raises:
            UnreadableImageError: the picture is to be left out.
        """
        height, width = pixels.shape[:2]
        return self.prepare_cut(self.cut(pixels, self.choose(self.find(pixels), width, height)))

    @property
    def preprocessing(self) -> Preprocessing:
        """See `PreparedBackbone`."""
        found: Preprocessing = self.inner.preprocessing
        return found

    def seeing(self, preprocessing: Preprocessing) -> "Aligned":
        """See `PreparedBackbone.seeing`; faces are found and cut out as before."""
        other = copy(self)
        other.inner = self.inner.seeing(preprocessing)
        return other

    @property
    def text_scale(self) -> float:
        """See `TextBackbone`."""
        scale: float = self.inner.text_scale
        return scale

    def embed_text(self, prompts: Sequence[str]) -> FloatArray:
        """See `TextBackbone.embed_text`."""
        vectors: FloatArray = self.inner.embed_text(prompts)
        return vectors

    def embed(self, inputs: npt.NDArray[Any]) -> FloatArray:
        """See `Backbone.embed`."""
        vectors: FloatArray = self.inner.embed(inputs)
        return vectors
