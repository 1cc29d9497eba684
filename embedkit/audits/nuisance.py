"""Nuisance columns: what can be read off a file without looking at its subject."""

from dataclasses import dataclass

from embedkit.vectors import DoubleArray

# From what a copy of the file would keep to what only another photograph changes.
SETS = ("header", "geometry", "colour", "border", "thumbnail")


@dataclass(frozen=True, slots=True)
class Column:
    """One nuisance of every image.

    Attributes:
        name: in words, such as "JPEG quality".
        set: one of `SETS`.
        values: (n,) numbers, NaN where the image has none; or (n,) words, None likewise.
    """

    name: str
    set: str
    values: DoubleArray | tuple[str | None, ...]
