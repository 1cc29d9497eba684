"""Misguesses: what errors that nobody has counted could do to a gap between guessed groups."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import rounded
from embedkit.vectors import BoolArray, DoubleArray, IntArray

RATES = (0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The gap by the attribute itself, were so many of its guesses wrong.

    Attributes:
        rate: share of the guesses of each value.
        blind: the gap, if errors have nothing to do with the answer and fall on all other values
            alike; NaN where as many errors are not possible.
        low: the least it could be, if the two groups are mistaken for one another and errors may
            have to do with the answer.
        high: the most, likewise.
    """

    rate: float
    blind: float
    low: float
    high: float

    @property
    def possible(self) -> bool:
        """Whether as many errors, blind to the answer, are possible."""
        return not np.isnan(self.blind)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "error_rate": self.rate,
            "gap_if_blind": rounded(self.blind),
            "gap_at_least": rounded(self.low),
            "gap_at_most": rounded(self.high),
        }


def what_if(right: BoolArray, guessed: IntArray, better: int, worse: int) -> tuple[WhatIf, ...]:
    """Say what a gap between two guessed groups may be by the attribute itself.

    The first figure turns the matrix method around (see `mixtures`), the bounds move those images
    that change the gap most (after J. Horowitz, C. Manski, "Identification and robustness with
    contaminated and corrupted data", Econometrica 63, 1995). None of them is an interval: what the
    images tell by chance comes on top.

    Args:
        right: (m,) whether each image is answered rightly.
        guessed: (m,) number of the value guessed, every number up to the largest at least once.
        better: number of one group.
        worse: of the other.
    """
    total = np.bincount(guessed).astype(np.float64)
    hits = np.bincount(guessed, weights=right).astype(np.float64)
    made = []
    for rate in RATES:
        low = _moved(hits, total, better, worse, rate)
        high = -_moved(hits, total, worse, better, rate)
        made.append(WhatIf(rate, _blind(hits, total, better, worse, rate), low, high))
    return tuple(made)


def _blind(hits: DoubleArray, total: DoubleArray, better: int, worse: int, rate: float) -> float:
    k = len(total)
    guess = np.full((k, k), rate / (k - 1))
    np.fill_diagonal(guess, 1 - rate)
    of_hits, of_all = np.linalg.solve(guess, np.stack([hits, total], axis=1)).T
    if of_all[[better, worse]].min() < 1e-9:
        return float("nan")
    shares = np.clip(of_hits[[better, worse]] / of_all[[better, worse]], 0, 1)
    return float(shares[0] - shares[1])


def _moved(hits: DoubleArray, total: DoubleArray, a: int, b: int, rate: float) -> float:
    """Return the gap of a above b once right images of a and wrong ones of b are exchanged."""
    gone, come = min(rate * total[a], hits[a]), min(rate * total[b], total[b] - hits[b])
    of_a = (hits[a] - gone) / (total[a] - gone + come)
    of_b = (hits[b] + gone) / (total[b] - come + gone)
    return float(of_a - of_b)
