"""The map as one HTML page that opens anywhere and asks no network for anything."""

import json
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from embedkit.maps import Map
from embedkit.reports.map_data import map_data
from embedkit.reports.pages import asset, fill
from embedkit.reports.pictures import Pictures
from embedkit.reports.sprites import MOST, sprites
from embedkit.vectors import Pixels

START = Markup(
    '"use strict";\n'
    'new EmbedMap(document.getElementById("map"), '
    'JSON.parse(document.getElementById("data").textContent));\n'
)
# No HTML parser may find markup, and no script parser a line end, in a name inside the data.
_ESCAPED = {one: f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


def render_map(made: Map, *, images: bool = True, blur_faces: bool = False) -> str:
    """Return the page of a map.

    Args:
        made: the map.
        images: whether thumbnails go into the page: of all points, or of 10,000 drawn ones.
        blur_faces: whether faces on them are made unrecognisable; see `Pictures`.
    """
    n = len(made.places) + len(made.added)
    pictured = _pictured(made, n)
    pictures = Pictures(made.store.items, blur_faces=blur_faces)
    look = partial(_pixels, made, pictures)
    tiles = sprites(look, pictured, n) if images else None
    data = json.dumps(map_data(made, sprites=tiles), allow_nan=False)
    for one, escaped in _ESCAPED.items():
        data = data.replace(one, escaped)
    return fill(
        "map.html",
        style=asset("map.css") + asset("map_page.css"),
        script=asset("map.js") + START,
        title=made.title,
        method=made.method,
        verdict=made.honesty.verdict,
        honesty=made.honesty.sentences(len(made.places)),
        note=_note(pictured, n, tiles) if images else "This page was made without pictures.",
        data=Markup(data),
    )


def _pictured(made: Map, n: int) -> list[int]:
    """Return the points that get a thumbnail: new pictures, and of the others as many as fit."""
    old, added = len(made.places), list(range(len(made.places), n))
    if n <= MOST:
        return list(range(n))
    room = max(MOST - len(added), 0)
    drawn = np.random.default_rng(made.seed).choice(old, room, replace=False)
    return [*np.sort(drawn).tolist(), *added[:MOST]]


def _note(pictured: list[int], n: int, tiles: dict[str, Any] | None) -> str:
    """Say which pictures are not in the page; nothing where all are."""
    said = []
    if len(pictured) < n:
        said.append(f"All {n:,} points are here; pictures of {len(pictured):,}, drawn at random.")
    gone = len(pictured) - (0 if tiles is None else tiles["n"])
    if gone:
        said.append(f"{gone:,} of the pictures cannot be read where they were.")
    return " ".join(said)


def _pixels(made: Map, pictures: Pictures, point: int) -> Pixels | None:
    if point >= len(made.places):
        return pictures.shown(made.added[point - len(made.places)].pixels, None)
    return pictures.pixels(made.store.items.ids[made.rows[point]])
