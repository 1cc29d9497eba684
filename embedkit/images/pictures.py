"""A picture's pixels and facts, decoded here or by a process that can be killed."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from embedkit.decoders import TOO_MUCH, Decoders, Message, serve
from embedkit.errors import UnreadableImageError
from embedkit.files import sha256
from embedkit.images.decoding import Said, TooMuchHereError, opened
from embedkit.images.formats import described, sniff
from embedkit.images.hashes import perceptual_hash, pixel_hash
from embedkit.images.limits import EMPTY, MAX_PIXELS
from embedkit.images.pixels import BACKGROUND
from embedkit.images.switches import strict_pillow
from embedkit.nuisance import Header
from embedkit.vectors import Pixels

DECODERS = Decoders("embedkit.images.pictures", "serve_decoded")
# What goes to a process that can be killed: the formats whose libraries were seen to take seconds
# and gigabytes over a few damaged kilobytes, and of the others what could take seconds if it were
# made for that. A JPEG can have ten thousand scans, and each is a pass over all pixels. Numbers
# written out (the plain kinds of PPM) and runs (compressed BMP) are read by Python.
OUTSIDE = ("TIFF", "AVIF", "JPEG2000")
INSIDE_BYTES = 8 * 2**20
INSIDE_PIXELS = 100_000_000  # times scans


@dataclass(frozen=True, slots=True)
class Facts:
    """What can be said of a picture without a network; one row of `items.parquet`."""

    sha256: str
    pixel_sha256: str
    phash: int
    width: int
    height: int
    format: str
    mode: str
    bytes: int
    orientation: int
    frames: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: (h, w, 3) uint8 RGB, upright, its facts, and what its file says.

    `image` is the same as Pillow has it: to make one of the other takes as long as hashing it.
    """

    image: Image.Image
    pixels: Pixels
    facts: Facts
    header: Header


def decode(
    data: bytes,
    *,
    background: tuple[int, int, int] = BACKGROUND,
    max_pixels: int | None = None,
) -> Picture:
    """Decode a picture by the rules of `embedkit.images`.

    Args:
        data: of a file.
        background: what shows through where a picture is transparent.
        max_pixels: that it may have, `MAX_PIXELS` where left out.

    Raises:
        UnreadableImageError: with the reason; never anything else, whatever the bytes are.
        WorkerError: no process can be started that decodes.
    """
    try:
        pixels, said = _decoded(data, background, max_pixels or MAX_PIXELS)
        picture = Image.fromarray(pixels) if said.image is None else said.image
        return Picture(
            picture,
            pixels,
            Facts(
                sha256=sha256(data),
                pixel_sha256=pixel_hash(pixels),
                phash=perceptual_hash(picture),
                width=picture.width,
                height=picture.height,
                format=said.format,
                mode=said.mode,
                bytes=len(data),
                orientation=said.orientation,
                frames=said.frames,
            ),
            said.header,
        )
    except MemoryError:
        raise UnreadableImageError(TOO_MUCH) from None


def decode_pixels(data: bytes) -> Pixels:
    """Decode a picture as `decode` does, without its facts: hashing takes longer than decoding.

    Raises:
        UnreadableImageError, WorkerError: as `decode`.
    """
    try:
        return _decoded(data, BACKGROUND, MAX_PIXELS)[0]
    except MemoryError:
        raise UnreadableImageError(TOO_MUCH) from None


def _decoded(data: bytes, background: tuple[int, int, int], most: int) -> tuple[Pixels, Said]:
    """Return a picture upright in RGB, and what its file says of it."""
    if not data:
        raise UnreadableImageError(EMPTY)
    kind = sniff(data[:64])
    if kind is None:
        raise UnreadableImageError(f"not a picture ({described(data)})")
    slow = (kind == "PPM" and data[1:2] in b"123") or (kind == "BMP" and any(data[30:34]))
    if kind not in OUTSIDE and not slow and len(data) <= INSIDE_BYTES:
        with suppress(TooMuchHereError):
            said = opened(data, background, most, INSIDE_PIXELS)
            return np.asarray(said.image), said
    answer, raw = DECODERS.ask({"background": background, "most": most}, data)
    if "reason" in answer:
        raise UnreadableImageError(answer["reason"])
    pixels = np.frombuffer(raw, np.uint8).reshape(answer["height"], answer["width"], 3)
    said = Said(**answer["said"] | {"header": Header(**answer["said"]["header"])})
    return pixels, said


def _answer(question: dict[str, Any], data: bytes) -> Message:
    """Decode in a process of its own."""
    try:
        with strict_pillow():
            said = opened(data, tuple(question["background"]), question["most"], None)
            pixels = np.asarray(said.image)
            raw = pixels.tobytes()
    except UnreadableImageError as error:
        return {"reason": str(error)}, b""
    except MemoryError:
        return {"reason": TOO_MUCH}, b""
    height, width = pixels.shape[:2]
    told = {name: getattr(said, name) for name in ("format", "mode", "orientation", "frames")}
    told["header"] = asdict(said.header)
    return {"height": height, "width": width, "said": told}, raw


def serve_decoded() -> None:
    """Decode what comes through standard input; see `embedkit.decoders`."""
    serve(_answer)
