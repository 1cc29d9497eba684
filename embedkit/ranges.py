"""Ranges of numbers as names of classes, such as bins of age: `4-10`, `70+`, `under 3`."""

import itertools
import re
from collections.abc import Sequence

import numpy as np

_NUMBER = r"(\d+(?:\.\d+)?)"
_RANGE = re.compile(rf"{_NUMBER}\s*(?:-|–|to)\s*{_NUMBER}")
_ABOVE = re.compile(rf"(?:(?:more than|over|above|>=?)\s*{_NUMBER}|{_NUMBER}\s*(?:\+|and more))")
_BELOW = re.compile(rf"(?:less than|under|below|up to|<=?)\s*{_NUMBER}")


def ends(name: str) -> tuple[float, float] | None:
    """Return the lowest and the highest number of a range; None where a name is none."""
    name = name.strip().lower()
    if match := _RANGE.fullmatch(name):
        low, high = map(float, match.groups())
        return (low, high) if low <= high else None
    if match := _ABOVE.fullmatch(name):
        return float(match[1] or match[2]), np.inf
    if match := _BELOW.fullmatch(name):
        return -np.inf, float(match[1])
    return None


def in_order(names: Sequence[str]) -> tuple[str, ...] | None:
    """Return ranges from the lowest to the highest.

    Returns:
        None where a name is no range, or where two overlap but at their ends.
    """
    found = [one for one in map(ends, names) if one is not None]
    if len(found) < len(names):
        return None
    order = sorted(range(len(names)), key=lambda place: found[place])
    apart = all(found[a][1] <= found[b][0] for a, b in itertools.pairwise(order))
    return tuple(names[place] for place in order) if apart else None


def even_ranges(values: Sequence[float], n: int) -> tuple[str, ...]:
    """Return at most `n` ranges that hold about as many of the values each.

    Args:
        values: numbers; equal ones stay together.
        n: ranges, at least 2.
    """
    kinds, counts = np.unique(np.asarray(values, float), return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    place = np.minimum((middle * n).astype(int), n - 1)
    return tuple(
        f"{kinds[place == one].min():.15g}-{kinds[place == one].max():.15g}"
        for one in np.unique(place)
    )
