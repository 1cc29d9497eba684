"""Pixels: values of every kind become 8 bits RGB by the same rules, see `embedkit.images`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from embedkit.errors import UnreadableImageError
from embedkit.images.limits import MAX_PIXELS, check_size
from embedkit.vectors import Pixels

OVERSHOOT = 2.0
BACKGROUND = (255, 255, 255)
STRIP = 2**20  # numbers that are scaled at once


def rgb_image(image: Image.Image, *, background: tuple[int, int, int] = BACKGROUND) -> Image.Image:
    """Turn a loaded Pillow image of any mode into one of 8 bits RGB.

    Raises:
        UnreadableImageError: fully transparent, or values that are not finite.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _grey_pixels(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[1] == 0:
            raise UnreadableImageError("fully transparent")
        ground = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(ground, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def array_pixels(array: npt.NDArray[Any]) -> Pixels:
    """Turn a NumPy array into (h, w, 3) uint8 RGB by the rules for files.

    Args:
        array: (h, w) grey, (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA; uint8, uint16, bool or a
            float type. Floats and integers are scaled by the range that holds them.

    Raises:
        UnreadableImageError: another shape or type.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise UnreadableImageError(
            f"array of shape {array.shape}; (h, w), (h, w, 3) and (h, w, 4) are pictures"
        )
    if 0 in array.shape:
        raise UnreadableImageError(f"array of shape {array.shape} holds no pixel")
    check_size((array.shape[1], array.shape[0]), MAX_PIXELS)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        if array.dtype.kind not in "uif":
            raise UnreadableImageError(f"array of {array.dtype}; numbers are expected")
        array = _eight_bits(array)
    return np.asarray(rgb_image(Image.fromarray(array)))


def shrunk(pixels: Pixels, most: int) -> Pixels:
    """Return a picture whose longer side is at most `most` pixels, by a whole-number factor."""
    factor = -(-max(pixels.shape[:2]) // most)
    return np.asarray(Image.fromarray(pixels).reduce(factor)) if factor > 1 else pixels


def _grey_pixels(values: npt.NDArray[Any]) -> Image.Image:
    grey = _scaled(values, lambda x: x / 257) if values.dtype.itemsize == 2 else _eight_bits(values)
    return Image.fromarray(grey).convert("RGB")


def _eight_bits(values: npt.NDArray[Any]) -> Pixels:
    """Scale numbers of any range to 0-255."""
    low, high = float(values.min()), float(values.max())  # not finite if any number is not
    if not np.isfinite([low, high, high - low]).all():
        raise UnreadableImageError("holds values that are not finite, or too large to be scaled")
    if values.dtype.kind == "f" and low >= 0 and high <= OVERSHOOT:
        # Resampling takes pictures of range 0 to 1 a little above it; their own peak is then white.
        return _scaled(values, lambda x: x * (255 / max(high, 1.0)))
    if values.dtype.newbyteorder("=") == np.uint16 or (low >= 0 and 255 < high <= 65535):
        return _scaled(values, lambda x: x / 257)
    if low >= 0 and high <= 255:
        return _scaled(values, lambda x: x)
    if high > low:
        return _scaled(values, lambda x: (x - low) * (255 / (high - low)))
    return np.zeros(values.shape, np.uint8)


def _scaled(
    values: npt.NDArray[Any], scale: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
) -> Pixels:
    """Scale numbers, a strip at a time: all at once they would take 30 bytes a pixel."""
    made = np.empty(values.shape, np.uint8)
    rows = max(1, STRIP * len(values) // values.size)
    for start in range(0, len(values), rows):
        strip = values[start : start + rows].astype(np.float64)
        made[start : start + rows] = np.rint(scale(strip))
    return made
