"""The data card: how many images of which class and split there are, and what their files are."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.ranges import in_order
from embedkit.store import Store
from embedkit.vectors import DoubleArray

MOST = 6  # values of a fact that are named


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that the files' headers say.

    Attributes:
        name: of it.
        words: the commonest values with their shares, or the middle and both ends of a measure.
    """

    name: str
    words: str


@dataclass(frozen=True, slots=True)
class Census:
    """What a data set holds.

    Attributes:
        layout: how the source was read.
        splits: their names, None for images in none.
        labels: names of the classes, ordered ones in their order; None for images without.
        counts: by split and label.
        attributes: columns that the data set brought.
        facts: of the files.
        unreadable: files that could not be read.
        source: where the split comes from, as `store.json` has it.
    """

    layout: str
    splits: tuple[str | None, ...]
    labels: tuple[str | None, ...]
    counts: dict[str | None, Counter[str | None]]
    attributes: tuple[str, ...]
    facts: tuple[Fact, ...]
    unreadable: int
    source: dict[str, Any]

    @property
    def n(self) -> int:
        """Images."""
        return sum(one.total() for one in self.counts.values())

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "n": self.n,
            "layout": self.layout,
            "split_made_by": self.source["made_by"],
            "counts": [
                {"split": split, "label": label, "n": self.counts[split][label]}
                for split in self.splits
                for label in self.labels
                if self.counts[split][label]
            ],
            "attributes": list(self.attributes),
            "files": {one.name: one.words for one in self.facts},
            "unreadable": self.unreadable,
        }


def take_census(store: Store, *, label: str = "label") -> Census:
    """Count a store's images by split and a column, and sum up what their files are.

    Raises:
        InputError: there is no such column.
    """
    items = store.items
    given = items.label_column(label)
    counts: dict[str | None, Counter[str | None]] = {}
    for split, one in zip(items.splits, given, strict=True):
        counts.setdefault(split, Counter())[one] += 1
    names = sorted({one for one in given if one is not None})
    nobody: list[None] = [None] if None in given else []
    return Census(
        items.layout,
        tuple(counts),
        (*(in_order(names) or names), *nobody),
        counts,
        items.attributes,
        tuple(_facts(store)),
        len(store.unreadable),
        store.record.source["split"],
    )


def _facts(store: Store) -> list[Fact]:
    column = store.items.column
    nuisances: list[Any] = column("nuisance")
    headers: list[dict[str, Any]] = [one or {} for one in nuisances]
    width, height = (np.array(column(name), np.float64) for name in ("width", "height"))
    size = np.array(column("bytes"), np.float64)
    cameras = [one.get("camera") for one in headers]
    return [
        Fact("format", _commonest(column("format"))),
        Fact("colour mode", _commonest(column("mode"))),
        Fact("width", _range(width, "pixels")),
        Fact("height", _range(height, "pixels")),
        Fact("file size", _range(size / 1024, "KiB")),
        Fact("JPEG quality", _commonest(one.get("jpeg_quality") for one in headers)),
        Fact("EXIF data", _commonest(one.get("exif") for one in headers)),
        Fact("camera", _commonest(cameras) if any(cameras) else "none is named"),
    ]


def _commonest(values: Iterable[object]) -> str:
    """Return the commonest values with their shares."""
    words = {"None": "unknown", "True": "yes", "False": "no"}
    counts = Counter(words.get(str(one), str(one)) for one in values)
    n = counts.total()
    said = [f"{name} ({found / n:.0%})" for name, found in counts.most_common(MOST)]
    rest = len(counts) - len(said)
    return ", ".join(said) + (f" and {rest} more" if rest else "")


def _range(values: DoubleArray, unit: str) -> str:
    """Return the median and both ends."""
    low, middle, high = (f"{one:,.0f}" for one in np.percentile(values, (0, 50, 100)))
    return f"{low} {unit}" if low == high else f"{middle} {unit} ({low} to {high})"
