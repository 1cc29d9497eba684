"""Decoding in this process, which what is decoded may hang, crash or make too large."""

import io
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageOps

from embedkit.errors import UnreadableImageError
from embedkit.images.formats import FORMATS
from embedkit.images.limits import TOO_MANY, check_size, million, plain
from embedkit.images.pixels import rgb_image
from embedkit.nuisance import Header, read_header
from embedkit.workers import Room, machine_memory

MOST_FRAMES = 10_000
# Pixels that are decoded side by side: half of the memory, where one takes 17 bytes at the most,
# with transparency.
ROOM = Room(machine_memory() // 2 // 20)


@dataclass(frozen=True, slots=True)
class Said:
    """What a file says of its picture: as `Facts`, and the picture as Pillow has it, if it does."""

    format: str
    mode: str
    orientation: int
    frames: int
    header: Header
    image: Image.Image | None = None


class TooMuchHereError(Exception):
    """What is asked for could take seconds, in which nobody could stop it."""


def opened(data: bytes, background: tuple[int, int, int], most: int, work: int | None) -> Said:
    """Decode a picture in this process.

    Args:
        data: of a file of one of `FORMATS`.
        background: see `decode`.
        most: pixels.
        work: pixels times scans that are decoded, None for any number.

    Raises:
        UnreadableImageError: with the reason.
        MemoryError: it takes more than there is.
        TooMuchHereError: see `work`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_size(image.size, most)
            if work is not None and image.width * image.height * _scans(image, data) > work:
                raise TooMuchHereError
            format_, mode = image.format or "", image.mode
            orientation = _orientation(image)
            frames = _frames(image, data)
            header = read_header(image)
            with ROOM.taken(image.width * image.height):
                image.load()
                check_size(image.size, most)  # Pillow's own check has been bypassed before
                ImageOps.exif_transpose(image, in_place=True)
                upright = rgb_image(image, background=background)
            return Said(format_, mode, orientation, frames, header, upright)
    except (UnreadableImageError, TooMuchHereError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"{TOO_MANY} (at most {million(most)} are read)") from None
    except Exception as error:  # noqa: BLE001 (Pillow raises six types on damaged files)
        raise UnreadableImageError(plain(error)) from None


def _scans(image: Image.Image, data: bytes) -> int:
    """Return how often a JPEG's pixels are gone over, or a little more; 1 of other formats."""
    return data.count(b"\xff\xda") if image.info.get("progressive") else 1


def _frames(image: Image.Image, data: bytes) -> int:
    """Return how many pictures a file holds.

    Raises:
        UnreadableImageError: a TIFF file has more than Pillow can count, which takes it the square
            of the time.
    """
    if image.format == "TIFF" and _directories(data) > MOST_FRAMES:
        raise UnreadableImageError(f"too many frames (at most {MOST_FRAMES} are counted)")
    return int(getattr(image, "n_frames", 1))


def _directories(data: bytes) -> int:
    """Return how many directories a TIFF file's chain has, at most one more than `MOST_FRAMES`."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
    large = 43 in data[2:4]  # BigTIFF
    n_bytes, entry, offset = (8, 20, 8) if large else (2, 12, 4)
    at, found = 8 if large else 4, 0
    while found <= MOST_FRAMES:
        place = int.from_bytes(data[at : at + offset], order)
        if not 0 < place < len(data):
            break
        found += 1
        at = place + n_bytes + entry * int.from_bytes(data[place : place + n_bytes], order)
    return found


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; files with other values are shown as they are."""
    given = image.getexif().get(0x0112)
    return given if isinstance(given, int) and 1 <= given <= 8 else 1
