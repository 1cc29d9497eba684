"""Novelty: accuracy as a function of how near the nearest training image is."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.refits import Bench
from embedkit.heads.samples import sample_of
from embedkit.matrices import large
from embedkit.statistics import Estimate, proportion
from embedkit.vectors import BoolArray

BINS = 5
FEWEST = 10  # test images in a bin
ASKED = 4_000  # test images whose nearest is looked up where training images are many


@dataclass(frozen=True, slots=True)
class Novelty:
    """Accuracy by similarity to the nearest training image.

    Attributes:
        bins: (lowest similarity, highest, accuracy) of test images, the least similar first.
        novel: accuracy on those without a relative in train; of n = 0 where there are none.
    """

    bins: tuple[tuple[float, float, Estimate], ...]
    novel: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "bins": [
                {"from": round(low, 6), "to": round(high, 6), **accuracy.to_dict()}
                for low, high, accuracy in self.bins
            ],
            "without_relatives": self.novel.to_dict(),
        }


def novelty_curve(bench: Bench, right: BoolArray, novel: BoolArray) -> Novelty:
    """Return the accuracy of a head by the similarity to the nearest training image.

    Args:
        bench: with the rows.
        right: (n,) whether each test image is answered rightly.
        novel: (n,) whether it has no relative in train.
    """
    clusters = bench.clusters[bench.test]
    n = max(1, min(BINS, len(right) // FEWEST))
    places = np.arange(len(right))
    if large(len(bench.train)):
        places = sample_of(bench.y[bench.test], clusters, ASKED, seed=bench.seed)
    nearest = np.full(len(right), np.nan)
    sampled = len(places) < len(right)
    nearest[places] = bench.nearest_of(bench.test[places]) if sampled else bench.nearest
    order = places[np.argsort(nearest[places], kind="stable")]
    bins = [
        (
            float(nearest[part].min()),
            float(nearest[part].max()),
            proportion(right[part], clusters[part], seed=bench.seed),
        )
        for part in np.array_split(order, n)
    ]
    return Novelty(tuple(bins), proportion(right[novel], clusters[novel], seed=bench.seed))
