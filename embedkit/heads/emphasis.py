"""Emphasis: which training images count for how much, and whose loss chooses a hyper-parameter."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedkit.vectors import DoubleArray, IntArray

LOSS = "log-loss"
WORST = " of the worst group"


@dataclass(frozen=True, slots=True, eq=False)
class Emphasis:
    """What a fit and its choice of a hyper-parameter make of single images.

    Attributes:
        weights: (n,) of the training images, 1 on average; None where all count alike.
        groups: (n,) group of each, -1 for none; the worst group decides the choice. None where the
            mean over images decides.
    """

    weights: DoubleArray | None = None
    groups: IntArray | None = None

    def of(self, rows: npt.NDArray[np.generic]) -> "Emphasis":
        """Return the emphasis of some of the images, by place or by mark."""
        return Emphasis(
            None if self.weights is None else self.weights[rows],
            None if self.groups is None else self.groups[rows],
        )

    def loss(self, losses: DoubleArray) -> float:
        """Return what a choice compares: the mean loss, or that of the group with the highest.

        Args:
            losses: (n,) of each image.
        """
        weights = np.ones(len(losses)) if self.weights is None else self.weights
        if self.groups is None:
            return float(np.average(losses, weights=weights))
        return max(float(losses[self.groups == one].mean()) for one in self.kinds())

    def kinds(self) -> list[int]:
        """Return the groups that occur; images in none are asked for nothing."""
        return [] if self.groups is None else [one for one in np.unique(self.groups) if one >= 0]

    def named(self, criterion: str) -> str:
        """Return the name of a criterion with whose it is."""
        return criterion if self.groups is None else f"{criterion}{WORST}"


PLAIN = Emphasis()
