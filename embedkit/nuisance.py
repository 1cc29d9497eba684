"""Nuisances: what can be read off a picture's file and pixels without looking at its subject.

Two sources of pictures differ in them, and where a source goes with a class a head can learn the
source. They are read in the same pass as vectors; `embedkit.audits.nuisance` turns them into
columns.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin

from embedkit.vectors import DoubleArray, Pixels

THUMBNAIL = 8  # pixels a side
_SMALL = 64  # pixels a side of what colours are read from
_WINDOW = 128  # pixels a side of what sharpness, noise and blocks are read from, at full size
_BLOCK = 8  # pixels a side of what JPEG encodes at once
_EVEN = 8  # of 255: a border's pixels are as near to its colour, on average, after JPEG too
_WIDEST = 4  # a border is looked for in a quarter of each side
_RING = 2  # pixels of the outermost ring
_SIDES = ("border_left", "border_top", "border_right", "border_bottom")
TOGETHER = 64  # pictures that are worked on at once
_SAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
# What a TIFF file has to say of its pixels, in the form that cameras' notes have.
_OF_TIFF = frozenset(
    tag
    for first, last in ((254, 266), (273, 273), (277, 292), (296, 296), (317, 347), (529, 532))
    for tag in range(first, last + 1)
)
_MAKE, _MODEL, _SOFTWARE = 0x010F, 0x0110, 0x0131
_LONGEST = 64  # characters kept of what a camera or a program calls itself
# The luminance table of ITU-T T.81, annex K, which encoders scale by their quality.
_TABLE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself; None where its format says nothing of it.

    Attributes:
        jpeg_quality: 1 to 100, the quality whose table is nearest to the file's.
        jpeg_tables: hash of all quantisation tables, which name the program better than it does.
        subsampling: of colour: `4:4:4`, `4:2:2`, `4:2:0` or `other`.
        progressive: whether the JPEG file is encoded in several passes.
        exif: whether there are EXIF data.
        camera: maker and model.
        software: the program that wrote the file, by its own name.
        profile: hash of the colour profile.
    """

    jpeg_quality: int | None
    jpeg_tables: str | None
    subsampling: str | None
    progressive: bool | None
    exif: bool
    camera: str | None
    software: str | None
    profile: str | None


@dataclass(frozen=True, slots=True)
class Appearance:
    """What the pixels say of how a picture was made.

    Attributes:
        brightness: mean grey value, 0 to 255.
        contrast: standard deviation of the grey values.
        dark: share of pixels below 16.
        bright: share of pixels above 239.
        saturation: mean difference of the largest and the smallest channel, 0 to 255.
        red_cast: mean red less mean green.
        blue_cast: mean blue less mean green.
        sharpness: logarithm of the variance of the Laplacian.
        noise: standard deviation of the noise in grey values (J. Immerkaer, "Fast noise variance
            estimation", CVIU 64, 1996).
        blocks: step in grey value at the borders of the 8 x 8 blocks that JPEG would encode, as a
            multiple of the mean step.
        blocks_elsewhere: the same at the other grid of blocks that shows most, as a crop of a JPEG
            file has it.
        border_left: width of an even border on that side, in pixels; so are the next three.
        border_top: see there.
        border_right: see there.
        border_bottom: see there.
        ring_red: mean of the outermost pixels, 0 to 255; so are the next two.
        ring_green: see there.
        ring_blue: see there.
        ring_spread: standard deviation of the outermost pixels' grey values.
        symmetry: correlation of the picture with its mirror image.
        thumbnail: 8 x 8 RGB, row by row.
    """

    brightness: float
    contrast: float
    dark: float
    bright: float
    saturation: float
    red_cast: float
    blue_cast: float
    sharpness: float
    noise: float
    blocks: float
    blocks_elsewhere: float
    border_left: int
    border_top: int
    border_right: int
    border_bottom: int
    ring_red: float
    ring_green: float
    ring_blue: float
    ring_spread: float
    symmetry: float
    thumbnail: list[int]


_SAID = tuple(one.name for one in fields(Header))


def read_header(image: Image.Image) -> Header:
    """Return what an opened file says of itself; its pixels need not be decoded."""
    exif = image.getexif()
    made = [_words(exif.get(tag)) for tag in (_MAKE, _MODEL)]
    tables = getattr(image, "quantization", None) or {}
    software = _words(exif.get(_SOFTWARE)) or _words(image.info.get("Software"))
    profile = image.info.get("icc_profile")
    jpeg = bool(tables)
    sampling = JpegImagePlugin.get_sampling(image) if jpeg else -1
    return Header(
        _quality(tuple(tables[min(tables)])) if jpeg else None,
        _digest(repr(sorted(tables.items())).encode()) if jpeg else None,
        _SAMPLING.get(sampling, "other") if jpeg else None,
        bool(image.info.get("progressive")) if jpeg else None,
        any(image.format != "TIFF" or tag not in _OF_TIFF for tag in exif),
        " ".join(word for word in made if word) or None,
        software,
        _digest(profile) if isinstance(profile, bytes) and profile else None,
    )


@dataclass(frozen=True, slots=True)
class Glance:
    """What is kept of a picture's file and pixels until its nuisances are worked out.

    Attributes:
        header: of its file.
        small: (64, 64, 3) uint8 RGB.
        grey: (64, 64) uint8.
        thumbnail: 8 x 8 RGB, row by row.
        window: (at most 128, at most 128) uint8, the middle of the picture in grey, at full size.
        ring: (n, 3) uint8, its outermost pixels.
        border: pixels of an even border on the left, at the top, on the right and at the bottom.
    """

    header: Header
    small: Pixels
    grey: Pixels
    thumbnail: list[int]
    window: Pixels
    ring: Pixels
    border: dict[str, int]


def glance(header: Header, image: Image.Image, pixels: Pixels) -> Glance:
    """Take from a picture what `nuisances` needs; this may be done on many threads at once.

    Args:
        header: of its file.
        image: RGB, upright.
        pixels: (h, w, 3) uint8, the same once more: to make one of the other takes a third as long
            as all that is done here.
    """
    small = image.resize((_SMALL, _SMALL), Image.Resampling.BOX)
    return Glance(
        header,
        np.asarray(small),
        np.asarray(small.convert("L")),
        list(small.reduce(_SMALL // THUMBNAIL).tobytes()),
        np.asarray(_middle(image).convert("L")),
        _ring(pixels),
        _border(pixels),
    )


def nuisances(glances: Sequence[Glance]) -> list[dict[str, Any]]:
    """Return all nuisances of each picture, as the store keeps them.

    Several pictures are worked on at once: NumPy's calls cost more here than their work, and each
    hands over the interpreter's lock. All sums are of whole numbers, so that no figure depends on
    what else is worked on at the same time.
    """
    made: list[dict[str, Any]] = []
    for start in range(0, len(glances), TOGETHER):
        some = glances[start : start + TOGETHER]
        columns = {
            **_tones(np.stack([one.grey for one in some]), np.stack([one.small for one in some])),
            **_details([one.window for one in some]),
            **_rings([one.ring for one in some]),
        }
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        for one, row in zip(some, rows, strict=True):
            said = {name: getattr(one.header, name) for name in _SAID}
            said |= dict(zip(columns, row, strict=True))
            made.append(said | one.border | {"thumbnail": one.thumbnail})
    return made


@cache
def _sums() -> DoubleArray:
    """Return the mean of the luminance table at qualities 1 to 100, as libjpeg scales it."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables = np.clip((np.array(_TABLE) * scale + 50) // 100, 1, 255)
    return np.asarray(tables.mean(axis=1), np.float64)


def _quality(table: tuple[int, ...]) -> int:
    return 1 + int(np.abs(_sums() - np.mean(table)).argmin())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _words(value: object) -> str | None:
    """Return what a file writes as text, without what no text has."""
    if not isinstance(value, str):
        return None
    kept = "".join(letter for letter in value if letter.isprintable())
    return " ".join(kept.split())[:_LONGEST] or None


def _middle(image: Image.Image) -> Image.Image:
    """Return the middle of a picture at full size, cut where blocks of 8 begin."""
    left, top = (
        (side - _WINDOW) // 2 // _BLOCK * _BLOCK if side > _WINDOW else 0 for side in image.size
    )
    right, bottom = (
        min(start + _WINDOW, side) for start, side in zip((left, top), image.size, strict=True)
    )
    return image.crop((left, top, right, bottom))


def _ring(pixels: Pixels) -> Pixels:
    parts = (pixels[:_RING], pixels[-_RING:], pixels[:, :_RING], pixels[:, -_RING:])
    return np.concatenate([part.reshape(-1, 3) for part in parts])


def _border(pixels: Pixels) -> dict[str, int]:
    """Return how many columns or rows of each side have the outermost one's mean colour."""
    upright = pixels.transpose(1, 0, 2)
    sides = (upright, pixels, upright[::-1], pixels[::-1])
    # All four outermost lines at once, for hardly any picture has a border.
    lines = np.concatenate([side[0] for side in sides]).T.astype(np.float32, order="C")
    height, width = pixels.shape[:2]
    lengths = np.array([height, width, height, width])
    starts = (0, height, height + width, 2 * height + width)
    colours = np.add.reduceat(lines, starts, axis=1) / lengths.astype(np.float32)
    off = np.abs(lines - np.repeat(colours, lengths, axis=1)).sum(axis=0)
    even = np.add.reduceat(off, starts) <= 3 * _EVEN * lengths
    return {
        name: _even(side, colour) if plain else 0
        for name, side, colour, plain in zip(_SIDES, sides, colours.T, even.tolist(), strict=True)
    }


def _even(rows: Pixels, colour: npt.NDArray[np.float32]) -> int:
    widest = len(rows) // _WIDEST
    n = 0
    while n < widest:  # a few at a time, for most borders are narrow
        some = rows[n : min(n + _BLOCK, widest)].astype(np.float32)
        off = np.abs(some - colour).mean(axis=(1, 2)) > _EVEN
        if off.any():
            return n + int(off.argmax())
        n += len(some)
    return n


def _tones(greys: Pixels, small: Pixels) -> dict[str, npt.NDArray[Any]]:
    """Return what (n, 64, 64) and (n, 64, 64, 3) uint8 say of tones, colours and symmetry."""
    n, side = greys.shape[:2]
    size = side * side
    grey = greys.reshape(n, size)
    values = grey.astype(np.float64)
    brightness = values.sum(axis=1) / size
    squares = np.einsum("ni,ni->n", values, values) / size
    planes = small.reshape(n, size, 3).transpose(2, 0, 1).copy()
    colourful = planes.max(axis=0) - planes.min(axis=0)
    colours = planes.astype(np.float64)
    red, green, blue = colours.sum(axis=2) / size
    return {
        "brightness": brightness,
        "contrast": np.sqrt(np.maximum(squares - brightness**2, 0)),
        "dark": (grey < 16).sum(axis=1) / size,
        "bright": (grey >= 240).sum(axis=1) / size,
        "saturation": colourful.astype(np.float64).sum(axis=1) / size,
        "red_cast": red - green,
        "blue_cast": blue - green,
        "symmetry": _symmetry(colours.sum(axis=0).reshape(n, side, side)),
    }


def _symmetry(plain: DoubleArray) -> DoubleArray:
    total = plain.sum(axis=(1, 2)) ** 2 / plain[0].size
    spread = np.einsum("nij,nij->n", plain, plain) - total
    mirrored = np.einsum("nij,nij->n", plain, plain[:, :, ::-1]) - total
    return np.where(spread > 0, mirrored / np.where(spread > 0, spread, 1), 1.0)


def _rings(rings: Sequence[Pixels]) -> dict[str, npt.NDArray[Any]]:
    lengths = np.array([len(ring) for ring in rings])
    starts = np.cumsum([0, *lengths[:-1]])
    every = np.concatenate(rings).T.astype(np.float64, order="C")
    red, green, blue = np.add.reduceat(every, starts, axis=1) / lengths
    sums = every.sum(axis=0)  # three times the grey value
    total, squares = (np.add.reduceat(of, starts) for of in (sums, sums**2))
    variance = (squares - total**2 / lengths) / lengths
    spread = np.sqrt(np.maximum(variance, 0)) / 3
    return {"ring_red": red, "ring_green": green, "ring_blue": blue, "ring_spread": spread}


def _details(windows: Sequence[Pixels]) -> dict[str, npt.NDArray[Any]]:
    """Return sharpness, noise and blocks of each; windows of one size are worked on together."""
    found = np.empty((4, len(windows)))
    shapes = [window.shape for window in windows]
    for shape in sorted(set(shapes)):
        rows = [row for row, one in enumerate(shapes) if one == shape]
        alike = np.stack([windows[row] for row in rows]).astype(np.int16)
        found[:, rows] = (_sharpness(alike), _noise(alike), *_blocks(alike))
    return dict(zip(("sharpness", "noise", "blocks", "blocks_elsewhere"), found, strict=True))


def _sharpness(windows: npt.NDArray[np.int16]) -> DoubleArray:
    n, height, width = windows.shape
    if min(height, width) < 3:
        return np.zeros(n)
    inner = windows[:, 1:-1, 1:-1]
    laplacian = (
        4 * inner
        - windows[:, :-2, 1:-1]
        - windows[:, 2:, 1:-1]
        - windows[:, 1:-1, :-2]
        - windows[:, 1:-1, 2:]
    )
    values = laplacian.reshape(n, -1).astype(np.float64)
    size = values.shape[1]
    # Not `@`: BLAS shares even this little among threads, which wait for one another.
    variance = (np.einsum("ni,ni->n", values, values) - values.sum(axis=1) ** 2 / size) / size
    return np.asarray(np.log1p(np.maximum(variance, 0)))


def _noise(windows: npt.NDArray[np.int16]) -> DoubleArray:
    if min(windows.shape[1:]) < 3:
        return np.zeros(len(windows))
    down = windows[:, :-2] - 2 * windows[:, 1:-1] + windows[:, 2:]
    both = down[:, :, :-2] - 2 * down[:, :, 1:-1] + down[:, :, 2:]
    size = both[0].size
    total = np.abs(both).reshape(len(windows), -1).sum(axis=1, dtype=np.int32)
    return np.asarray(np.sqrt(np.pi / 2) * total / size / 6)


def _blocks(windows: npt.NDArray[np.int16]) -> tuple[DoubleArray, DoubleArray]:
    """Return the step at the borders of the file's own blocks, and at the other grid's with most.

    Each as a multiple of the mean step; 1 where there is nothing to compare.
    """
    steps, flat = [], np.zeros(len(windows), bool)
    for axis in (1, 2):
        edges = np.abs(np.diff(windows, axis=axis)).sum(axis=3 - axis, dtype=np.int32)
        n = edges.shape[1] // _BLOCK * _BLOCK
        places = edges[:, :n].reshape(len(windows), -1, _BLOCK).sum(axis=1)
        total = places.sum(axis=1)
        flat |= total == 0
        steps.append(_BLOCK * places / np.maximum(total, 1)[:, None])
    first, second = steps
    both = (first[:, :, None] + second[:, None, :]) / 2
    own = both[:, -1, -1].copy()
    both[:, -1, :] = both[:, :, -1] = 0
    return np.where(flat, 1.0, own), np.where(flat, 1.0, both.max(axis=(1, 2)))
