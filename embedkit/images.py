"""Pictures: the one place that opens an image file, with every limit and rule for its pixels.

Rules, the same on every path that pixels take into embedkit:

- Only regular files of at most `MAX_BYTES` and `MAX_PIXELS` are decoded, by Pillow, by content
  and not by suffix. The hash and the pixels come from the same bytes.
- Pictures come out upright (EXIF orientation applied) as RGB, 8 bits a channel.
- 16-bit grey is divided by 257; 32-bit integers and floats are taken as 0-255, 0-65535 or 0-1 by
  the range that holds them, else stretched from their minimum to their maximum.
- Transparency is composed over white. Of an animation the first frame is taken.
- What a decoder in C could hang, crash or grow on is decoded by a process that can be killed; see
  `embedkit.decoders`.

A reason why there are no pixels is a few constant words, which can be counted, and in brackets or
after a colon what they were found by.
"""

import errno
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin
from scipy import fft

from embedkit.decoders import DIED, TOO_MUCH, Decoders, Message, serve
from embedkit.errors import EmbedkitError, InputError, SourceGoneError, UnreadableImageError
from embedkit.files import sha256
from embedkit.nuisance import Header, read_header
from embedkit.remote import is_url, read_url, url_of
from embedkit.shards import read_member, shard_above
from embedkit.trust import check_url
from embedkit.vectors import Pixels
from embedkit.workers import Room, machine_memory

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
MOST_FRAMES = 10_000
OVERSHOOT = 2.0
# What a share says whose server is away; a bad sector (EIO) may be one picture's alone.
GONE = frozenset(
    getattr(errno, name)
    for name in ("ENOTCONN", "ESTALE", "ESHUTDOWN", "EHOSTDOWN", "EHOSTUNREACH", "ETIMEDOUT")
)
EMPTY = "empty file (0 bytes)"
TOO_MANY = "too many pixels"
CHANGED = "changed while it was being read"
# What may be otherwise the next time, of the same file: on another machine, or with other limits.
PASSING = (TOO_MANY, TOO_MUCH, DIED, CHANGED)
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
# What goes to a process that can be killed: the formats whose libraries were seen to take seconds
# and gigabytes over a few damaged kilobytes, and of the others what could take seconds if it were
# made for that. A JPEG can have ten thousand scans, and each is a pass over all pixels.
OUTSIDE = ("TIFF", "AVIF", "JPEG2000")
INSIDE_BYTES = 8 * 2**20
INSIDE_PIXELS = 100_000_000  # times scans
STRIP = 2**20  # numbers that are scaled at once
# Pixels that are decoded side by side: half of the memory, where one takes 17 bytes at the most,
# with transparency.
ROOM = Room(machine_memory() // 2 // 20)


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


def check_max_pixels(most: int | None) -> None:
    """Refuse a limit that is none.

    Raises:
        InputError: with what is allowed.
    """
    if most is not None and not 1 <= most <= MAX_PIXELS:
        raise InputError(f"--max-pixels is {most}; from 1 to {MAX_PIXELS} are allowed")


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
        try:
            check_url(url_of(path))
        except InputError as error:
            raise UnreadableImageError(str(error)) from None
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
                f"too large ({status.st_size / 2**20:.0f} MiB, at most "
                f"{MAX_BYTES // 2**20} are read)"
            )
        with open(descriptor, "rb", closefd=False) as stream:
            data = stream.read(MAX_BYTES + 1)
        after = os.fstat(descriptor)
        same = (after.st_size, after.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
        if len(data) != status.st_size or not same:
            raise UnreadableImageError(CHANGED)
        return data
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
        raise UnreadableImageError(f"too large (at most {MAX_BYTES // 2**20} MiB are read)")
    return data


def decode(
    data: bytes,
    *,
    background: tuple[int, int, int] = BACKGROUND,
    max_pixels: int | None = None,
) -> Picture:
    """Decode a picture by the rules of this module.

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


@dataclass(frozen=True, slots=True)
class _Said:
    """What a file says of its picture: as `Facts`, and the picture as Pillow has it, if it does."""

    format: str
    mode: str
    orientation: int
    frames: int
    header: Header
    image: Image.Image | None = None


class _TooMuchHereError(Exception):
    """What is asked for could take seconds, in which nobody could stop it."""


def _decoded(data: bytes, background: tuple[int, int, int], most: int) -> tuple[Pixels, _Said]:
    """Return a picture upright in RGB, and what its file says of it."""
    if not data:
        raise UnreadableImageError(EMPTY)
    kind = sniff(data[:64])
    if kind is None:
        raise UnreadableImageError(f"not a picture ({_describe(data)})")
    if kind not in OUTSIDE and len(data) <= INSIDE_BYTES:
        with suppress(_TooMuchHereError):
            said = _opened(data, background, most, INSIDE_PIXELS)
            return np.asarray(said.image), said
    answer, raw = DECODERS.ask({"background": background, "most": most}, data)
    if "reason" in answer:
        raise UnreadableImageError(answer["reason"])
    pixels = np.frombuffer(raw, np.uint8).reshape(answer["height"], answer["width"], 3)
    said = _Said(**answer["said"] | {"header": Header(**answer["said"]["header"])})
    return pixels, said


def _answer(question: dict[str, Any], data: bytes) -> Message:
    """Decode in a process of its own."""
    try:
        with strict_pillow():
            said = _opened(data, tuple(question["background"]), question["most"], None)
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


DECODERS = Decoders("embedkit.images", "serve_decoded")


def _opened(data: bytes, background: tuple[int, int, int], most: int, work: int | None) -> _Said:
    """Decode a picture in this process.

    Args:
        data: of a file of one of `FORMATS`.
        background: see `decode`.
        most: pixels.
        work: pixels times scans that are decoded, None for any number.

    Raises:
        UnreadableImageError: with the reason.
        MemoryError: it takes more than there is.
        _TooMuchHereError: see `work`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, most)
            if work is not None and image.width * image.height * _scans(image, data) > work:
                raise _TooMuchHereError
            format_, mode = image.format or "", image.mode
            orientation = _orientation(image)
            frames = _frames(image, data)
            header = read_header(image)
            with ROOM.taken(image.width * image.height):
                image.load()
                _check_size(image.size, most)  # Pillow's own check has been bypassed before
                ImageOps.exif_transpose(image, in_place=True)
                upright = rgb_image(image, background=background)
            return _Said(format_, mode, orientation, frames, header, upright)
    except (UnreadableImageError, _TooMuchHereError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"{TOO_MANY} (at most {_million(most)} are read)") from None
    except Exception as error:  # noqa: BLE001 (Pillow raises six types on damaged files)
        raise UnreadableImageError(_plain(error)) from None


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


def rgb_image(image: Image.Image, *, background: tuple[int, int, int] = BACKGROUND) -> Image.Image:
    """Turn a loaded Pillow image of any mode into one of 8 bits RGB.

    Raises:
        UnreadableImageError: fully transparent, or values that are not finite.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _grey_pixels(np.asarray(image))
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
    _check_size((array.shape[1], array.shape[0]), MAX_PIXELS)
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


_strict_lock = Lock()
_strict = ExitStack()
_inside_strict = 0


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Keep other code's Pillow switches from changing what is read; restores them afterwards.

    With `LOAD_TRUNCATED_IMAGES` on, half a picture comes out grey and without a word. Pillow's
    warnings (odd EXIF data) are silenced: what matters is in the facts or is an error. The
    switches are the whole process's: several threads may be inside, and the last puts them back.
    """
    global _inside_strict
    with _strict_lock:
        if not _inside_strict:
            _strict.enter_context(_strict_switches())
        _inside_strict += 1
    try:
        yield
    finally:
        with _strict_lock:
            _inside_strict -= 1
            if not _inside_strict:
                _strict.close()


@contextmanager
def _strict_switches() -> Iterator[None]:
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


def _check_size(size: tuple[int, int], most: int) -> None:
    width, height = size
    if width * height > most:
        raise UnreadableImageError(
            f"{TOO_MANY} ({width} x {height}, at most {_million(most)} are read)"
        )


def _million(pixels: int) -> str:
    return f"{pixels / 10**6:g} million"


def _grey_pixels(values: npt.NDArray[Any]) -> Image.Image:
    grey = _scaled(values, lambda x: x / 257) if values.dtype.itemsize == 2 else _eight_bits(values)
    return Image.fromarray(grey).convert("RGB")


def _eight_bits(values: npt.NDArray[Any]) -> Pixels:
    """Scale numbers of any range to 0-255."""
    low, high = float(values.min()), float(values.max())  # not finite if any number is not
    if not np.isfinite([low, high, high - low]).all():
        raise UnreadableImageError("holds values that are not finite, or too large to be scaled")
    if values.dtype.kind == "f" and low >= 0 and high <= OVERSHOOT:
        # Resampling takes pictures of range 0 to 1 a little above it; their own peak is then white.
        return _scaled(values, lambda x: x * (255 / max(high, 1.0)))
    if values.dtype.newbyteorder("=") == np.uint16 or (low >= 0 and 255 < high <= 65535):
        return _scaled(values, lambda x: x / 257)
    if low >= 0 and high <= 255:
        return _scaled(values, lambda x: x)
    if high > low:
        return _scaled(values, lambda x: (x - low) * (255 / (high - low)))
    return np.zeros(values.shape, np.uint8)


def _scaled(
    values: npt.NDArray[Any], scale: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
) -> Pixels:
    """Scale numbers, a strip at a time: all at once they would take 30 bytes a pixel."""
    made = np.empty(values.shape, np.uint8)
    rows = max(1, STRIP * len(values) // values.size)
    for start in range(0, len(values), rows):
        strip = values[start : start + rows].astype(np.float64)
        made[start : start + rows] = np.rint(scale(strip))
    return made


def unprepared(error: Exception) -> str:
    """Say why a picture that was decoded has no place before a network, in one short line."""
    first = str(error).split("\n", 1)[0].strip()
    if isinstance(error, MemoryError) or "can't allocate memory" in first:
        return TOO_MUCH
    return f"cannot be prepared ({type(error).__name__}: {first[:120]})"


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
