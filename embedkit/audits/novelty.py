"""Novelty: accuracy as a function of how near the nearest training image is."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.refits import Bench
from embedkit.statistics import Estimate, proportion
from embedkit.vectors import BoolArray

BINS = 5
FEWEST = 10  # test images in a bin


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
    nearest = bench.nearest
    clusters = bench.clusters[bench.test]
    n = max(1, min(BINS, len(right) // FEWEST))
    order = np.argsort(nearest, kind="stable")
    bins = [
        (
            float(nearest[part].min()),
            float(nearest[part].max()),
            proportion(right[part], clusters[part], seed=bench.seed),
        )
        for part in np.array_split(order, n)
    ]
    return Novelty(tuple(bins), proportion(right[novel], clusters[novel], seed=bench.seed))
