"""`pixels`: what can be read off a picture without a network, the control of every audit."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from embedkit.backbones.cards import Card, Options
from embedkit.files import sha256
from embedkit.vectors import FloatArray, Pixels, unit_rows


class PixelStatistics:
    """Thumbnail, colour histogram and gradient histograms, each of equal weight.

    The gradient histograms follow Dalal and Triggs, "Histograms of oriented gradients for human
    detection" (CVPR 2005), without overlapping blocks.
    """

    def __init__(self, card: Card, options: Options) -> None:
        self.card = card
        self.weights_sha256 = sha256(b"")

    def prepare(self, pixels: Pixels) -> npt.NDArray[Any]:
        """Compute the three descriptions, (1344,) float32."""
        image = Image.fromarray(pixels)
        facts = self.card.preprocessing
        thumbnail = np.asarray(image.resize(facts["thumbnail"], Image.Resampling.BILINEAR))
        gradients = facts["gradients"]
        grey = image.convert("L").resize((gradients["size"],) * 2, Image.Resampling.BILINEAR)
        return np.concatenate(
            [
                _unit(thumbnail.astype(np.float32).ravel() - thumbnail.mean(dtype=np.float32)),
                _unit(np.sqrt(_colours(thumbnail))),
                _unit(_gradients(np.asarray(grey, np.float32), gradients["cells"])),
            ]
        ).astype(np.float32)

    def embed(self, inputs: npt.NDArray[Any]) -> FloatArray:
        """Return unit rows, (n, 1344); see `Backbone.embed`."""
        return unit_rows(inputs)


def _unit(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    length = np.linalg.norm(values)
    return values / length if length > 0 else values


def _colours(thumbnail: Pixels) -> npt.NDArray[Any]:
    """Count the thumbnail's pixels in 4 x 4 x 4 colours: (64,)."""
    red, green, blue = (thumbnail // 64).reshape(-1, 3).T.astype(np.int64)
    return np.bincount(red * 16 + green * 4 + blue, minlength=64)


def _gradients(grey: FloatArray, cells: int, bins: int = 8) -> npt.NDArray[Any]:
    """Sum gradient strength by direction in cells x cells fields: (cells * cells * bins,)."""
    down, right = np.gradient(grey)
    strength = np.hypot(right, down)
    direction = np.arctan2(down, right) % np.pi * (bins / np.pi)
    lower = np.floor(direction).astype(np.int64)
    share = direction - lower
    side = len(grey) // cells
    row, column = np.indices(grey.shape) // side
    cell = (row * cells + column) * bins
    size = cells * cells * bins
    histogram = np.bincount(
        (cell + lower % bins).ravel(), (strength * (1 - share)).ravel(), minlength=size
    ) + np.bincount((cell + (lower + 1) % bins).ravel(), (strength * share).ravel(), minlength=size)
    fields = histogram.reshape(cells * cells, bins)
    strengths = np.linalg.norm(fields, axis=1, keepdims=True)
    # The floor keeps a field of noise from counting as much as one with an edge.
    floor = 0.05 * np.linalg.norm(fields) + 1e-6
    return np.asarray(fields / (strengths + floor)).ravel()
