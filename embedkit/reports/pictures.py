"""Pictures for reports: small, re-encoded (no metadata survives), and sheets of them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from embedkit.errors import UnreadableImageError
from embedkit.images import decode, read_bytes, strict_pillow
from embedkit.vectors import Pixels

THUMBNAIL = 128
GREY = (225, 225, 225)


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a contact sheet and the lines of text below it."""

    pixels: Pixels | None
    lines: tuple[str, ...]


def load_pixels(path: Path) -> Pixels | None:
    """Return a picture's pixels, None where its file is gone or damaged."""
    try:
        with strict_pillow():
            return decode(read_bytes(path)).pixels
    except UnreadableImageError:
        return None


def thumbnail(pixels: Pixels, side: int = THUMBNAIL) -> Image.Image:
    """Shrink a picture so that its longer side is `side`; smaller ones are left as they are."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def data_uri(path: Path) -> str | None:
    """Return a thumbnail as a `data:` address, None where there is no picture."""
    pixels = load_pixels(path)
    return None if pixels is None else pixels_uri(pixels)


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
