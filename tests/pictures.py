"""Files of every kind that a folder of pictures may hold, good and bad, drawn from a seed."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from helpers import saved
from PIL import Image

Generator = np.random.Generator
MAGIC = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "pdf": b"%PDF-1.7\n1 0 obj\n",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "psd": b"8BPS\0\1" + bytes(6),
    "wmf": b"\xd7\xcd\xc6\x9a\0\0",
    "emf": b"\1\0\0\0" + bytes(36) + b" EMF",
    "fits": b"SIMPLE  =                    T",
    "ico": b"\0\0\1\0\1\0",
    "icns": b"icns\0\0\1\0",
    "dds": b"DDS \x7c\0\0\0",
    "zip": b"PK\3\4",
    "gzip": b"\x1f\x8b\x08\0",
    "mp4": b"\0\0\0\x18ftypisom",
    "heic": b"\0\0\0\x18ftypheic",
    "pcx": b"\n\5\1\x08",
    "xbm": b"#define x_width 8\n#define x_height 8\nstatic char x_bits[] = {0};",
    "html": b"<!DOCTYPE html><html>Sign in</html>",
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
    "text": b"This is no picture.\n",
}


def drawn(generator: Generator, mode: str = "RGB") -> Image.Image:
    """Return a picture with something in it, of a drawn size."""
    width, height = (int(x) for x in generator.integers(16, 90, 2))
    cells = generator.integers(0, 256, (5, 5, 4), np.uint8)
    cells[:, :, 3] |= 128
    image = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    return image.convert(mode)


def _saved(format_: str, mode: str = "RGB", **options) -> Callable[[Generator], bytes]:
    return lambda generator: saved(drawn(generator, mode), format_, **options)


def _numbers(kind: str, format_: str = "TIFF") -> Callable[[Generator], bytes]:
    def made(generator: Generator) -> bytes:
        grey = np.asarray(drawn(generator, "L")).astype(np.float64)
        return saved(Image.fromarray((grey * (256 if kind == "u2" else 3)).astype(kind)), format_)

    return made


def _turned(generator: Generator) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = int(generator.integers(0, 12))
    exif[0x010F] = "Maker" * int(generator.integers(1, 40))
    return saved(drawn(generator), "JPEG", exif=exif)


def _odd_exif(generator: Generator) -> bytes:
    return saved(drawn(generator), "JPEG", exif=b"Exif\0\0II*\0" + generator.bytes(60))


def _several(format_: str) -> Callable[[Generator], bytes]:
    def made(generator: Generator) -> bytes:
        first = drawn(generator)
        others = [first.rotate(90 * turn) for turn in (1, 2, 3)]
        return saved(first, format_, save_all=True, append_images=others)

    return made


def _strip(generator: Generator) -> bytes:
    long = int(generator.integers(2_000, 60_000))
    size = (long, 1) if generator.random() < 0.5 else (1, long)
    return saved(Image.new("RGB", size, (9, 99, 199)), "PNG")


def _text_pixels(generator: Generator) -> bytes:
    numbers = " ".join(map(str, generator.integers(0, 256, 8 * 8 * 3)))
    return f"P3\n# made by hand\n8 8\n255\n{numbers}\n".encode()


def _cut(format_: str) -> Callable[[Generator], bytes]:
    def made(generator: Generator) -> bytes:
        size = int(generator.integers(60, 120))
        image = Image.fromarray(generator.integers(0, 256, (size, size, 3), np.uint8))
        data = saved(image, format_)
        return data[: int(len(data) * generator.uniform(0.1, 0.8))]

    return made


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    check = zlib.crc32(kind + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + kind + body + check


def png(width: int, height: int, *chunks: bytes, depth: int = 1, colour: int = 0) -> bytes:
    """Return a PNG file with these chunks between its header and its end."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    begin = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return begin + b"".join(chunks) + chunk(b"IEND", b"")


def _large_png(generator: Generator) -> bytes:
    side = int(generator.integers(9_000, 2**31))
    return png(side, side, chunk(b"IDAT", zlib.compress(bytes(10_000))))


def _bomb_of_text(generator: Generator) -> bytes:
    bomb = zlib.compress(bytes(int(generator.integers(5, 9)) * 2**20))
    body = chunk(b"IDAT", zlib.compress(bytes(2 * 8)))
    return png(8, 8, chunk(b"zTXt", b"k\0\0" + bomb), body)


def _large_jpeg(generator: Generator) -> bytes:
    data = bytearray(saved(drawn(generator), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", *generator.integers(12_000, 65_000, 2))
    return bytes(data)


def _large_gif(generator: Generator) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + generator.bytes(40)


def directories(n: int) -> bytes:
    """Return a TIFF file of one pixel and so many directories, each of which names the next."""
    tags = ((256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 0), (278, 1), (279, 1))
    size = 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + b"".join(
        struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", 8 + size * (at + 1) if at < n - 1 else 0)
        for at in range(n)
    )


def _not_a_number(generator: Generator) -> bytes:
    values = generator.random((9, 9)).astype(np.float32)
    values[tuple(generator.integers(0, 9, 2))] = generator.choice([np.nan, np.inf, -np.inf])
    return saved(Image.fromarray(values), "TIFF")


def _transparent(generator: Generator) -> bytes:
    image = drawn(generator, "RGBA")
    image.putalpha(0)
    return saved(image, "PNG")


def _announced(magic: bytes) -> Callable[[Generator], bytes]:
    """Return what makes a file that says what it is and goes on as anything."""
    text = magic.isascii() and b"\0" not in magic
    return lambda generator: (
        magic + (str(generator.random()).encode() if text else generator.bytes(200))
    )


# What each kind must become: True for pixels, False for a reason, None for either.
KINDS: dict[str, tuple[Callable[[Generator], bytes], bool | None]] = {
    "jpeg": (_saved("JPEG"), True),
    "jpeg-progressive": (_saved("JPEG", progressive=True), True),
    "jpeg-grey": (_saved("JPEG", "L"), True),
    "jpeg-cmyk": (_saved("JPEG", "CMYK"), True),
    "jpeg-turned": (_turned, True),
    "jpeg-odd-exif": (_odd_exif, True),
    "jpeg-no-end": (lambda generator: _saved("JPEG")(generator)[:-2], None),
    "jpeg-odd-profile": (_saved("JPEG", icc_profile=b"no profile" * 20), True),
    "mpo": (_several("MPO"), True),
    "png": (_saved("PNG"), True),
    "png-alpha": (_saved("PNG", "RGBA"), True),
    "png-grey-alpha": (_saved("PNG", "LA"), True),
    "png-palette": (_saved("PNG", "P", transparency=0), True),
    "png-one-bit": (_saved("PNG", "1"), True),
    "png-sixteen": (_numbers("u2", "PNG"), True),
    "png-animated": (_several("PNG"), True),
    "png-strip": (_strip, True),
    "webp": (_saved("WEBP"), True),
    "webp-lossless": (_saved("WEBP", "RGBA", lossless=True), True),
    "webp-animated": (_several("WEBP"), True),
    "gif": (_saved("GIF"), True),
    "gif-animated": (_several("GIF"), True),
    "bmp": (_saved("BMP"), True),
    "bmp-grey": (_saved("BMP", "L"), True),
    "tiff": (_saved("TIFF"), True),
    "tiff-lzw": (_saved("TIFF", compression="tiff_lzw"), True),
    "tiff-jpeg": (_saved("TIFF", compression="jpeg"), True),
    "tiff-cmyk": (_saved("TIFF", "CMYK"), True),
    "tiff-lab": (_saved("TIFF", "LAB"), True),
    "tiff-sixteen": (_numbers("u2"), True),
    "tiff-int": (_numbers("i4"), True),
    "tiff-float": (_numbers("f4"), True),
    "tiff-pages": (_several("TIFF"), True),
    "avif": (_saved("AVIF", speed=10), True),
    "jp2": (_saved("JPEG2000"), True),
    "ppm": (_saved("PPM"), True),
    "ppm-text": (_text_pixels, True),
    "one-pixel": (lambda g: saved(drawn(g).resize((1, 1)), "PNG"), True),
    "empty": (lambda _: b"", False),
    "noise": (lambda generator: b"\xfe" + generator.bytes(500), False),
    "transparent": (_transparent, False),
    "not-a-number": (_not_a_number, False),
    "large-png": (_large_png, False),
    "large-jpeg": (_large_jpeg, False),
    "large-gif": (_large_gif, False),
    "bomb-of-text": (_bomb_of_text, False),
    "directories": (lambda generator: directories(int(generator.integers(10_001, 30_000))), False),
    **{f"cut-{f.lower()}": (_cut(f), False) for f in ("JPEG", "PNG", "WEBP", "TIFF", "BMP")},
    **{f"cut-{f.lower()}": (_cut(f), False) for f in ("GIF", "AVIF", "JPEG2000")},
    **{name: (_announced(magic), False) for name, magic in MAGIC.items()},
}
FUZZED = ("jpeg", "jpeg-progressive", "jpeg-turned", "png", "png-palette", "png-sixteen", "webp",
          "webp-lossless", "gif", "gif-animated", "bmp", "bmp-grey", "tiff", "tiff-lzw",
          "tiff-float", "tiff-jpeg")  # fmt: skip


def made(kind: str, number: int) -> bytes:
    """Return the file of a kind that a number stands for."""
    return KINDS[kind][0](np.random.default_rng([number, *kind.encode()]))


def mutated(data: bytes, generator: Generator) -> bytes:
    """Change one to five things in a file, more often near its begin, where lengths are."""
    changed = bytearray(data)
    for _ in range(int(generator.integers(1, 6))):
        near = min(len(changed), 400) if generator.random() < 0.6 else len(changed)
        place = int(generator.integers(near))
        match generator.integers(5):
            case 0:
                changed[place] ^= 1 << int(generator.integers(8))
            case 1:
                changed[place] = int(generator.choice([0, 1, 127, 128, 255]))
            case 2:
                changed[place : place + 8] = generator.bytes(8)
            case 3:
                del changed[place : place + int(generator.integers(1, 9))]
            case 4 if generator.random() < 0.2:
                del changed[max(1, place) :]
        changed = changed or bytearray(b"x")
    return bytes(changed)
