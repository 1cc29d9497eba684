"""Makes: the size and the JPEG tables that the files of a class usually have."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from embedkit.audits.changes import jpeg_of
from embedkit.audits.pictures import read_again
from embedkit.errors import InputError, UnreadableImageError
from embedkit.images import Encoding, encoding
from embedkit.pipeline.seen import Sight
from embedkit.store import Store
from embedkit.vectors import IntArray, Pixels


@dataclass(frozen=True, slots=True)
class Make:
    """How the pictures of a class are usually made.

    Attributes:
        width: median, in pixels.
        height: median, in pixels.
        tables: hash of the commonest quantisation tables; empty where most files are no JPEG.
        quality: that they are nearest to; 0 without.
        encoding: those tables.
    """

    width: int
    height: int
    tables: str
    quality: int
    encoding: Encoding | None

    @property
    def words(self) -> str:
        """Say it."""
        file = f"JPEG of quality {self.quality}" if self.encoding else "no JPEG"
        return f"{file}, {self.width} x {self.height} pixels"

    def same_as(self, other: "Make") -> bool:
        """Say whether a picture made in one way could as well have been made in the other."""
        mine, theirs = ((one.width, one.height, one.tables) for one in (self, other))
        return mine == theirs

    def change(self, sight: Sight) -> Pixels:
        """Make a picture so."""
        image = Image.fromarray(sight.pixels)
        resized = np.asarray(image.resize((self.width, self.height), Image.Resampling.BICUBIC))
        return resized if self.encoding is None else jpeg_of(resized, self.encoding)


def make_of(store: Store, rows: IntArray) -> Make:
    """Return how pictures are usually made.

    Args:
        store: that has them.
        rows: of the pictures.

    Raises:
        InputError: the picture whose tables are to be read is gone or has changed.
    """
    nuisance = store.items.column("nuisance")
    wide, high = (store.items.column(name) for name in ("width", "height"))
    width, height = (round(float(np.median([side[row] for row in rows]))) for side in (wide, high))
    tables = [_read(nuisance[row], "jpeg_tables") or "" for row in rows]
    commonest = max(Counter(tables).items(), key=lambda one: (one[1], one[0]))[0]
    if not commonest:
        return Make(width, height, "", 0, None)
    row = rows[tables.index(commonest)]
    path = store.items.path(store.items.ids[row])
    try:
        found = encoding(read_again(path, store.items.column("sha256")[row]))
    except UnreadableImageError as error:
        raise InputError(f"{path}: {error}") from None
    return Make(width, height, commonest, int(_read(nuisance[row], "jpeg_quality") or 0), found)


def _read(nuisance: object, key: str) -> Any:
    return nuisance[key] if isinstance(nuisance, dict) else None
