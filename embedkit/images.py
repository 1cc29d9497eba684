"""Pictures: the one place that opens an image file, with every limit and rule for its pixels.

Rules, the same on every path that pixels take into embedkit:

- Only regular files of at most `MAX_BYTES` and `MAX_PIXELS` are decoded, by Pillow, by content
  and not by suffix. The hash and the pixels come from the same bytes.
- Pictures come out upright (EXIF orientation applied) as RGB, 8 bits a channel.
- 16-bit grey is divided by 257; 32-bit integers and floats are taken as 0-255, 0-65535 or 0-1 by
  the range that holds them, else stretched from their minimum to their maximum.
- Transparency is composed over white. Of an animation the first frame is taken.
"""

import errno
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin
from scipy import fft

from embedkit.errors import EmbedkitError, SourceGoneError, UnreadableImageError
from embedkit.files import sha256
from embedkit.nuisance import Header, read_header
from embedkit.remote import is_url, read_url
from embedkit.shards import read_member, shard_above
from embedkit.vectors import Pixels

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
OVERSHOOT = 2.0
# What a share says whose server is away; a bad sector (EIO) may be one picture's alone.
GONE = frozenset(
    getattr(errno, name)
    for name in ("ENOTCONN", "ESTALE", "ESHUTDOWN", "EHOSTDOWN", "EHOSTUNREACH", "ETIMEDOUT")
)
EMPTY = "empty file (0 bytes)"
BACKGROUND = (255, 255, 255)
# Pillow's names. MPO is opened by its JPEG reader; formats that start other programs (EPS) or
# hold no pixels of their own are left out.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".avif",
        ".jp2",
        ".j2k",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    ]
)
HASH_SIDE = 32


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


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a JPEG file is written.

    Attributes:
        tables: of 64 divisors each; of brightness first.
        subsampling: of colour: 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0.
    """

    tables: tuple[tuple[int, ...], ...]
    subsampling: int


def read_bytes(path: Path) -> bytes:
    """Read a picture's file, refusing what is no regular file or too large.

    Args:
        path: of it, or its URL, or one that leads into a shard; see `embedkit.remote` and
            `embedkit.shards`.

    Raises:
        UnreadableImageError: with the reason.
        FetchError: it lies behind a URL that does not answer as it should.
        SourceGoneError: the disk or share that it lies on does not answer.
    """
    if is_url(path):
        shard = shard_above(path)
        return _read_url(path) if shard is None else _read_member(shard, path)
    try:
        # O_NONBLOCK: opening a pipe that is called x.jpg must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except NotADirectoryError as error:  # there is a file where a folder should be
        shard = shard_above(path)
        if shard is None:
            raise UnreadableImageError(_plain(error)) from None
        return _read_member(shard, path)
    except OSError as error:
        raise _refused(path, error) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError("not a regular file")
        if status.st_size == 0:
            raise UnreadableImageError(EMPTY)
        if status.st_size > MAX_BYTES:
            raise UnreadableImageError(
                f"file of {status.st_size / 2**20:.0f} MiB, at most {MAX_BYTES // 2**20} are read"
            )
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        os.close(descriptor)


def _refused(path: Path, error: OSError) -> EmbedkitError:
    """Return what a failed read means: the picture is unreadable, or its disk or share is gone."""
    if error.errno not in GONE:
        return UnreadableImageError(_plain(error))
    return SourceGoneError(
        f"{path} cannot be read: {error.strerror}; the disk or share that it lies on is gone. Run "
        "the same command again once it is back"
    )


def _read_url(path: Path) -> bytes:
    try:
        data = read_url(path, MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableImageError(_plain(error)) from None
    return _of_allowed_size(data)


def _read_member(shard: Path, path: Path) -> bytes:
    return _of_allowed_size(read_member(shard, path, MAX_BYTES + 1))


def _of_allowed_size(data: bytes) -> bytes:
    if not data:
        raise UnreadableImageError(EMPTY)
    if len(data) > MAX_BYTES:
        raise UnreadableImageError(f"file of more than {MAX_BYTES // 2**20} MiB")
    return data


def decode(data: bytes, *, background: tuple[int, int, int] = BACKGROUND) -> Picture:
    """Decode a picture by the rules of this module.

    Args:
        data: of a file.
        background: what shows through where a picture is transparent.

    Raises:
        UnreadableImageError: with the reason; never anything else, whatever the bytes are.
    """
    picture, format_, mode, orientation, frames, header = _decoded(data, background)
    pixels = np.asarray(picture)
    return Picture(
        picture,
        pixels,
        Facts(
            sha256=sha256(data),
            pixel_sha256=pixel_hash(pixels),
            phash=perceptual_hash(picture),
            width=picture.width,
            height=picture.height,
            format=format_,
            mode=mode,
            bytes=len(data),
            orientation=orientation,
            frames=frames,
        ),
        header,
    )


def decode_pixels(data: bytes) -> Pixels:
    """Decode a picture as `decode` does, without its facts: hashing takes longer than decoding.

    Raises:
        UnreadableImageError: with the reason.
    """
    return np.asarray(_decoded(data)[0])


def encoding(data: bytes) -> Encoding:
    """Return how a JPEG file is written, without decoding it.

    Args:
        data: of a file.

    Raises:
        UnreadableImageError: it is none.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            tables: dict[int, list[int]] = getattr(image, "quantization", {})
            sampling = JpegImagePlugin.get_sampling(image)
    except Exception as error:  # noqa: BLE001 (as in `_decoded`)
        raise UnreadableImageError(_plain(error)) from None
    # What cannot be asked for when a file is written is taken for the usual.
    return Encoding(
        tuple(tuple(tables[key]) for key in sorted(tables)), sampling if sampling >= 0 else 2
    )


def _decoded(
    data: bytes, background: tuple[int, int, int] = BACKGROUND
) -> tuple[Image.Image, str, str, int, int, Header]:
    """Return a picture upright in RGB, its format, mode, EXIF orientation, frames and header."""
    if not data:
        raise UnreadableImageError(EMPTY)
    if sniff(data[:64]) is None:
        raise UnreadableImageError(f"not a picture ({_describe(data)})")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size)
            format_, mode = image.format or "", image.mode
            orientation = _orientation(image)
            frames = int(getattr(image, "n_frames", 1))
            header = read_header(image)
            image.load()
            _check_size(image.size)  # Pillow's own check has been bypassed before
            ImageOps.exif_transpose(image, in_place=True)
            upright = rgb_image(image, background=background)
            return upright, format_, mode, orientation, frames, header
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"more than {MAX_PIXELS // 10**6} million pixels") from None
    except Exception as error:  # noqa: BLE001 (Pillow raises six types on damaged files)
        raise UnreadableImageError(_plain(error)) from None


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; files with other values are shown as they are."""
    given = image.getexif().get(0x0112)
    return given if isinstance(given, int) and 1 <= given <= 8 else 1


def rgb_image(image: Image.Image, *, background: tuple[int, int, int] = BACKGROUND) -> Image.Image:
    """Turn a loaded Pillow image of any mode into one of 8 bits RGB.

    Raises:
        UnreadableImageError: fully transparent, or values that are not finite.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_grey_pixels(np.asarray(image)))
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
    _check_size((array.shape[1], array.shape[0]))
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


def pixel_hash(pixels: Pixels) -> str:
    """Return the SHA-256 of decoded pixels and their shape: equal only for equal pictures."""
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{width}x{height} RGB\n".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def perceptual_hash(picture: Image.Image | Pixels) -> int:
    """Return a 63-bit hash that survives re-encoding, resizing and changes of tone.

    The signs of the 63 lowest frequencies of the cosine transform of a 32 x 32 grey thumbnail,
    without the mean (after C. Zauner, "Implementation and benchmarking of perceptual image hash
    functions", 2010, with the sign in place of the median: so a mirrored picture's hash is known
    without looking at it, see `mirrored_hash`).
    """
    # Made small before it is made grey, which is much the cheaper order for large pictures.
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    small = image.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BOX)
    grey = np.asarray(small.convert("L"), dtype=np.float64)
    low = fft.dctn(grey)[:8, :8].ravel()[1:]
    bits = np.concatenate([[False], low > 0])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


# A mirror changes the sign of each odd horizontal frequency.
_MIRRORED_BITS = 0x5555_5555_5555_5555


def mirrored_hash(phash: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the perceptual hashes that the mirrored pictures have."""
    return phash ^ np.uint64(_MIRRORED_BITS)


def sniff(head: bytes) -> str | None:
    """Name the format that a file's first 64 bytes announce, or None if it is none of `FORMATS`."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"mif1", b"msf1", b"miaf"):
        return "AVIF"
    if head.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "JPEG2000"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    return None


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Keep other code's Pillow switches from changing what is read; restores them afterwards.

    With `LOAD_TRUNCATED_IMAGES` on, half a picture comes out grey and without a word. Pillow's
    warnings (odd EXIF data) are silenced: what matters is in the facts or is an error.
    """
    truncated, limit = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        Image.MAX_IMAGE_PIXELS = 2 * MAX_PIXELS
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = truncated, limit


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(
            f"{width} x {height} pixels, at most {MAX_PIXELS // 10**6} million are read"
        )


def _grey_pixels(values: npt.NDArray[Any]) -> Pixels:
    grey = values.astype(np.float64) / 257 if values.dtype.itemsize == 2 else _eight_bits(values)
    eight = np.rint(grey).astype(np.uint8)
    return np.repeat(eight[:, :, None], 3, axis=2)


def _eight_bits(values: npt.NDArray[Any]) -> Pixels:
    """Scale numbers of any range to 0-255."""
    wide = values.astype(np.float64)
    low, high = float(wide.min()), float(wide.max())
    if not np.isfinite(wide).all() or not np.isfinite(high - low):
        raise UnreadableImageError("holds values that are not finite, or too large to be scaled")
    values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype.kind == "f" and low >= 0 and high <= OVERSHOOT:
        # Resampling takes pictures of range 0 to 1 a little above it; their own peak is then white.
        scaled = wide * (255 / max(high, 1.0))
    elif values.dtype == np.uint16 or (low >= 0 and 255 < high <= 65535):
        scaled = wide / 257
    elif low >= 0 and high <= 255:
        scaled = wide
    else:
        scaled = (wide - low) * (255 / (high - low)) if high > low else np.zeros_like(wide)
    return np.asarray(np.rint(scaled), dtype=np.uint8)


def _plain(error: Exception) -> str:
    """Say in one short line what a library's exception means, without paths or addresses."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = str(error).split("\n", 1)[0].strip()
    if "cannot identify" in first or not first:
        return "damaged: the picture's header cannot be read"
    return f"damaged: {first[:120]}"


def _describe(data: bytes) -> str:
    """Guess in a word or two what a file that is no picture holds."""
    try:
        text = data[:512].decode("utf-8").lstrip().lower()
    except UnicodeDecodeError:
        return "unknown content"
    if text.startswith(("<!doctype html", "<html")):
        return "a web page"
    if text.startswith("version https://git-lfs"):
        return "a Git LFS pointer"
    return "text" if text.isprintable() or "\n" in text else "unknown content"
