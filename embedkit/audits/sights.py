"""Sights: what is left of a picture when a part of it, or a way to tell it, is taken away."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from embedkit.audits.changes import cropped, jpeg
from embedkit.audits.looks import ALIKE
from embedkit.pipeline.seen import Sight, View
from embedkit.store import Store
from embedkit.vectors import BoolArray, Pixels

GREY = 128  # level of what is blanked
MARGIN = 0.1  # of the face's box, on each side of it
BORDER = 0.08  # of the shorter side, from each edge
CENTRE = 0.6  # of each side
SOFT = 0.04  # of the shorter side: radius of the blur
PATCHES = 4  # a side
CROP = 0.2  # of each side, half at either end
LEVEL, SPREAD = 128.0, 50.0  # mean and standard deviation of every channel of an equalised picture
QUALITY = 75  # of the one JPEG encoder
# Of the shorter side that all but one picture in twenty reach: traces of an earlier encoder and of
# an earlier size lie in the finest detail, which goes with the rest.
SHARE = 0.75
LEAST, MOST = 32, 512  # pixels, of the common size


def neutral_views(store: Store) -> tuple[View, ...]:
    """Return the ways to make the pictures of a store alike in what is not their subject."""
    side = common_side(store)
    alike = f"{side} x {side} pixels, JPEG of quality {QUALITY}"
    again = _rewritten(side)
    middle = cropped(CROP)

    def all_alike(sight: Sight) -> Pixels:
        return again(replace(sight, pixels=_equalised(middle(sight.pixels))))

    return (
        View("re-encoded", f"all written anew: {alike}", again, how=alike, whole=True),
        View(
            "tone equalised",
            "the same mean and spread of every channel",
            lambda sight: _equalised(sight.pixels),
        ),
        View(
            "fixed crop",
            f"the middle {1 - CROP:.0%} of each side",
            lambda sight: middle(sight.pixels),
        ),
        View(
            "background filled",
            "grey outside an ellipse around the face",
            _background_filled,
            of_face=True,
        ),
        View(
            ALIKE,
            f"the middle, its tone equalised, written anew: {alike}",
            all_alike,
            how=alike,
        ),
    )


def common_side(store: Store) -> int:
    """Return the side in pixels that all pictures of a store are made to have: a multiple of 8."""
    sizes = (store.items.column(name) for name in ("width", "height"))
    shorter = np.min(np.array(list(sizes), np.float64), axis=0)
    side = 8 * round(SHARE * float(np.percentile(shorter, 5)) / 8)
    return int(np.clip(side, LEAST, MOST))


def _rewritten(side: int) -> Callable[[Sight], Pixels]:
    def change(sight: Sight) -> Pixels:
        image = Image.fromarray(sight.pixels)
        return jpeg(np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)), QUALITY)

    return change


def _equalised(pixels: Pixels) -> Pixels:
    wide = pixels.astype(np.float64)
    spread = np.maximum(wide.std(axis=(0, 1)), 1.0)
    made = (wide - wide.mean(axis=(0, 1))) / spread * SPREAD + LEVEL
    return np.asarray(np.clip(np.rint(made), 0, 255), np.uint8)


def _within(sight: Sight, margin: float) -> tuple[slice, slice]:
    """Return rows and columns of the face's box with a margin; of a pixel at least."""
    left, top, right, bottom = sight.box or (0.0, 0.0, 0.0, 0.0)
    wide, high = margin * (right - left), margin * (bottom - top)
    height, width = sight.pixels.shape[:2]
    x, end = np.clip(np.rint([left - wide, right + wide]), 0, width).astype(int)
    y, low = np.clip(np.rint([top - high, bottom + high]), 0, height).astype(int)
    x, y = min(x, width - 1), min(y, height - 1)
    return slice(y, max(low, y + 1)), slice(x, max(end, x + 1))


def _blank(pixels: Pixels, where: BoolArray) -> Pixels:
    made = pixels.copy()
    made[where] = GREY
    return made


def _face_removed(sight: Sight) -> Pixels:
    where = np.zeros(sight.pixels.shape[:2], bool)
    where[_within(sight, MARGIN)] = True
    return _blank(sight.pixels, where)


def _face_alone(sight: Sight) -> Pixels:
    return sight.pixels[_within(sight, 0.0)]


def _background_filled(sight: Sight) -> Pixels:
    left, top, right, bottom = sight.box or (0.0, 0.0, 0.0, 0.0)
    y, x = np.indices(sight.pixels.shape[:2]) + 0.5
    # The ellipse through the corners of the box would be larger by a factor of the root of two.
    across = (2 * x - left - right) / max(right - left, 1.0) / (1 + 2 * MARGIN)
    down = (2 * y - top - bottom) / max(bottom - top, 1.0) / (1 + 2 * MARGIN)
    return _blank(sight.pixels, across**2 + down**2 > 1)


def _ring(pixels: Pixels, thickness: int) -> BoolArray:
    """Mark the outermost pixels."""
    where = np.ones(pixels.shape[:2], bool)
    where[thickness:-thickness, thickness:-thickness] = False
    return where


def _border_alone(sight: Sight) -> Pixels:
    thickness = max(1, round(BORDER * min(sight.pixels.shape[:2])))
    return _blank(sight.pixels, ~_ring(sight.pixels, thickness))


def _centre_blanked(sight: Sight) -> Pixels:
    where = np.zeros(sight.pixels.shape[:2], bool)
    rows, columns = (
        slice(round((1 - CENTRE) / 2 * side), round((1 + CENTRE) / 2 * side))
        for side in sight.pixels.shape[:2]
    )
    where[rows, columns] = True
    return _blank(sight.pixels, where)


def _blurred(sight: Sight) -> Pixels:
    radius = SOFT * min(sight.pixels.shape[:2])
    return np.asarray(Image.fromarray(sight.pixels).filter(ImageFilter.GaussianBlur(radius)))


def _grey(sight: Sight) -> Pixels:
    return np.asarray(Image.fromarray(sight.pixels).convert("L").convert("RGB"))


def _edges(sight: Sight) -> Pixels:
    """Return how steep the grey value is, each picture from black to white."""
    radius = SOFT / 4 * min(sight.pixels.shape[:2])
    grey = Image.fromarray(sight.pixels).convert("L").filter(ImageFilter.GaussianBlur(radius))
    levels = np.pad(np.asarray(grey, np.float64), 1, mode="edge")
    steep = np.hypot(*np.gradient(levels))[1:-1, 1:-1]
    drawn = np.rint(steep * (255 / max(float(steep.max()), 1.0)))
    return np.repeat(np.asarray(drawn, np.uint8)[:, :, None], 3, axis=2)


def _shuffled(sight: Sight) -> Pixels:
    """Cut a picture into equal patches and lay them in an order drawn for it; a rest is cut off."""
    order = np.random.default_rng(int(sight.sha256[:16], 16)).permutation(PATCHES**2)
    height, width = (max(1, side // PATCHES) for side in sight.pixels.shape[:2])
    pixels = sight.pixels[: height * PATCHES, : width * PATCHES]
    if pixels.shape[:2] != (height * PATCHES, width * PATCHES):
        return sight.pixels  # smaller than the patches are many
    patches = pixels.reshape(PATCHES, height, PATCHES, width, 3).swapaxes(1, 2)
    mixed = patches.reshape(-1, height, width, 3)[order].reshape(patches.shape)
    return mixed.swapaxes(1, 2).reshape(pixels.shape)


VIEWS = (
    View("face removed", "grey where the face is", _face_removed, of_face=True),
    View("face alone", "the face and nothing else", _face_alone, of_face=True, face_only=True),
    View("border alone", f"the outermost {BORDER:.0%}, grey inside", _border_alone),
    View("centre blanked", f"grey in the middle {CENTRE:.0%} of each side", _centre_blanked),
    View("blurred", "without fine detail", _blurred),
    View("grey", "without colour", _grey),
    View("edges", "outlines only", _edges),
    View("shuffled patches", f"{PATCHES**2} patches in an order of chance", _shuffled),
)
