"""Mild changes: what happens to a picture on its way, and should change no answer."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from embedkit.images import Encoding, decode_pixels
from embedkit.vectors import Pixels


@dataclass(frozen=True, slots=True)
class MildChange:
    """Something that happens to a picture between a camera and a program.

    Attributes:
        name: in reports.
        change: from (h, w, 3) uint8 RGB to another such picture.
        control: whether it changes no pixel, so that no answer may change.
    """

    name: str
    change: Callable[[Pixels], Pixels]
    control: bool = False


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Return a picture as it comes out of a JPEG file."""
    return _through(pixels, "JPEG", quality=quality)


def jpeg_of(pixels: Pixels, encoding: Encoding) -> Pixels:
    """Return a picture as it comes out of a JPEG file with the tables of another."""
    return _through(
        pixels,
        "JPEG",
        qtables=[list(table) for table in encoding.tables],
        subsampling=encoding.subsampling,
    )


def _through(pixels: Pixels, format_: str, **options: object) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format_, **options)
    return decode_pixels(stream.getvalue())


def resized(share: float) -> Callable[[Pixels], Pixels]:
    """Make both sides as many times as long."""

    def change(pixels: Pixels) -> Pixels:
        height, width = (max(1, round(share * side)) for side in pixels.shape[:2])
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))

    return change


def cropped(share: float) -> Callable[[Pixels], Pixels]:
    """Cut that share of each side off, half at either end."""

    def change(pixels: Pixels) -> Pixels:
        y, x = (round(share * side / 2) for side in pixels.shape[:2])
        return pixels[y : pixels.shape[0] - y, x : pixels.shape[1] - x]

    return change


def toned(factor: float, around: float) -> Callable[[Pixels], Pixels]:
    """Draw grey levels away from one of them, or towards it."""
    levels = np.clip(np.rint(around + factor * (np.arange(256) - around)), 0, 255)
    table = levels.astype(np.uint8)
    return lambda pixels: table[pixels]


def _shifted(pixels: Pixels) -> Pixels:
    """Move a picture to the left by one pixel; its last column stands twice."""
    return np.concatenate([pixels[:, 1:], pixels[:, -1:]], axis=1)


MILD = (
    MildChange("saved as PNG (control)", lambda pixels: _through(pixels, "PNG"), control=True),
    MildChange("JPEG of quality 90", lambda pixels: jpeg(pixels, 90)),
    MildChange("JPEG of quality 75", lambda pixels: jpeg(pixels, 75)),
    MildChange("JPEG of quality 50", lambda pixels: jpeg(pixels, 50)),
    MildChange("resized to 80%", resized(0.8)),
    MildChange("resized to 50%", resized(0.5)),
    MildChange("cropped by 5%", cropped(0.05)),
    MildChange("10% brighter", toned(1.1, 0)),
    MildChange("10% darker", toned(0.9, 0)),
    MildChange("10% more contrast", toned(1.1, 127.5)),
    MildChange("10% less contrast", toned(0.9, 127.5)),
    MildChange("shifted by a pixel", _shifted),
)
