"""Samples: some labelled pictures, the classes in proportion, that are to be shown to a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedkit.vectors import IntArray


@dataclass(frozen=True, slots=True)
class Sample:
    """Labelled pictures to be shown to a network.

    Attributes:
        ids: of the pictures.
        paths: of their files.
        y: (n,) class numbers; -1 for a class that is never answered.
        clusters: (n,) what a bootstrap keeps together.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    y: IntArray
    clusters: IntArray


def pick(
    labels: Sequence[str | None], check: Callable[[int], str], most: int, *, seed: int
) -> tuple[list[int], list[str]]:
    """Draw pictures, the classes in proportion, passing over those that cannot be used.

    Args:
        labels: of all there are.
        check: says why a picture cannot be used, by its place; empty if it can.
        most: how many are wanted.
        seed: of the draw.

    Returns:
        Places of the pictures, in order, and why others on the way could not be used.
    """
    places: list[int] = []
    refused: list[str] = []
    for place in stratified(labels, seed=seed).tolist():
        if len(places) == most:
            break
        reason = check(place)
        if reason:
            refused.append(reason)
        else:
            places.append(place)
    return sorted(places), refused


def stratified(labels: Sequence[str | None], *, seed: int) -> IntArray:
    """Return an order of images of which every beginning has the classes in proportion."""
    generator = np.random.default_rng(seed)
    keys = np.empty(len(labels))
    names = np.array([name or "" for name in labels])
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        keys[generator.permutation(own)] = (np.arange(len(own)) + 0.5) / len(own)
    return np.argsort(keys, kind="stable")
