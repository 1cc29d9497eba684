"""Hashes of decoded pictures: of their very pixels, and of what they look like."""

import hashlib

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import fft

from embedkit.vectors import Pixels

HASH_SIDE = 32
# A mirror changes the sign of each odd horizontal frequency.
_MIRRORED_BITS = 0x5555_5555_5555_5555


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


def mirrored_hash(phash: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the perceptual hashes that the mirrored pictures have."""
    return phash ^ np.uint64(_MIRRORED_BITS)
