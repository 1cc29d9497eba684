"""A map as the data that `map.js` draws; for pages and for the explorer."""

import base64
from typing import Any

import numpy as np

from embedkit.maps import Column, Map
from embedkit.maps.columns import colour_numbers
from embedkit.reports.palettes import CATEGORIES, NONE, OTHER, RAMP

Data = dict[str, Any]


def map_data(made: Map, *, sprites: Data | None) -> Data:
    """Return everything that the script is given; its form is described in `map.js`.

    Args:
        made: the map.
        sprites: of `embedkit.reports.sprites`; None for no pictures, or where a hook gives them.
    """
    n_added = len(made.added)
    places = np.concatenate([made.places, *(one.place[None] for one in made.added)])
    ids = made.ids
    return {
        "n": len(places),
        "xy": packed(places, "<f4"),
        "ids": [*ids, *(one.name for one in made.added)],
        "added": [
            f"new picture; nearest is {ids[one.nearest]}, cosine {one.similarity:.3f}"
            for one in made.added
        ],
        "columns": [column_data(one, more=n_added) for one in made.columns.columns],
        "colour_by": made.colour_by,
        "palette": list(CATEGORIES),
        "other": OTHER,
        "none": NONE,
        "ramp": list(RAMP),
        "pairs": packed(np.array(made.columns.pairs, np.int64).ravel(), "<i4"),
        "pairs_name": "copies",
        "missing": list(made.columns.missing),
        "sprites": sprites,
    }


def column_data(column: Column, *, more: int = 0) -> Data:
    """Return one column as the script wants it.

    Args:
        column: of the points.
        more: points after those, which have no value.
    """
    about = {"name": column.name, "group": column.group, "note": column.note, "kind": column.kind}
    if isinstance(column.values, np.ndarray):
        largest = np.finfo(np.float32).max  # of what the page reads
        values = np.clip(np.concatenate([column.values, np.full(more, np.nan)]), -largest, largest)
        return about | {"values": packed(values, "<f4")}
    colours = colour_numbers(column, len(CATEGORIES))
    numbers: dict[str | None, int] = {name: place for place, name in enumerate(colours)}
    codes = [numbers.get(one, -1) for one in column.values] + [-1] * more
    return about | {
        "values": list(colours),
        "codes": packed(np.array(codes), "<i4"),
        "colours": list(colours.values()),
    }


def packed(values: np.ndarray[Any, Any], kind: str) -> str:
    """Return an array as base64 of little-endian numbers."""
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()
