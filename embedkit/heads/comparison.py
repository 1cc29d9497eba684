"""Comparison: every backbone of a store with every kind of head, on the same test images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from embedkit.backbones import embed_pictures, load_again
from embedkit.errors import InputError, UnreadableImageError, WeightsError
from embedkit.heads.fitting import CUMULATIVE, HEADS
from embedkit.heads.ordered import OrderedMetrics, ordered_classes
from embedkit.heads.training import (
    clusters_in,
    evaluate,
    fit,
    held_out_split,
    labelled_rows,
)
from embedkit.inputs import read_input
from embedkit.results import Result
from embedkit.statistics import Estimate, holm, mcnemar, paired_difference
from embedkit.store import Space, Store
from embedkit.vectors import BoolArray

SAMPLE = 32


@dataclass(frozen=True, slots=True)
class Compared:
    """One backbone with one kind of head.

    Attributes:
        space: of the store.
        backbone: its name in full.
        head: kind.
        accuracy: on the test images.
        behind: accuracy of the best minus this one's, on the same images; 0 for the best.
        p: of McNemar's exact test against the best, adjusted by Holm; NaN for the best.
        train_seconds: to fit the head, its hyper-parameter chosen.
        image_ms: milliseconds to decode and embed one picture, alone on the machine; NaN where the
            network or the pictures are not here.
        bytes_per_image: of its vector.
        ordered: how far its answers are off, where classes are ranges of numbers; else None.
    """

    space: str
    backbone: str
    head: str
    accuracy: Estimate
    behind: Estimate
    p: float
    train_seconds: float
    image_ms: float
    bytes_per_image: int
    ordered: OrderedMetrics | None


@dataclass(frozen=True, slots=True)
class Comparison(Result):
    """All of them, the most accurate first.

    Attributes:
        label: column with the class.
        split: that was scored.
        majority: accuracy of always giving the commonest class of train.
        rows: the most accurate first; ties in the order of names.
    """

    label: str
    split: str
    majority: Estimate
    rows: tuple[Compared, ...]


def compare(
    store: Store,
    *,
    label: str = "label",
    backbones: Sequence[str] = (),
    heads: Sequence[str] = (),
    seed: int = 0,
) -> Comparison:
    """Train each kind of head on each space, and compare all with the best on the same images.

    The best is best on these images, so its lead is an upper estimate; the tests say which of the
    others cannot be told from it.

    Args:
        store: with labels, a train and a test split.
        label: column with the class.
        backbones: names of spaces; all where left out.
        heads: kinds of heads; logistic and kNN where left out, and cumulative for classes that
            are ranges of numbers.
        seed: of folds and bootstraps.

    Raises:
        InputError: no such space, head or column, or no test split.
    """
    split = held_out_split(store, label)
    if split is None:
        raise InputError(f"{store.path} has no test or valid split with labels to compare on")
    clusters = clusters_in(store)[labelled_rows(store, label, split)]
    spaces = [store.space(name) for name in backbones or store.spaces]
    every = {name for name in store.items.label_column(label) if name is not None}
    ordered = ordered_classes(tuple(every)) is not None
    heads = heads or (*HEADS, *([CUMULATIVE] if ordered else []))
    rows: list[tuple[Compared, BoolArray]] = []
    majority = Estimate(float("nan"), 0.0, 1.0, 0)
    for space in spaces:
        cost = _milliseconds(store, space)
        for kind in heads:
            began = time.perf_counter()
            fitted = fit(store, head=kind, label=label, backbone=space.name, seed=seed)
            seconds = time.perf_counter() - began
            scored = evaluate(fitted, store, split=split, seed=seed)
            majority = scored.majority
            one = Compared(
                space.name,
                space.record.backbone["name"],
                kind,
                scored.accuracy,
                Estimate(0.0, 0.0, 0.0, scored.n),
                float("nan"),
                seconds,
                cost,
                4 * space.record.dimension,
                scored.ordered,
            )
            rows.append((one, scored.right))
    rows.sort(key=lambda row: (-row[0].accuracy.value, row[0].space, row[0].head))
    best = rows[0][1]
    behind = [paired_difference(best, right, clusters, seed=seed) for _, right in rows[1:]]
    adjusted = holm([mcnemar(best, right) for _, right in rows[1:]])
    others = [
        replace(one, behind=difference, p=p)
        for (one, _), difference, p in zip(rows[1:], behind, adjusted, strict=True)
    ]
    return Comparison(label, split, majority, (rows[0][0], *others))


def _milliseconds(store: Store, space: Space) -> float:
    """Measure one pass over a few pictures of the store, the first pass left out."""
    places = np.linspace(0, len(store.items) - 1, min(SAMPLE, len(store.items))).astype(int)
    try:
        network = load_again(
            **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
        )
        paths = [store.items.path(store.items.ids[place]) for place in places]
        embed_pictures(network, [read_input(paths[0])])
        began = time.perf_counter()
        embed_pictures(network, [read_input(path) for path in paths])
    except (InputError, WeightsError, UnreadableImageError):
        return float("nan")
    return 1000 * (time.perf_counter() - began) / len(paths)
