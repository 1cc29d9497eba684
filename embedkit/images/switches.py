"""Pillow's switches, which are the whole process's and may have been turned by other code."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from PIL import Image, ImageFile

from embedkit.images.limits import MAX_PIXELS

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
