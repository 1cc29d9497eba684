"""Nuisances: what can be read off a picture's file and pixels without looking at its subject.

Two sources of pictures differ in them, and where a source goes with a class a head can learn the
source. They are read in the same pass as vectors; `embedkit.audits.nuisance` turns them into
columns.
"""

import hashlib
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


def nuisances(header: Header, pixels: Pixels) -> dict[str, Any]:
    """Return all nuisances of a picture, as the store keeps them.

    Args:
        header: of its file.
        pixels: (h, w, 3) uint8 RGB, upright.
    """
    made = _appearance(pixels)
    # Not asdict: it copies a thumbnail number by number, which takes longer than making it.
    return {one.name: getattr(part, one.name) for part in (header, made) for one in fields(part)}


def _appearance(pixels: Pixels) -> Appearance:
    image = Image.fromarray(pixels)
    grey = image.convert("L")
    counts = np.array(grey.histogram(), np.float64) / (image.width * image.height)
    values = np.arange(256)
    mean = float(counts @ values)
    small = np.asarray(image.resize((_SMALL, _SMALL), Image.Resampling.BOX), np.float32)
    red, green, blue = np.ascontiguousarray(np.moveaxis(small, 2, 0))
    largest, least = (of(of(red, green), blue) for of in (np.maximum, np.minimum))
    window = _window(grey)
    step, elsewhere = _blocks(window)
    left, right = _border(pixels.transpose(1, 0, 2))
    top, bottom = _border(pixels)
    ring = _ring(pixels)
    plain = (red + green + blue) / 3
    return Appearance(
        brightness=mean,
        contrast=float(np.sqrt(counts @ (values - mean) ** 2)),
        dark=float(counts[:16].sum()),
        bright=float(counts[240:].sum()),
        saturation=float((largest - least).mean()),
        red_cast=float((red - green).mean()),
        blue_cast=float((blue - green).mean()),
        sharpness=_sharpness(window),
        noise=_noise(window),
        blocks=step,
        blocks_elsewhere=elsewhere,
        border_left=left,
        border_top=top,
        border_right=right,
        border_bottom=bottom,
        ring_red=float(ring[:, 0].mean()),
        ring_green=float(ring[:, 1].mean()),
        ring_blue=float(ring[:, 2].mean()),
        ring_spread=float(ring.mean(axis=1).std()),
        symmetry=_correlation(plain, plain[:, ::-1]),
        thumbnail=_thumbnail(small),
    )


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


def _window(grey: Image.Image) -> npt.NDArray[np.int16]:
    """Return the middle of a picture at full size, cut where blocks of 8 begin."""
    left, top = (
        (side - _WINDOW) // 2 // _BLOCK * _BLOCK if side > _WINDOW else 0 for side in grey.size
    )
    right, bottom = (
        min(start + _WINDOW, side) for start, side in zip((left, top), grey.size, strict=True)
    )
    return np.asarray(grey.crop((left, top, right, bottom)), np.int16)


def _thumbnail(small: npt.NDArray[np.float32]) -> list[int]:
    cells = small.reshape(THUMBNAIL, _SMALL // THUMBNAIL, THUMBNAIL, _SMALL // THUMBNAIL, 3)
    means: list[int] = np.rint(cells.mean(axis=(1, 3))).astype(int).ravel().tolist()
    return means


def _sharpness(window: npt.NDArray[np.int16]) -> float:
    if min(window.shape) < 3:
        return 0.0
    inner = window[1:-1, 1:-1]
    laplacian = (
        4 * inner - window[:-2, 1:-1] - window[2:, 1:-1] - window[1:-1, :-2] - window[1:-1, 2:]
    )
    return float(np.log1p(laplacian.var(dtype=np.float64)))


def _noise(window: npt.NDArray[np.int16]) -> float:
    if min(window.shape) < 3:
        return 0.0
    down = window[:-2] - 2 * window[1:-1] + window[2:]
    both = down[:, :-2] - 2 * down[:, 1:-1] + down[:, 2:]
    return float(np.sqrt(np.pi / 2) * np.abs(both).mean(dtype=np.float64) / 6)


def _blocks(window: npt.NDArray[np.int16]) -> tuple[float, float]:
    """Return the step at the borders of the file's own blocks, and at the other grid's with most.

    Each as a multiple of the mean step; 1 where there is nothing to compare.
    """
    steps = []
    for axis in (0, 1):
        edges = np.abs(np.diff(window, axis=axis)).mean(axis=1 - axis, dtype=np.float64)
        n = len(edges) // _BLOCK * _BLOCK
        mean = edges[:n].mean() if n else 0.0
        if mean == 0:
            return 1.0, 1.0
        steps.append(edges[:n].reshape(-1, _BLOCK).mean(axis=0) / mean)
    first, second = steps
    both = (first[:, None] + second[None, :]) / 2
    own = float(both[-1, -1])
    both[-1, :] = both[:, -1] = 0
    return own, float(both.max())


def _border(pixels: Pixels) -> tuple[int, int]:
    """Return how many of the first and of the last rows have the outermost one's mean colour."""
    return _even(pixels), _even(pixels[::-1])


def _even(rows: Pixels) -> int:
    widest = len(rows) // _WIDEST
    colour = np.tile(rows[0].mean(axis=0, dtype=np.float32), rows.shape[1])
    n = 0
    while n < widest:  # a few at a time, for hardly any picture has a border
        some = rows[n : min(n + _BLOCK, widest)]
        flat = some.reshape(len(some), len(colour)).astype(np.float32)
        off = np.abs(flat - colour).mean(axis=1) > _EVEN
        if off.any():
            return n + int(off.argmax())
        n += len(some)
    return n


def _ring(pixels: Pixels) -> DoubleArray:
    """Return the outermost pixels: (n, 3)."""
    parts = (pixels[:_RING], pixels[-_RING:], pixels[:, :_RING], pixels[:, -_RING:])
    return np.concatenate([part.reshape(-1, 3) for part in parts]).astype(np.float64)


def _correlation(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    a, b = (one - one.mean() for one in (first, second))
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else 1.0
