"""How the pictures that a head was trained on frame their faces, so that others are cut the same.

A head that was trained on photographs, or on loose crops, has never seen a detector's tight box
(`docs/video.md`).
"""

from dataclasses import dataclass

import numpy as np

from embedkit.backbones.faces import Face, face_finder
from embedkit.errors import EmbedkitError, UnreadableImageError
from embedkit.heads.head import Training
from embedkit.inputs import read_input
from embedkit.vectors import Pixels

SAMPLE = 24  # training pictures that are searched


@dataclass(frozen=True, slots=True)
class Framing:
    """How far a picture reaches beyond the box of its face.

    Attributes:
        left: in widths of the box; below 0 where the box reaches beyond the picture.
        top: in heights of the box.
        right: in widths.
        bottom: in heights.
    """

    left: float
    top: float
    right: float
    bottom: float

    def cut(self, pixels: Pixels, face: Face) -> Pixels:
        """Return a face framed so, as far as the picture reaches: (h', w', 3) uint8."""
        left, top, right, bottom = face.box
        wide, high = right - left, bottom - top
        height, width = pixels.shape[:2]
        x, y = int(max(left - self.left * wide, 0)), int(max(top - self.top * high, 0))
        end = int(min(right + self.right * wide, width))
        low = int(min(bottom + self.bottom * high, height))
        return pixels[y : max(low, y + 1), x : max(end, x + 1)]


def framing_of(training: Training) -> Framing | None:
    """Return how the pictures of a head's store usually frame their largest face.

    Medians over `SAMPLE` of them, evenly spread over the store.

    Returns:
        None where the store or its pictures are not there, or fewer than half of them have a face
        that is found.
    """
    try:
        items = training.opened.items
    except EmbedkitError:
        return None
    found = []
    ids = items.ids[:: max(1, len(items) // SAMPLE)][:SAMPLE]
    for id_ in ids:
        try:
            pixels = read_input(items.path(id_))
        except UnreadableImageError:
            continue
        faces = face_finder().find(pixels)
        if faces:
            found.append(_around(faces[0], *pixels.shape[:2]))
    if 2 * len(found) < len(ids) or not found:
        return None
    left, top, right, bottom = (float(side) for side in np.median(np.array(found), axis=0))
    return Framing(left, top, right, bottom)


def _around(face: Face, height: int, width: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = face.box
    wide, high = right - left, bottom - top
    return left / wide, top / high, (width - right) / wide, (height - bottom) / high
