"""Agreement: a head's answers by vectors of the same pictures that were made in several ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import rounded
from embedkit.heads import Head
from embedkit.vectors import FloatArray

TOLERANCE = 1e-4  # of a probability


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well one head agrees with itself.

    Attributes:
        head: its kind.
        difference: the largest of a probability between any two paths.
        flipped: pictures with another answer on some path.
        differing: ids of pictures with another answer, or a difference above `TOLERANCE`.
    """

    head: str
    difference: float
    flipped: int
    differing: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "head": self.head,
            "largest_difference": rounded(self.difference),
            "flipped": self.flipped,
            "differing": list(self.differing),
        }


def agreement(
    head: Head, stored: FloatArray, again: FloatArray, alone: FloatArray, ids: Sequence[str]
) -> Agreement:
    """Compare what a head answers.

    Args:
        head: trained.
        stored: (n, d) vectors in a store.
        again: (n, d) of the same pictures, made in a batch.
        alone: (m, d) of the first of them, made one by one.
        ids: of the pictures.
    """
    first, second, third = (head.classifier.probabilities(rows) for rows in (stored, again, alone))
    n = len(alone)
    apart = np.abs(second - first).max(axis=1)
    flipped = second.argmax(axis=1) != first.argmax(axis=1)
    for other in (first, second):
        apart[:n] = np.maximum(apart[:n], np.abs(third - other[:n]).max(axis=1))
        flipped[:n] |= third.argmax(axis=1) != other[:n].argmax(axis=1)
    marked = flipped | (apart > TOLERANCE)
    return Agreement(
        head.kind,
        float(apart.max()),
        int(flipped.sum()),
        tuple(id_ for id_, differs in zip(ids, marked, strict=True) if differs),
    )
