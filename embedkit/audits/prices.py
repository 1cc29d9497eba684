"""The price of fewer images, from samples of a training set too large to be fitted again and again.

A control leaves as many random images out as a purge does. With many images that costs next to
nothing, and no more than it costs a smaller training set, for learning curves flatten; so a sample
bounds the price, and is as large as it takes to bound it by what is wanted. What relatives are
worth is told too low by as much as the sample pays too much, between nothing and all of its price:
so far the interval of the effect reaches up.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from embedkit.audits.refits import CONTROLS, FEW, Bench
from embedkit.heads.samples import sample_of
from embedkit.statistics import CONFIDENCE, variance_of_mean
from embedkit.vectors import BoolArray, DoubleArray, IntArray

START, MOST = 10_000, 40_000  # training images of a sample
ASKED = 10_000  # test images


@dataclass(frozen=True, slots=True)
class Price:
    """What leaving random images out costs a head that is trained on a sample.

    Attributes:
        value: accuracy.
        draws: (draws,) of which it is the mean.
        variance: that its value has by the test images asked, which draws share.
        changed: share of answers that become others.
        mixed: whether related images were among those left out, for too few others were there.
        images: training images of each draw.
        of: training images there are.
        asked: test images that it is measured on.
        askable: test images there are.
        wanted: accuracy, 0 to 1, that it was to be bounded by.
        bound: accuracy that it is bounded by: the farther end of its interval.
    """

    value: float
    draws: DoubleArray
    variance: float
    changed: float
    mixed: bool
    images: int
    of: int
    asked: int
    askable: int
    wanted: float
    bound: float

    @property
    def spread(self) -> float:
        """Variance of an effect by this price and by which images the one purged head lacks."""
        return float(self.draws.var(ddof=1)) * (1 + 1 / len(self.draws)) + self.variance

    @property
    def excess(self) -> float:
        """Accuracy by which the price of a sample may be above that of all images."""
        return max(0.0, self.value)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "price": round(self.value, 6),
            "training_images": self.images,
            "of": self.of,
            "test_images": self.asked,
            "of_test_images": self.askable,
            "chosen_for": round(self.wanted, 6),
            "bound": round(self.bound, 6),
        }

    def sentence(self) -> str:
        """Say what the controls rest on."""
        kept = "" if self.bound <= self.wanted else f"; they reach ±{100 * self.bound:.1f}"
        return (
            f"controls from {self.images} of {self.of} training images on {self.asked} of "
            f"{self.askable} test images, chosen for ±{100 * self.wanted:g} points{kept}"
        )


class Prices:
    """The prices of one head's purges; what its samples answer as they are is asked once."""

    def __init__(self, bench: Bench, *, material: float) -> None:
        """Prepare.

        Args:
            bench: of the head, with more training images than can be fitted again and again.
            material: accuracy, 0 to 1, that prices are to be bounded by.
        """
        self.bench = bench
        self.material = material
        test = bench.test
        self._asked = test[sample_of(bench.y[test], bench.clusters[test], ASKED, seed=bench.seed)]
        self._samples: dict[tuple[int, int], tuple[IntArray, IntArray, float]] = {}

    def of(self, removed: BoolArray, clean: BoolArray) -> Price:
        """Return the price of as many random images of each class as a purge removes.

        The sample is doubled until the interval of the price lies within what is wanted.

        Args:
            removed: (m,) training rows that the purge takes out.
            clean: (m,) those that are related to no test image.
        """
        size = START
        while True:
            made = self._price(removed, clean, size)
            if made.bound <= self.material or 2 * size > min(MOST, len(removed)):
                return made
            size *= 2

    def _price(self, removed: BoolArray, clean: BoolArray, size: int) -> Price:
        bench = self.bench
        truth, y = bench.y[self._asked], bench.y[bench.train]
        gains, changed, mixed = [], [], False
        for draw in range(CONTROLS):
            places, before, value = self._sample(size, draw)
            generator = np.random.default_rng([bench.seed, draw, int(removed.sum())])
            kept = np.ones(len(places), bool)
            for label in np.unique(y[places]):
                own = np.flatnonzero(y[places] == label)
                share = removed[y == label].mean()
                n = min(round(share * len(own)), len(own) - 1)
                pool = own[clean[places[own]]]
                if len(pool) < n:
                    pool, mixed = own, True
                kept[generator.choice(pool, n, replace=False)] = False
            after = bench.answers_for(self._asked, bench.train[places[kept]], value=value)
            gains.append((before == truth).astype(np.float64) - (after == truth))
            changed.append(np.mean(before != after))
        drawn = np.mean(gains, axis=1)
        variance = variance_of_mean(np.mean(gains, axis=0), bench.clusters[self._asked])
        error = np.sqrt(drawn.var(ddof=1) / len(drawn) + variance)
        spread = stats.t.ppf((1 + CONFIDENCE) / 2, len(drawn) - 1) * error
        return Price(
            float(drawn.mean()),
            drawn,
            variance,
            float(np.mean(changed)),
            mixed,
            size,
            len(removed),
            len(self._asked),
            len(bench.test),
            self.material,
            float(abs(drawn.mean()) + spread),
        )

    def _sample(self, size: int, draw: int) -> tuple[IntArray, IntArray, float | None]:
        """Return places in train, what a head trained on them answers, and its hyper-parameter."""
        bench = self.bench
        if (size, draw) not in self._samples:
            train = bench.train
            seed = int(np.random.default_rng([bench.seed, draw, size]).integers(2**31))
            places = sample_of(bench.y[train], bench.clusters[train], size, seed=seed)
            value = None if draw == 0 or size <= FEW else self._samples[size, 0][2]
            answers = bench.answers_for(self._asked, train[places], value=value)
            self._samples[size, draw] = places, answers, bench.chosen
        return self._samples[size, draw]
