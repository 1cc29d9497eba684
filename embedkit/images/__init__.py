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

from embedkit.images.encodings import Encoding, encoding
from embedkit.images.files import read_bytes
from embedkit.images.formats import SUFFIXES, sniff
from embedkit.images.hashes import mirrored_hash, perceptual_hash, pixel_hash
from embedkit.images.limits import (
    CHANGED,
    MAX_BYTES,
    MAX_PIXELS,
    PASSING,
    TOO_MANY,
    check_max_pixels,
    unprepared,
)
from embedkit.images.pictures import Facts, Picture, decode, decode_pixels
from embedkit.images.pixels import array_pixels, rgb_image, shrunk
from embedkit.images.switches import strict_pillow

__all__ = [
    "CHANGED",
    "MAX_BYTES",
    "MAX_PIXELS",
    "PASSING",
    "SUFFIXES",
    "TOO_MANY",
    "Encoding",
    "Facts",
    "Picture",
    "array_pixels",
    "check_max_pixels",
    "decode",
    "decode_pixels",
    "encoding",
    "mirrored_hash",
    "perceptual_hash",
    "pixel_hash",
    "read_bytes",
    "rgb_image",
    "shrunk",
    "sniff",
    "strict_pillow",
    "unprepared",
]
