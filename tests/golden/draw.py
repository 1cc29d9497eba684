"""Write small pictures in every format, mode and turn, with the pixels that they have.

    python tests/golden/draw.py tests/golden/pictures.tar.xz

What encoders write may differ from version to version, so their files are kept, not made again.
`tests/test_golden.py` decodes each one.
"""

import io
import json
import sys
import tarfile
from base64 import b64encode
from pathlib import Path

import numpy as np
from PIL import Image

from embedkit.images import decode

WIDTH, HEIGHT = 12, 8
TURNS = range(1, 9)
ORIENTATION = 0x0112
LOSSY = ("jpeg", "webp-lossy", "avif", "jp2-lossy")  # as their names begin


def drawn() -> Image.Image:
    """Return a picture that looks otherwise in each turn: smooth, with a dark corner."""
    x, y = np.meshgrid(np.linspace(20, 230, WIDTH), np.linspace(30, 210, HEIGHT))
    pixels = np.stack([x, y, 255 - x], axis=2).astype(np.uint8)
    pixels[:3, :4] = (10, 40, 15)
    return Image.fromarray(pixels)


def files() -> dict[str, bytes]:
    """Return the pictures' files by name."""
    made: dict[str, bytes] = {}

    def add(name: str, image: Image.Image, kind: str, **options: object) -> None:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        made[name] = stream.getvalue()

    rgb = drawn()
    grey, rgba = rgb.convert("L"), rgb.convert("RGBA")
    rgba.putalpha(Image.fromarray(np.linspace(0, 255, 96).reshape(8, 12).astype(np.uint8)))
    values = np.asarray(grey).astype(np.float64)
    deep = Image.fromarray((values * 250).astype(np.uint16))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        image = rgba if mode in ("RGBA", "LA") else rgb
        add(f"png-{mode}", image.convert(mode), "PNG")
        add(f"tiff-{mode}", image.convert(mode), "TIFF")
    add("png-16 bits", deep, "PNG")
    add("png-one colour clear", rgb.quantize(8), "PNG", transparency=0)
    add("tiff-16 bits", deep, "TIFF")
    add("tiff-32 bits", Image.fromarray((values * 1000 - 50_000).astype(np.int32)), "TIFF")
    add("tiff-float", Image.fromarray((values / 255).astype(np.float32)), "TIFF")
    add("tiff-CMYK", rgb.convert("CMYK"), "TIFF")
    for packing in ("tiff_lzw", "packbits", "tiff_adobe_deflate"):
        add(f"tiff-{packing}", rgb, "TIFF", compression=packing)
    for mode in ("L", "RGB", "CMYK"):
        add(f"jpeg-{mode}", rgb.convert(mode), "JPEG", quality=90)
    for sampling in (0, 1, 2):
        add(f"jpeg-sampling {sampling}", rgb, "JPEG", quality=90, subsampling=sampling)
    add("jpeg-progressive", rgb, "JPEG", quality=90, progressive=True)
    add("webp-lossless", rgb, "WEBP", lossless=True)
    add("webp-lossless alpha", rgba, "WEBP", lossless=True, exact=True)
    add("webp-lossy", rgb, "WEBP", quality=90)
    add("gif-P", rgb.quantize(32), "GIF")
    add("gif-two frames", rgb.quantize(32), "GIF", save_all=True, append_images=[grey])
    for mode in ("1", "L", "P", "RGB"):
        add(f"bmp-{mode}", rgb.convert(mode), "BMP")
    for mode in ("1", "L", "RGB"):
        add(f"ppm-{mode}", rgb.convert(mode), "PPM")
    add("avif", rgb, "AVIF", quality=90)
    add("jp2-lossless", rgb, "JPEG2000")
    add("jp2-lossy", rgb, "JPEG2000", quality_mode="rates", quality_layers=[4])
    for turn in TURNS:
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        add(f"png-turn {turn}", rgb, "PNG", exif=exif)
        add(f"jpeg-turn {turn}", rgb, "JPEG", quality=90, exif=exif)
        add(f"tiff-turn {turn}", rgb, "TIFF", exif=exif)
        add(f"webp-lossless turn {turn}", rgb, "WEBP", lossless=True, exif=exif)
    return made


def main() -> None:
    """Write the archive."""
    made = files()
    told = {}
    for name, data in made.items():
        picture = decode(data)
        told[name] = {
            "pixel_sha256": picture.facts.pixel_sha256,
            "size": [picture.facts.width, picture.facts.height],
            "exact": not name.startswith(LOSSY),
            "pixels": b64encode(picture.pixels.tobytes()).decode(),
        }
    made["told.json"] = json.dumps(told, indent=1).encode()
    with tarfile.open(Path(sys.argv[1]), "w:xz") as packed:
        for name, data in sorted(made.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main()
