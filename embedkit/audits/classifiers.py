"""A classifier of the user's own: which mistake reproduces the figure that was measured?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any, cast

import numpy as np

from embedkit.audits.mistakes import MISTAKES, Mistake, both
from embedkit.audits.samples import Sample, pick
from embedkit.audits.sweeps import Sweep, sweep
from embedkit.backbones import load_backbone
from embedkit.backbones.network import Network
from embedkit.errors import InputError, UnreadableImageError
from embedkit.images import decode, read_bytes, strict_pillow
from embedkit.items import ItemTable
from embedkit.results import Result
from embedkit.statistics import Estimate, clusters_of, compatible, wilson

PICTURES = 200
LISTED = 10
RIGHT = "as its description says"
# Mistakes of different kinds that are often made together.
PAIRED = (
    ("BGR for RGB",),
    (
        "0-255 for 0-1",
        "divided by 255 too often",
        "0-1 and nothing else",
        "0-255 and nothing else",
    ),
    ("squashed", "cut around the centre", "not antialiased"),
)


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What comes to a figure that was measured elsewhere.

    Attributes:
        figure: an accuracy, with its interval where it is known of how many pictures.
        holds: (variant, accuracy) that may be the same, the nearest first.
        nearest: of all variants.
    """

    figure: Estimate
    holds: tuple[tuple[str, Estimate], ...]
    nearest: tuple[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "figure": self.figure.to_dict(),
            "reproduced_by": [{"variant": name, **one.to_dict()} for name, one in self.holds],
            "nearest": {"variant": self.nearest[0], **self.nearest[1].to_dict()},
        }


@dataclass(frozen=True, slots=True)
class Classifier(Result):
    """What a user's classifier answers when pictures are prepared wrongly.

    Attributes:
        model: its file.
        split: of the pictures; None where the data set has none.
        pictures: how many were shown to it.
        labelled: how many there are in that split.
        unreadable: those that were to be shown and cannot be read.
        labels: in the order of its outputs.
        sweep: mistakes, pairs of mistakes and mild changes.
        figures: what comes to each figure that was given.
    """

    model: Path
    split: str | None
    pictures: int
    labelled: int
    unreadable: int
    labels: tuple[str, ...]
    sweep: Sweep
    figures: tuple[Reproduction, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document `embedkit.parity/1`."""
        return {
            "schema": "embedkit.parity/1",
            "model": str(self.model),
            "split": self.split,
            "pictures": self.pictures,
            "labelled": self.labelled,
            "unreadable": self.unreadable,
            "labels": list(self.labels),
            **self.sweep.to_dict(),
            "figures": [one.to_dict() for one in self.figures],
        }


def check_classifier(
    model: Path,
    items: ItemTable,
    labels: Sequence[str],
    *,
    figures: Sequence[str] = (),
    label: str = "label",
    split: str | None = None,
    pictures: int = PICTURES,
    seed: int = 0,
) -> Classifier:
    """Show labelled pictures to a classifier, prepared rightly and wrongly.

    Args:
        model: ONNX or TorchScript file that returns one number a class, with its preprocessing
            beside it; see `embedkit.backbones.model_files`.
        items: the pictures.
        labels: classes in the order of its outputs.
        figures: accuracies that were measured with the same classifier: `0.71`, or `71/100` for 71
            right of 100 other pictures, which have an uncertainty of their own.
        label: column with the class.
        split: to take pictures from; test, or valid without one, where left out.
        pictures: how many at most, the classes in proportion.
        seed: of the sample and the bootstraps.

    Raises:
        InputError: the file, its description, the labels, the figures or the pictures are not as
            they have to be.
        WeightsError: the file is damaged.
        BackboneError: it does not return one row of finite numbers a picture.
    """
    given = [parse_figure(figure) for figure in figures]
    if len(set(labels)) < len(labels):
        raise InputError(f"--labels names a class twice: {', '.join(labels)}")
    kind = "onnx" if model.suffix.lower() == ".onnx" else "torchscript"
    eye = load_backbone(f"{kind}:{model}")
    if eye.card.dimension != len(labels):
        raise InputError(
            f"{model} has {eye.card.dimension} outputs, --labels names {len(labels)} classes "
            f"({', '.join(labels)}); name one for each output, in their order"
        )
    sample, side, labelled, unreadable = _sample(items, labels, label, split, pictures, seed)
    swept = sweep(
        eye,
        sample,
        (*MISTAKES, *_pairs()),
        labels,
        read=lambda network, inputs: cast(Network, network).scores(inputs),
        answer=lambda rows: np.asarray(rows.argmax(axis=1), np.int64),
        seed=seed,
    )
    variants = [(RIGHT, swept.right), *((one.name, one.accuracy) for one in swept.mistakes)]
    return Classifier(
        model,
        side,
        len(sample.ids),
        labelled,
        unreadable,
        tuple(labels),
        swept,
        tuple(_reproduction(figure, variants) for figure in given),
    )


def parse_figure(text: str) -> Estimate:
    """Turn `0.71` or `71/100` into a proportion; the former is taken as exact.

    Raises:
        InputError: it is neither.
    """
    right, slash, n = text.partition("/")
    try:
        if slash and 0 <= int(right) <= int(n) and int(n) > 0:
            return wilson(int(right), int(n))
        if not slash and 0 <= float(right) <= 1:
            return Estimate(float(right), float(right), float(right), 0)
    except ValueError:
        pass
    raise InputError(
        f"--figure is {text!r}; an accuracy is between 0 and 1, such as 0.71, or so many right of "
        "so many, such as 71/100"
    )


def _pairs() -> list[Mistake]:
    """Return the mistakes of making two of different kinds in `PAIRED`."""
    named = {one.name: one for one in MISTAKES}
    return [
        both(named[first], named[second])
        for some, others in combinations(PAIRED, 2)
        for first, second in product(some, others)
    ]


def _reproduction(figure: Estimate, variants: Sequence[tuple[str, Estimate]]) -> Reproduction:
    # Of two that come as near, the single mistake goes before the pair.
    order = sorted(
        variants, key=lambda pair: (abs(pair[1].value - figure.value), pair[0].count(" + "))
    )
    holds = [pair for pair in order if compatible(pair[1], figure)]
    return Reproduction(figure, tuple(holds), order[0])


def _sample(
    items: ItemTable,
    labels: Sequence[str],
    label: str,
    split: str | None,
    most: int,
    seed: int,
) -> tuple[Sample, str | None, int, int]:
    """Return pictures, their split, how many it has, and how many of them cannot be read."""
    given = items.label_column(label)
    sides = Counter(side for side, name in zip(items.splits, given, strict=True) if name)
    if split is None and any(items.splits):
        split = next((side for side in ("test", "valid") if side in sides), "test")
    every = [
        row
        for row, (side, name) in enumerate(zip(items.splits, given, strict=True))
        if name and side == split
    ]
    if not every:
        there = ", ".join(f"{side} ({n})" for side, n in sides.items()) or "none"
        raise InputError(
            f"{items.root} has no picture with a {label!r} in the {split or 'test'} split; splits "
            f"with some: {there}; name another with --split, or another column with --label"
        )
    unknown = sorted({given[row] or "" for row in every} - set(labels))
    if unknown:
        raise InputError(
            f"--labels does not name {', '.join(unknown[:LISTED])}, which pictures are labelled; "
            f"it names {', '.join(labels)}"
        )
    hashes: dict[int, str] = {}

    def check(place: int) -> str:
        row = every[place]
        try:
            with strict_pillow():
                picture = decode(read_bytes(items.path(items.ids[row])))
        except UnreadableImageError as error:
            return f"{items.ids[row]}: {error}"
        hashes[row] = picture.facts.pixel_sha256
        return ""

    places, unreadable = pick([given[row] for row in every], check, most, seed=seed)
    if not places:
        raise InputError(f"no picture in {items.root} can be read; {unreadable[0]}")
    rows = [every[place] for place in places]
    groups = items.groups
    sample = Sample(
        tuple(items.ids[row] for row in rows),
        tuple(items.path(items.ids[row]) for row in rows),
        np.array([labels.index(given[row] or "") for row in rows], np.int64),
        clusters_of([groups[row] for row in rows], [hashes[row] for row in rows]),
    )
    return sample, split, len(every), len(unreadable)
