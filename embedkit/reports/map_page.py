"""The map as one HTML page that opens anywhere and asks no network for anything."""

import base64
import hashlib
import json
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from embedkit.maps import Map
from embedkit.reports.map_data import map_data
from embedkit.reports.pictures import load_pixels
from embedkit.reports.sprites import MOST, sprites
from embedkit.vectors import Pixels

START = (
    '"use strict";\n'
    'new EmbedMap(document.getElementById("map"), '
    'JSON.parse(document.getElementById("data").textContent));\n'
)
# No HTML parser may find markup, and no script parser a line end, in a name inside the data.
_ESCAPED = {one: f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


def render_map(made: Map, *, images: bool = True) -> str:
    """Return the page of a map.

    Args:
        made: the map.
        images: whether thumbnails go into the page: of all points, or of 10,000 drawn ones.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates = resources.files("embedkit.reports") / "templates"
    read = {
        name: (templates / name).read_text(encoding="utf-8")
        for name in ("map.html", "map.css", "map_page.css", "map.js")
    }
    n = len(made.places) + len(made.added)
    pictured = _pictured(made, n)
    tiles = sprites(lambda point: _pixels(made, point), pictured, n) if images else None
    style = read["map.css"] + read["map_page.css"]
    script = read["map.js"] + START
    data = json.dumps(map_data(made, sprites=tiles), allow_nan=False)
    for one, escaped in _ESCAPED.items():
        data = data.replace(one, escaped)
    return environment.from_string(read["map.html"]).render(
        title=made.title,
        method=made.method,
        verdict=made.honesty.verdict,
        honesty=made.honesty.sentences(len(made.places)),
        note=_note(pictured, n, tiles) if images else "This page was made without pictures.",
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=data,
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


def _pixels(made: Map, point: int) -> Pixels | None:
    if point >= len(made.places):
        return made.added[point - len(made.places)].pixels
    return load_pixels(made.store.items.path(made.store.items.ids[made.rows[point]]))


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"
