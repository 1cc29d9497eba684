"""Pictures for reports: small, re-encoded (no metadata survives), and sheets of them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from embedkit.errors import UnreadableImageError
from embedkit.files import sha256
from embedkit.images import decode, read_bytes, strict_pillow
from embedkit.items import ItemTable
from embedkit.vectors import Pixels

THUMBNAIL = 128
SQUARES = 6  # along each side of a face that is blurred
MARGIN = 0.3  # of a face's box, blurred on each side of it
FACE = ["faces", "face_left", "face_top", "face_right", "face_bottom"]
Box = tuple[float, float, float, float]
GREY = (225, 225, 225)


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a contact sheet and the lines of text below it."""

    pixels: Pixels | None
    lines: tuple[str, ...]


def load_pixels(path: Path, digest: str = "") -> Pixels | None:
    """Return a picture's pixels, None where its file is gone, damaged, or has another SHA-256."""
    try:
        with strict_pillow():
            data = read_bytes(path)
            return decode(data).pixels if digest in ("", sha256(data)) else None
    except UnreadableImageError:
        return None


def thumbnail(pixels: Pixels, side: int = THUMBNAIL) -> Image.Image:
    """Shrink a picture so that its longer side is `side`; smaller ones are left as they are."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


class Pictures:
    """The pictures of a data set as pages show them."""

    def __init__(self, items: ItemTable, *, blur_faces: bool = False, hidden: bool = False) -> None:
        """Take what is known of faces from the items.

        Args:
            items: of a store.
            blur_faces: whether faces are made unrecognisable.
            hidden: whether no picture is shown at all.
        """
        self.hidden = hidden
        self._items = items
        self._blur = blur_faces
        self._rows = {id_: row for row, id_ in enumerate(items.ids)}

    def pixels(self, id_: str) -> Pixels | None:
        """Return a picture as it may be shown.

        None where its file is gone or damaged, or is not the one that was embedded: what is known
        of its face would be of another picture, and a store of somebody else's could name any file.
        """
        row = self._rows.get(id_)
        digest = "" if row is None else str(self._items.rows.column("sha256")[row].as_py())
        pixels = None if row is None else load_pixels(self._items.path(id_), digest)
        return None if pixels is None else self.shown(pixels, self.only_face(id_))

    def shown(self, pixels: Pixels, face: Box | None) -> Pixels:
        """Return pixels as they may be shown; without the box of a face all of them are blurred."""
        return mosaic(pixels, face) if self._blur else pixels

    def uri(self, id_: str) -> str | None:
        """Return a thumbnail as a `data:` address, None where there is no picture."""
        pixels = self.pixels(id_)
        return None if pixels is None else pixels_uri(pixels)

    def only_face(self, id_: str) -> Box | None:
        """Return the box of a picture's face; None if there are several or none was looked for."""
        if id_ not in self._rows:
            return None
        (row,) = self._items.rows.select(FACE).slice(self._rows[id_], 1).to_pylist()
        if row["faces"] != 1 or row["face_left"] is None:
            return None
        return row["face_left"], row["face_top"], row["face_right"], row["face_bottom"]


def mosaic(pixels: Pixels, box: Box | None) -> Pixels:
    """Make a face unrecognisable: a few large squares, of the whole picture where it has no box."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    if box is not None:
        beside, above = MARGIN * (box[2] - box[0]), MARGIN * (box[3] - box[1])
        left, top = max(0, int(box[0] - beside)), max(0, int(box[1] - above))
        right, bottom = min(width, int(box[2] + beside) + 1), min(height, int(box[3] + above) + 1)
    if left >= right or top >= bottom:  # a box beside the picture
        left, top, right, bottom = 0, 0, width, height
    part = Image.fromarray(pixels[top:bottom, left:right])
    small = part.resize((SQUARES, SQUARES), Image.Resampling.BOX)
    changed = pixels.copy()
    changed[top:bottom, left:right] = np.asarray(small.resize(part.size, Image.Resampling.NEAREST))
    return changed


def pixels_uri(pixels: Pixels) -> str:
    """Return a thumbnail of a picture in memory as a `data:` address."""
    stream = io.BytesIO()
    thumbnail(pixels).save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def contact_sheet(
    tiles: Sequence[Tile], *, heading: str = "", columns: int = 6, side: int = 160
) -> Image.Image:
    """Lay pictures out in rows, each with its text below, under a heading if there is one."""
    font = ImageFont.load_default(size=12)
    margin, line = 10, 15
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    cell = (side + margin, side + margin + line * max(len(tile.lines) for tile in tiles))
    width = margin + columns * cell[0]
    above = _wrapped(heading, width - 2 * margin, font)
    top = margin + (len(above) * line + margin if above else 0)
    sheet = Image.new("RGB", (width, top + rows * cell[1]), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for number, text in enumerate(above):
        pen.text((margin, margin + number * line), text, fill=(20, 20, 20), font=font)
    for place, tile in enumerate(tiles):
        x, y = margin + place % columns * cell[0], top + place // columns * cell[1]
        if tile.pixels is None:
            pen.rectangle([x, y, x + side, y + side], fill=GREY)
            pen.text((x + 8, y + side // 2), "no picture", fill=(90, 90, 90), font=font)
        else:
            image = Image.fromarray(tile.pixels)
            scale = side / max(image.size)
            image = image.resize(
                (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
                Image.Resampling.LANCZOS,
            )
            sheet.paste(image, (x + (side - image.width) // 2, y + (side - image.height) // 2))
        for number, text in enumerate(tile.lines):
            pen.text(
                (x, y + side + 2 + number * line),
                _fit(text, side, font),
                fill=(20, 20, 20),
                font=font,
            )
    return sheet


def _wrapped(
    text: str, width: int, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont"
) -> list[str]:
    """Break a text into lines at its spaces."""
    lines: list[str] = []
    for word in text.encode("ascii", "replace").decode().split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _fit(text: str, width: int, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> str:
    """Shorten a line from the front, where paths differ least, until it fits."""
    plain = text.encode("ascii", "replace").decode()
    shown = plain
    while font.getlength(shown) > width and len(shown) > 4:
        plain = plain[1:]
        shown = "…" + plain
    return shown
