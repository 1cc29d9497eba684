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
        effective: independent images that tell as much as the test images among them.
        wanted: half-width, 0 to 1, that a share of them was to have.
    """

    bench: Bench
    rows: IntArray
    of: int
    clusters: int
    effective: float
    wanted: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "images": len(self.rows),
            "of": self.of,
            "clusters": self.clusters,
            "chosen_for": round(self.wanted, 6),
            "test_images": len(self.bench.test),
            "half_width": round(_half_width(self.effective), 6),
        }

    def sentence(self) -> str:
        """Say what was measured on it."""
        reached = _half_width(self.effective)
        kept = f"; they reach ±{100 * reached:.1f}" if reached > self.wanted + 1e-4 else ""
        return (
            "Random labels, cross-validation, random vectors and re-splits are of "
            f"{len(self.rows)} of {self.of} images in {self.clusters} clusters, "
            f"{len(self.bench.test)} of them test images, chosen for ±{100 * self.wanted:g} points "
            f"of these{kept}."
        )


def extract_of(bench: Bench, *, wanted: float) -> Extract:
    """Draw as many clusters as show a share of test images with the half-width that is wanted.

    Clusters of many test images count as fewer than that many of one (L. Kish, 1965).

    Args:
        bench: of more images than can be fitted again and again.
        wanted: half-width of a 95% interval, 0 to 1; no more than `MOST` images are drawn for it,
            unless there is no test image among them.
    """
    names, member = np.unique(bench.clusters[bench.pool], return_inverse=True)
    turn = np.random.default_rng([bench.seed, len(names)]).permutation(len(names))
    place = turn[member.ravel()]
    images = np.cumsum(np.bincount(place, minlength=len(names)))
    tests = np.bincount(place[np.isin(bench.pool, bench.test)], minlength=len(names))
    seen, squares = np.cumsum(tests), np.cumsum(tests**2)
    effective = seen**2 / np.maximum(squares, 1)
    # The number may fall where a large cluster is drawn, but is never far from growing.
    enough = int(np.searchsorted(np.maximum.accumulate(effective), (_half_width(1) / wanted) ** 2))
    n = min(enough + 1, int(np.searchsorted(images, MOST, side="right")), len(names))
    n = max(n, int(np.argmax(tests > 0)) + 1)
    rows = bench.pool[place < n]
    return Extract(bench.of(rows), rows, len(bench.pool), n, float(effective[n - 1]), wanted)


def _half_width(n: float) -> float:
    """Return half the width of the interval of a share of n images, where it is widest."""
    return float(stats.norm.ppf((1 + CONFIDENCE) / 2) / 2 / np.sqrt(n))
