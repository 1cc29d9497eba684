"""Mistakes: the classic ways to prepare a picture wrongly, as a table."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from embedkit.audits.changes import jpeg
from embedkit.audits.recipes import (
    Recipe,
    alike,
    divided_again,
    margin,
    normalised,
    not_divided,
    other_filter,
    trained_as,
)
from embedkit.audits.shots import Shot
from embedkit.backbones import Backbone, FaceBackbone, PreparedBackbone
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.images import decode
from embedkit.vectors import Pixels

Change = Callable[[Shot], Pixels]

SMALL = 32  # pixels: the longer side of a thumbnail
MIDDLE = 0.7  # of each side: what is seen of a picture that is cut too tightly
# How what the EXIF orientation does to stored pixels is undone.
AS_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One way to prepare a picture wrongly.

    Attributes:
        name: in reports.
        words: what was done, for somebody who looks for it in a program.
        idle: why it may change nothing.
        change: what is seen in place of the right part of the picture.
        recipe: what is done to that, in place of the right preprocessing; None leaves it.
        faces: whether it is about faces that are cut out.
        parts: names of the mistakes that it is made of; empty for one alone.
    """

    name: str
    words: str
    idle: str
    change: Change = lambda shot: shot.cut
    recipe: Recipe | None = None
    faces: bool = False
    parts: tuple[str, ...] = ()

    def cannot(self, eye: Backbone) -> str:
        """Say why it cannot be made with a backbone; empty if it can."""
        if self.faces and not isinstance(eye, FaceBackbone):
            return "no faces are cut out"
        if self.recipe is None:
            return ""
        if not isinstance(eye, PreparedBackbone):
            return "the backbone has no step of that kind"
        return self.idle if alike(self.recipe(eye.preprocessing), eye.preprocessing) else ""


def both(first: Mistake, second: Mistake) -> Mistake:
    """Return the mistake of making two; neither is about faces."""

    def recipe(right: Preprocessing) -> Preprocessing:
        for one in (first.recipe, second.recipe):
            right = right if one is None else one(right)
        return right

    return Mistake(
        f"{first.name} + {second.name}",
        f"{first.words}; {second.words}",
        "",
        lambda shot: second.change(replace(shot, cut=first.change(shot))),
        recipe if first.recipe or second.recipe else None,
        parts=(first.name, second.name),
    )


def _not_antialiased(shot: Shot) -> Pixels:
    """Make a picture smaller as OpenCV's INTER_LINEAR does: from four pixels, whatever the size."""
    if not isinstance(shot.eye, PreparedBackbone):
        return shot.cut
    height, width = shot.cut.shape[:2]
    wide, high = shot.eye.preprocessing.resized(width, height)
    if wide >= width and high >= height:
        return shot.cut
    small = Image.fromarray(shot.cut).transform(
        (wide, high),
        Image.Transform.AFFINE,
        (width / wide, 0, 0, 0, height / high, 0),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(small)


def _grey(shot: Shot) -> Pixels:
    return np.asarray(Image.fromarray(shot.cut).convert("L").convert("RGB"))


def _as_stored(shot: Shot) -> Pixels:
    turn = AS_STORED.get(shot.orientation)
    if turn is None:
        return shot.cut
    return shot.cut_from(np.asarray(Image.fromarray(shot.pixels).transpose(turn)))


def _on_black(shot: Shot) -> Pixels:
    if not shot.transparent:
        return shot.cut
    return shot.cut_from(shot.shrunk(decode(shot.data, background=(0, 0, 0)).pixels))


def _middle(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    y, x = round(height * (1 - MIDDLE) / 2), round(width * (1 - MIDDLE) / 2)
    return pixels[y : height - y, x : width - x]


def _thumbnail(shot: Shot) -> Pixels:
    image = Image.fromarray(shot.cut)
    if max(image.size) <= SMALL:
        return shot.cut
    image.thumbnail((SMALL, SMALL), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _face_box(shot: Shot) -> Pixels:
    if shot.face is None:
        return shot.cut
    height, width = shot.pixels.shape[:2]
    left, top, right, bottom = (max(0, round(side)) for side in shot.face.box)
    x, y = min(left, width - 1), min(top, height - 1)
    return shot.pixels[y : max(bottom, y + 1), x : max(right, x + 1)]


def _linear(shot: Shot) -> Pixels:
    """Take sRGB for linear light: mid tones become dark."""
    x = np.arange(256) / 255
    light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.rint(255 * light), np.uint8)[shot.cut]


COLOURLESS = "the pictures have no colour"
SIZED = "the pictures have the shape of the input"

MISTAKES = (
    Mistake(
        "BGR for RGB",
        "red and blue are swapped, as cv2.imread gives them",
        COLOURLESS,
        lambda shot: shot.cut[:, :, ::-1],
    ),
    Mistake("grey", "colour is taken away", COLOURLESS, _grey),
    Mistake(
        "0-255 for 0-1",
        "the division by 255 is left out before mean and standard deviation",
        "the network takes 0-255",
        recipe=not_divided,
    ),
    Mistake(
        "divided by 255 too often",
        "0-1 where 0-255 was meant, or ToTensor after a division",
        "",
        recipe=divided_again,
    ),
    Mistake(
        "0-1 and nothing else",
        "no mean and standard deviation, only a division by 255",
        "the network takes 0-1 as it is",
        recipe=normalised(1, 0, 1),
    ),
    Mistake(
        "0-255 and nothing else",
        "no mean and standard deviation, and no division",
        "the network takes 0-255 as it is",
        recipe=normalised(255, 0, 1),
    ),
    Mistake(
        "normalised as for ImageNet",
        "mean 0.485 0.456 0.406, standard deviation 0.229 0.224 0.225",
        "that is what the network takes",
        recipe=trained_as("imagenet"),
    ),
    Mistake(
        "normalised as for CLIP",
        "mean 0.481 0.458 0.408, standard deviation 0.269 0.261 0.276",
        "that is what the network takes",
        recipe=trained_as("clip"),
    ),
    Mistake(
        "normalised to -1..1",
        "mean 0.5, standard deviation 0.5",
        "that is what the network takes",
        recipe=trained_as("half"),
    ),
    Mistake(
        "nearest pixel",
        "resized with nearest-neighbour interpolation",
        "the pictures have the size of the input",
        recipe=lambda right: replace(right, interpolation="nearest"),
    ),
    Mistake(
        "not antialiased",
        "made smaller without antialiasing, as cv2.INTER_LINEAR or torch's interpolate do",
        "no picture is made smaller",
        _not_antialiased,
    ),
    Mistake(
        "other interpolation",
        "bicubic in place of bilinear, or the other way round",
        "the pictures have the size of the input",
        recipe=other_filter,
    ),
    Mistake(
        "squashed",
        "resized to the input's height and width, whatever the shape",
        SIZED,
        recipe=lambda right: replace(right, resize="squash", to=0),
    ),
    Mistake(
        "cut around the centre",
        "the shorter side resized, the rest of the longer one cut off",
        SIZED,
        recipe=lambda right: replace(right, resize="shortest", to=0),
    ),
    Mistake(
        "filled up with bars",
        "the longer side resized, the rest filled up (letterbox)",
        SIZED,
        recipe=lambda right: replace(right, resize="longest", to=0),
    ),
    Mistake(
        "border cut off or kept",
        "resized larger than the input and cut around the centre, or not where that was meant",
        "",
        recipe=margin,
    ),
    Mistake(
        "EXIF ignored",
        "pictures as they are stored, not upright",
        "every picture is stored upright",
        _as_stored,
    ),
    Mistake(
        "black behind transparency",
        "transparent pictures over black, not over white",
        "no picture is transparent",
        _on_black,
    ),
    Mistake(
        "height and width swapped",
        "the array's axes are mixed up: mirrored along the diagonal",
        "",
        lambda shot: shot.cut.swapaxes(0, 1),
    ),
    Mistake("upside down", "the first row is the lowest", "", lambda shot: shot.cut[::-1]),
    Mistake(
        "on its side",
        "turned by 90 degrees, as a telephone's portrait is stored",
        "",
        lambda shot: np.rot90(shot.cut),
    ),
    Mistake(
        "mirrored",
        "left is right, as a front camera shows it",
        "",
        lambda shot: shot.cut[:, ::-1],
    ),
    Mistake(
        "from a thumbnail",
        f"made smaller to {SMALL} pixels before it is prepared",
        f"no picture is larger than {SMALL} pixels",
        _thumbnail,
    ),
    Mistake(
        "saved as JPEG of quality 30",
        "compressed much before it is prepared",
        "",
        lambda shot: jpeg(shot.cut, 30),
    ),
    Mistake(
        "inverted",
        "white is black, as some CMYK files come out",
        "",
        lambda shot: 255 - shot.cut,
    ),
    Mistake(
        "cut to whole numbers",
        "0-1 made 8 bits without multiplying: black but for pure white",
        "",
        lambda shot: shot.cut // 255,
    ),
    Mistake("too dark", "sRGB taken for linear light (gamma 2.2 once too often)", "", _linear),
    Mistake(
        "cut too tightly",
        f"only the middle {MIDDLE:.0%} of each side",
        "",
        lambda shot: _middle(shot.cut),
    ),
    Mistake(
        "no face cut out",
        "the whole picture in place of the face in it",
        "no face was found in any picture",
        lambda shot: shot.pixels,
        faces=True,
    ),
    Mistake(
        "face box as it is",
        "the detector's box without margin, not turned upright",
        "no face was found in any picture",
        _face_box,
        faces=True,
    ),
)
