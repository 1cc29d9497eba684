"""Faces marked in their picture: a box each, and what the heads say beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from embedkit.heads.faces import Look, Sighting
from embedkit.heads.predict import Panel
from embedkit.reports.pictures import mosaic

SMALLEST = 480  # pixels; the long side below which a picture is enlarged, for the text to fit
TEXT = 40  # the long side in heights of a line
# M. Okabe and K. Ito, "Color universal design", 2008; told apart by the colour-blind too.
COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
INK, PAPER = (255, 255, 255), (20, 20, 20)
NO_FACE = "no face found"

Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]


def annotated(look: Look, panel: Panel, *, blur_faces: bool = False) -> Image.Image:
    """Draw the boxes and what the heads say of each face.

    A small picture is enlarged by a whole number. Nothing is drawn outside the picture; the part of
    a box that reaches beyond it is left out. A box has a colour for each class of the first head.

    Args:
        look: a frame that was passed over is returned as it is.
        panel: whose heads answered.
        blur_faces: whether every face that was found is made unrecognisable; where none was looked
            for, all of the frame is.
    """
    pixels = look.frame.pixels
    if blur_faces:
        seen = [None] if look.sightings is None else [one.face.box for one in look.sightings]
        for box in seen:
            pixels = mosaic(pixels, box)
    image = Image.fromarray(pixels)
    scale = -(-SMALLEST // max(image.size))
    if scale > 1:
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    if look.sightings is None:
        return image
    pen = ImageDraw.Draw(image)
    font = _font(max(image.size) // TEXT)
    if not look.sightings and look.frame.number is None:
        _write(pen, _plate([NO_FACE], font, image.width), (0, 0), COLOURS[0], font)
    boxes = [_inside(one.face.box, scale, image.size) for one in look.sightings]
    colours = [_colour(one, panel) for one in look.sightings]
    for box, colour in zip(boxes, colours, strict=True):
        thick = max(2, max(image.size) // 300)
        pen.rectangle(box, outline=PAPER, width=thick + 2)
        pen.rectangle((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), outline=colour, width=thick)
    taken: list[Box] = []
    for one, box, colour in zip(look.sightings, boxes, colours, strict=True):
        plate = _plate(said(one, panel), font, image.width)
        place = _place(box, plate.size, image.size, taken, boxes)
        taken.append((*place, place[0] + plate.size[0], place[1] + plate.size[1]))
        _write(pen, plate, place, colour, font)
    return image


def said(one: Sighting, panel: Panel) -> list[str]:
    """Return a line for each head: the label and its probability, named if there are several."""
    lines = [f"{answer.label} {answer.probability:.0%}" for answer in one.answers]
    if len(lines) == 1:
        return lines
    return [f"{name}: {line}" for name, line in zip(panel.names, lines, strict=True)]


@dataclass(frozen=True, slots=True)
class _Plate:
    """Lines of text that fit, and the width and height that they take."""

    lines: tuple[str, ...]
    size: tuple[int, int]


def _plate(lines: Sequence[str], font: ImageFont.FreeTypeFont, widest: int) -> _Plate:
    margin = _margin(font)
    shown = tuple(_shortened(line, font, widest - 2 * margin) for line in lines)
    width = max(font.getlength(line) for line in shown)
    return _Plate(shown, (int(width) + 2 * margin + 1, len(shown) * _pitch(font) + margin))


def _write(
    pen: ImageDraw.ImageDraw,
    plate: _Plate,
    place: tuple[int, int],
    colour: Colour,
    font: ImageFont.FreeTypeFont,
) -> None:
    x, y = place
    margin, pitch = _margin(font), _pitch(font)
    pen.rectangle((x, y, x + plate.size[0] - 1, y + plate.size[1] - 1), fill=PAPER)
    pen.rectangle((x, y, x + margin // 2, y + plate.size[1] - 1), fill=colour)
    for number, line in enumerate(plate.lines):
        pen.text((x + margin, y + margin // 2 + number * pitch), line, fill=INK, font=font)


def _place(
    box: Box, size: tuple[int, int], picture: tuple[int, int], taken: list[Box], boxes: list[Box]
) -> tuple[int, int]:
    """Return the left and top of a plate near its box: on no other plate, and no face if it can."""
    (left, top, right, bottom), (wide, high) = box, size
    around = [
        (left, top - high),
        (left, bottom + 1),
        (right + 1, top),
        (left - wide, top),
        (right - wide, top - high),
        (right - wide, bottom + 1),
        (left, top),
        (left, bottom - high),
    ]
    places = [
        (max(0, min(x, picture[0] - wide)), max(0, min(y, picture[1] - high))) for x, y in around
    ]

    def covered(place: tuple[int, int]) -> int:
        mine = (*place, place[0] + wide, place[1] + high)
        return 4 * sum(_meet(mine, other) for other in taken) + sum(
            _meet(mine, other) for other in boxes
        )

    return min(places, key=covered)  # the first of equals


def _meet(one: Box, other: Box) -> int:
    """Return the area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0) * max(high, 0)


def _inside(box: tuple[float, ...], scale: int, picture: tuple[int, int]) -> Box:
    """Return the part of a box that is in the picture."""
    ends = (picture[0] - 1, picture[1] - 1) * 2
    left, top, right, bottom = (
        max(0, min(round(side * scale), end)) for side, end in zip(box, ends, strict=True)
    )
    return left, top, max(right, left + 2), max(bottom, top + 2)


def _colour(one: Sighting, panel: Panel) -> Colour:
    return COLOURS[panel.heads[0].labels.index(one.answers[0].label) % len(COLOURS)]


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return matplotlib's font, which has more letters than Pillow's own; it is not imported."""
    spec = find_spec("matplotlib")
    folder = Path(str(spec.origin)).parent if spec else Path()
    return ImageFont.truetype(folder / "mpl-data/fonts/ttf/DejaVuSans.ttf", size)


def _shortened(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Cut a line at its end until it fits; its number stays."""
    words, _, number = line.rpartition(" ")
    while words and font.getlength(line) > width:
        words = words[:-1]
        line = f"{words}… {number}"
    return line


def _margin(font: ImageFont.FreeTypeFont) -> int:
    return int(font.size) // 2


def _pitch(font: ImageFont.FreeTypeFont) -> int:
    return int(font.size * 1.3)
