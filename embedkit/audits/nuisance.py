"""Nuisance columns: what can be read off a file without looking at its subject."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from embedkit.items import ItemTable
from embedkit.nuisance import THUMBNAIL
from embedkit.vectors import DoubleArray

# From what a copy of the file would keep to what only another photograph changes.
SETS = ("header", "geometry", "colour", "border", "thumbnail")
SHORTEST = 3  # letters of a label that a file name is cleared of inside a word too
TOKENS = 20  # words of file names, the most frequent ones
EVEN = 8.0  # of 255: spread of the outermost pixels of a border of one colour
SHADE = 32  # of 255: colours of such borders that are no farther apart count as one
_WORDS = {
    "JPEG tables": "jpeg_tables",
    "chroma subsampling": "subsampling",
    "progressive JPEG": "progressive",
    "EXIF data": "exif",
    "camera": "camera",
    "software": "software",
    "colour profile": "profile",
}
_COLOUR = {
    "brightness": "brightness",
    "contrast": "contrast",
    "share of dark pixels": "dark",
    "share of bright pixels": "bright",
    "saturation": "saturation",
    "red cast": "red_cast",
    "blue cast": "blue_cast",
    "sharpness": "sharpness",
    "noise": "noise",
    "JPEG block edges": "blocks",
    "JPEG block edges off the grid": "blocks_elsewhere",
    "mirror symmetry": "symmetry",
}
_SIDES = ("left", "top", "right", "bottom")
_BORDER = {
    **{f"width of the {side} border": f"border_{side}" for side in _SIDES},
    **{f"{name} of the outermost pixels": f"ring_{name}" for name in ("red", "green", "blue")},
    "evenness of the outermost pixels": "ring_spread",
}


_RING = ("ring_red", "ring_green", "ring_blue", "ring_spread")
# What is in a picture makes these differ as well as how it was made: a class may honestly be dark.
OF_SUBJECT = frozenset(
    ("bytes", "bytes per pixel", *_COLOUR, *(name for name in _BORDER if "border" not in name))
)


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


def nuisance_columns(items: ItemTable, *, label: str = "label") -> tuple[Column, ...]:
    """Return the nuisances of a store's images.

    Args:
        items: of the store.
        label: column with the class; a file name that holds it would be no discovery.
    """
    given = {name: items.column(name) for name in ("width", "height", "bytes", "format", "mode")}
    width, height, size = (np.array(given[name], float) for name in ("width", "height", "bytes"))
    read: Any = items.column("nuisance")

    def of(name: str) -> list[Any]:
        return [one[name] for one in read]

    labels = {one for one in items.label_column(label) if one is not None}
    patterns = name_patterns(items.ids, labels)
    pixels = tuple(f"{w} x {h}" for w, h in zip(given["width"], given["height"], strict=True))
    columns = [
        Column("file format", "header", _words(given["format"])),
        Column("colour mode", "header", _words(given["mode"])),
        Column("JPEG quality", "header", _numbers(of("jpeg_quality"))),
        *(Column(name, "header", _words(of(key))) for name, key in _WORDS.items()),
        Column("bytes", "header", size),
        Column("bytes per pixel", "header", size / (width * height)),
        Column("pattern of the file name", "header", patterns),
        *name_tokens(patterns),
        Column("place in its folder", "header", _places(items.ids)),
        Column("size in pixels", "geometry", pixels),
        Column("make of the file", "geometry", _makes(pixels, of("jpeg_tables"), of("software"))),
        Column("width", "geometry", width),
        Column("height", "geometry", height),
        Column("aspect ratio", "geometry", width / height),
        Column("EXIF orientation", "geometry", _numbers(items.column("orientation"))),
        *_faces(items, width, height),
        *(Column(name, "colour", _numbers(of(key))) for name, key in _COLOUR.items()),
        *(Column(name, "border", _numbers(of(key))) for name, key in _BORDER.items()),
        Column("sides with a border", "border", _sides([of(f"border_{one}") for one in _SIDES])),
        Column("colour of an even border", "border", _shades([of(one) for one in _RING])),
    ]
    small = np.array(of("thumbnail"), float).reshape(len(items), -1)
    cells = [
        f"{colour} of the thumbnail, row {row + 1} of {THUMBNAIL}, column {column + 1}"
        for row in range(THUMBNAIL)
        for column in range(THUMBNAIL)
        for colour in ("red", "green", "blue")
    ]
    columns += [Column(n, "thumbnail", v) for n, v in zip(cells, small.T, strict=True)]
    return tuple(columns)


def name_patterns(ids: Sequence[str], labels: set[str]) -> tuple[str, ...]:
    """Return the file names with figures as `#`, and without the words that are labels.

    Folders are left out: that they go with the class is how data sets are laid out.
    """
    found = re.compile(
        "|".join(map(_as_in_names, sorted(labels, key=lambda one: (-len(one), one))))
    )
    made = []
    for id_ in ids:
        stem = PurePosixPath(id_).stem.lower()
        if labels:
            stem = found.sub("label", stem)
        made.append(re.sub(r"\d+", "#", stem))
    return tuple(made)


def _as_in_names(label: str) -> str:
    """Return what finds a label in a file name; a short one only where it is a word by itself."""
    words = [re.escape(one) for one in re.split(r"[\W_]+", label.lower()) if one]
    text = r"[\W_]*".join(words) or re.escape(label.lower())
    alone = len(label) < SHORTEST
    return rf"(?<![^\W\d_]){text}(?![^\W\d_])" if alone else text


def name_tokens(patterns: Sequence[str]) -> list[Column]:
    """Return whether a file name has a word, for the most frequent ones that some names have."""
    words = [set(re.findall(r"[^\W\d_]{2,}", one)) - {"label"} for one in patterns]
    counts = Counter(word for some in words for word in some)
    common = [word for word, n in counts.items() if n < len(patterns)]
    common.sort(key=lambda word: (-counts[word], word))
    return [
        Column(
            f"{word!r} in the file name",
            "header",
            tuple("yes" if word in some else "no" for some in words),
        )
        for word in common[:TOKENS]
    ]


def _makes(
    pixels: Sequence[str], tables: Sequence[str | None], software: Sequence[str | None]
) -> tuple[str, ...]:
    """Return size, JPEG tables and program of each file as one word."""
    parts = zip(pixels, tables, software, strict=True)
    return tuple(", ".join(one for one in some if one is not None) for some in parts)


def _sides(widths: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """Return which sides of a picture have a border: a letterbox has two that face each other."""
    named = [
        [side for side, width in zip(_SIDES, some, strict=True) if width]
        for some in zip(*widths, strict=True)
    ]
    return tuple("all" if len(one) == len(_SIDES) else " and ".join(one) or "none" for one in named)


def _shades(ring: Sequence[Sequence[float]]) -> tuple[str | None, ...]:
    """Return the colour around each picture, coarsely; None where it is not even."""
    return tuple(
        "red {} green {} blue {}".format(*(round(one / SHADE) * SHADE for one in colour))
        if spread <= EVEN
        else None
        for *colour, spread in zip(*ring, strict=True)
    )


def _places(ids: Sequence[str]) -> DoubleArray:
    """Return where each file stands among those of its folder, by name: 0 to 1."""
    folders: dict[str, list[int]] = {}
    for row, id_ in enumerate(ids):
        folders.setdefault(str(PurePosixPath(id_).parent), []).append(row)
    places = np.zeros(len(ids))
    for rows in folders.values():
        rows.sort(key=ids.__getitem__)
        places[rows] = np.linspace(0, 1, len(rows)) if len(rows) > 1 else 0.5
    return places


def _faces(items: ItemTable, width: DoubleArray, height: DoubleArray) -> list[Column]:
    """Return where faces are, as shares of the picture; all empty where nobody looked for them."""
    left, top, right, bottom = (
        _numbers(items.column(f"face_{side}")) for side in ("left", "top", "right", "bottom")
    )

    def tilt(points: Any) -> float | None:
        if points is None:
            return None
        return float(np.degrees(np.arctan2(points[3] - points[1], points[2] - points[0])))

    figures = {
        "faces found": _numbers(items.column("faces")),
        "size of the face": (bottom - top) / height,
        "place of the face, across": (left + right) / 2 / width,
        "place of the face, down": (top + bottom) / 2 / height,
        "tilt of the face": _numbers([tilt(one) for one in items.column("face_landmarks")]),
        "confidence of the face": _numbers(items.column("face_confidence")),
    }
    return [Column(name, "geometry", values) for name, values in figures.items()]


def _numbers(values: Sequence[Any]) -> DoubleArray:
    return np.array([np.nan if one is None else float(one) for one in values])


def _words(values: Sequence[Any]) -> tuple[str | None, ...]:
    """Return text; that something is so as `yes`, that it is not as `no`."""
    said = {None: None, True: "yes", False: "no"}
    return tuple(said[one] if one is None or isinstance(one, bool) else str(one) for one in values)
