"""Extracts: whole clusters of a large data set, for what stands beside the lines of a ledger."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from embedkit.audits.refits import Bench
from embedkit.statistics import CONFIDENCE
from embedkit.vectors import IntArray

MOST = 50_000  # images


@dataclass(frozen=True, slots=True, eq=False)
class Extract:
    """A bench of some clusters; relatives stay together, so what they carry stays as it is.

    Attributes:
        bench: of their images, numbered anew.
        rows: (n,) of these images in the bench that they are from.
        of: labelled images there are.
        clusters: of related images, that were drawn.
        wanted: half-width, 0 to 1, that a share of them was to have.
    """

    bench: Bench
    rows: IntArray
    of: int
    clusters: int
    wanted: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "images": len(self.rows),
            "of": self.of,
            "clusters": self.clusters,
            "chosen_for": round(self.wanted, 6),
            "half_width": round(_half_width(self.clusters), 6),
        }

    def sentence(self) -> str:
        """Say what was measured on it."""
        reached = _half_width(self.clusters)
        kept = f"; they reach ±{100 * reached:.1f}" if reached > self.wanted + 1e-4 else ""
        return (
            "Random labels, cross-validation, random vectors and re-splits are of "
            f"{len(self.rows)} of {self.of} images, {self.clusters} clusters that were chosen for "
            f"±{100 * self.wanted:g} points{kept}."
        )


def extract_of(bench: Bench, *, wanted: float) -> Extract:
    """Draw as many clusters as show a share with the half-width that is wanted.

    Args:
        bench: of more images than can be fitted again and again.
        wanted: half-width of a 95% interval, 0 to 1; no more than `MOST` images are drawn for it.
    """
    names, member = np.unique(bench.clusters[bench.pool], return_inverse=True)
    turn = np.random.default_rng([bench.seed, len(names)]).permutation(len(names))
    images = np.cumsum(np.bincount(turn[member.ravel()], minlength=len(names)))
    enough = int(np.ceil((_half_width(1) / wanted) ** 2))
    n = max(1, min(enough, int(np.searchsorted(images, MOST, side="right"))))
    rows = bench.pool[turn[member.ravel()] < n]
    return Extract(bench.of(rows), rows, len(bench.pool), n, wanted)


def _half_width(clusters: int) -> float:
    """Return half the width of the interval of a share, where it is widest."""
    return float(stats.norm.ppf((1 + CONFIDENCE) / 2) / 2 / np.sqrt(clusters))
