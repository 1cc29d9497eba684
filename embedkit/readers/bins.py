"""Bins: a label that is a number becomes a class."""

import pyarrow as pa

from embedkit.errors import InputError
from embedkit.items import FACTS, GIVEN, ItemTable
from embedkit.ranges import ends, even_ranges, in_order

MOST = 1e15  # beyond which not every whole number is one


def cut_label(items: ItemTable, bins: str, *, name: str) -> ItemTable:
    """Replace a label that is a number by the range that it lies in; the number stays beside it.

    Args:
        items: with numbers as labels.
        bins: ranges, joined by commas, such as `1-3,4-10,11+`, both ends included, of two that
            share one the lower; or how many of about as many images each.
        name: of the column that the label is from, which the number keeps if it can.

    Raises:
        InputError: labels are no numbers, or these are no ranges.
    """
    numbers = [_number(label) for label in items.labels]
    known = [one for one in numbers if one is not None]
    words = sum(label is not None for label in items.labels) - len(known)
    if words or not known:
        raise InputError(
            f"--bins is for labels that are numbers from 0 to 10^15; {name!r} holds others"
        )
    if bins.strip().isdecimal():
        if int(bins) < 2:
            raise InputError("--bins needs two bins at least")
        ranges = even_ranges(known, int(bins))
    else:
        ranges = _ranges(bins)
    labels = [None if one is None else _bin(one, ranges) for one in numbers]
    outside = sum(label is None for label in labels) - (len(numbers) - len(known))
    said = [f"{name} cut into {', '.join(ranges)}"]
    if outside:
        said.append(f"{outside} images are in no bin and have no label")
    whole = all(one.is_integer() for one in known)
    kind = pa.int64() if whole else pa.float64()
    values = [None if one is None else int(one) if whole else one for one in numbers]
    kept = f"{name}_given" if name in {*GIVEN, *FACTS} else name
    made = items.with_column("label", labels).with_attribute(kept, pa.array(values, kind))
    return made.noting(*said)


def _ranges(bins: str) -> tuple[str, ...]:
    names = [one.strip() for one in bins.split(",") if one.strip()]
    ordered = in_order(names)
    if ordered is None or len(names) < 2:
        raise InputError(
            f"--bins {bins!r} is no list of ranges that lie apart, such as 1-3,4-10,11+, nor a "
            "number of bins"
        )
    return ordered


def _bin(value: float, ranges: tuple[str, ...]) -> str | None:
    for name in ranges:
        low, high = ends(name) or (0.0, 0.0)
        if low <= value <= high:
            return name
    return None


def _number(label: str | None) -> float | None:
    try:
        value = float(label or "")
    except ValueError:
        return None
    return value if 0 <= value <= MOST else None
