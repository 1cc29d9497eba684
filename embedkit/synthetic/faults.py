"""Planted faults: ways to copy a picture, and files that cannot be read."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageEnhance, ImageOps

from embedkit.vectors import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How much of each fault to plant; zero plants nothing.

    Attributes:
        exact_twins: share of test images of which train holds a copy, byte for byte.
        near_twins: share of test images of which train holds a changed copy.
        same_person: share of the test people of whom train holds other photographs.
        jpeg_quality: share of images whose JPEG quality is tied to the label.
        image_size: share of images whose size is tied to the label.
        wrong_labels: share of images filed under the other label.
        noisy_subgroup: standard deviation, in grey levels, of extra noise on wearers of glasses.
        unreadable: number of files that cannot be read.
    """

    exact_twins: float = 0.0
    near_twins: float = 0.0
    same_person: float = 0.0
    jpeg_quality: float = 0.0
    image_size: float = 0.0
    wrong_labels: float = 0.0
    noisy_subgroup: float = 0.0
    unreadable: int = 0


def jpeg_bytes(image: Image.Image, quality: int) -> bytes:
    """Return a picture as a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def png_bytes(image: Image.Image) -> bytes:
    """Return a picture as a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _cropped(image: Image.Image) -> Image.Image:
    edge = round(0.03 * image.width)
    return image.crop((edge, edge, image.width - edge, image.height - edge))


# What happens to pictures on their way from one folder to another.
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "re-encode": lambda image: Image.open(io.BytesIO(jpeg_bytes(image, 40))),
    "resize": lambda image: image.resize(
        (round(image.width * 0.7), round(image.height * 0.7)), Image.Resampling.BICUBIC
    ),
    "crop": _cropped,
    "mirror": ImageOps.mirror,
    "tone": lambda image: ImageEnhance.Contrast(
        ImageEnhance.Brightness(image).enhance(1.15)
    ).enhance(0.9),
    "border": lambda image: ImageOps.expand(image, max(1, round(0.02 * image.width)), (0, 0, 0)),
}


def changed_copy(pixels: Pixels, change: str) -> bytes:
    """Return a changed copy of a picture as a JPEG file."""
    return jpeg_bytes(CHANGES[change](Image.fromarray(pixels)).convert("RGB"), 88)


def unreadable_bytes(kind: str, good: bytes) -> bytes:
    """Return the bytes of a file that no reader can make a picture of."""
    if kind == "empty":
        return b""
    if kind == "text":
        return b"This is no picture.\n"
    return good[: len(good) // 3]


UNREADABLE_KINDS = ("truncated", "empty", "text")
