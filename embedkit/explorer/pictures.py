"""Pictures for the page: those of the store only, as they were embedded, re-encoded."""

import io
import os
import threading
from functools import lru_cache
from pathlib import Path, PurePosixPath

from embedkit.errors import UnreadableImageError
from embedkit.explorer.states import State
from embedkit.files import sha256
from embedkit.images import decode_pixels, read_bytes
from embedkit.items import path_of_id
from embedkit.reports.pictures import Box, mosaic, thumbnail

SMALL, LARGE = 160, 1024
KEPT = 2000  # small pictures in memory, some 8 kB each
# Each may take 64 million pixels of memory while it is decoded.
_DECODING = threading.BoundedSemaphore(2)


def picture(state: State, row: int, side: int) -> bytes:
    """Return one picture of the store as JPEG without its metadata.

    Args:
        state: with the store.
        row: of the picture.
        side: most pixels of its longer side: `SMALL` or `LARGE`.

    Raises:
        UnreadableImageError: it is gone, damaged, or not the picture that was embedded.
    """
    path = state.store.items.path(state.ids[row])
    relative = PurePosixPath(os.path.normpath(path_of_id(state.ids[row])))
    if relative.is_absolute() or ".." in relative.parts:
        raise UnreadableImageError("lies outside the folder of the data set")
    make = _small if side == SMALL else _encoded
    blur = state.blur_faces
    face = state.pictures.only_face(state.ids[row]) if blur else None
    return make(str(path), state.hashes[row], side, blur, face)


def _encoded(path: str, expected: str, side: int, blur: bool, face: Box | None) -> bytes:
    with _DECODING:
        data = read_bytes(Path(path))
        # Whatever has taken a picture's place since, a link to elsewhere say, is none of ours.
        if sha256(data) != expected:
            raise UnreadableImageError("has changed since it was embedded")
        pixels = decode_pixels(data)
        image = thumbnail(mosaic(pixels, face) if blur else pixels, side)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


_small = lru_cache(KEPT)(_encoded)
