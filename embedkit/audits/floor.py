"""The random-label floor: what is reached with labels that mean nothing is looked up."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from embedkit.audits.base import rounded
from embedkit.audits.fits import Question
from embedkit.audits.refits import CONTROLS, Bench
from embedkit.errors import PipelineLeakError
from embedkit.statistics import Estimate
from embedkit.vectors import BoolArray, DoubleArray

FEWEST_NOVEL = 30  # clusters without a relative in train, before the pipeline is suspected
SLACK = 0.05  # beyond chance, on random labels, before the pipeline itself is suspected


@dataclass(frozen=True, slots=True)
class Floor:
    """What is reached with labels that mean nothing: looking up, and nothing else.

    Attributes:
        accuracy: with a random label for each cluster.
        chance: of the commonest such label.
        novel: (accuracy, chance) on test images without a relative in train.
        leaks: whether the former is above the latter by more than chance and `SLACK` allow.
    """

    accuracy: Estimate
    chance: float
    novel: tuple[Estimate, float]
    leaks: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            **self.accuracy.to_dict(),
            "chance": rounded(self.chance),
            "without_relatives": self.novel[0].to_dict() | {"chance": rounded(self.novel[1])},
        }


def random_label_floor(bench: Bench, novel: BoolArray) -> Floor:
    """Train on random labels, one a cluster, and score on as random ones.

    Args:
        bench: with the rows and clusters.
        novel: (n,) whether each test image has no relative in train.

    Returns:
        The floor; NaN throughout where fewer than two draws had two classes in train.
    """
    used = np.concatenate([bench.train, bench.test])
    names, member = np.unique(bench.clusters[used], return_inverse=True)
    shares = np.bincount(bench.y[bench.train], minlength=len(bench.labels))
    right, chance, drawings = [], [], []
    for draw in range(CONTROLS):
        generator = np.random.default_rng([bench.seed, draw])
        drawn = generator.choice(len(bench.labels), len(names), p=shares / shares.sum())
        y = np.full(len(bench.y), -1, np.int64)
        y[used] = drawn[member.ravel()]
        if len(np.unique(y[bench.train])) > 1:
            drawings.append(y)
    made = bench.ask([Question(bench.test, bench.train, y) for y in drawings[:1]])
    made += bench.ask([Question(bench.test, bench.train, y, made[0].value) for y in drawings[1:]])
    for y, answer in zip(drawings, made, strict=True):
        truth = y[bench.test]
        right.append(answer.classes == truth)
        commonest = np.bincount(y[bench.train], minlength=len(bench.labels)).argmax()
        chance.append(truth == commonest)
    nothing = (Estimate(np.nan, np.nan, np.nan, 0), float("nan"))
    if len(right) < 2:
        return Floor(
            Estimate(np.nan, np.nan, np.nan, len(bench.test)), float("nan"), nothing, leaks=False
        )
    accuracy, guess = np.mean(right, axis=0), float(np.mean(chance))
    if not novel.any():
        return Floor(bench.mean(accuracy), guess, nothing, leaks=False)
    found = np.array([one[novel].mean() for one in right])
    expected = np.array([one[novel].mean() for one in chance])
    value_of_novel, spread = float(found.mean()), _error(found) * _t(len(found), 0.975)
    alone = Estimate(
        value_of_novel,
        max(0.0, value_of_novel - spread),
        min(1.0, value_of_novel + spread),
        int(novel.sum()),
    )
    beyond = found - expected
    enough = len(np.unique(bench.clusters[bench.test][novel])) >= FEWEST_NOVEL
    least = beyond.mean() - _t(len(beyond), 1 - 1e-4) * _error(beyond)
    return Floor(
        bench.mean(accuracy),
        guess,
        (alone, float(expected.mean())),
        leaks=bool(enough and least > SLACK),
    )


def check_floor(head: str, floor: Floor) -> None:
    """Stop an audit whose own pipeline lets train see test.

    Raises:
        PipelineLeakError: random labels were learned, and relatives do not explain it.
    """
    accuracy, chance = floor.novel
    if floor.leaks:
        raise PipelineLeakError(
            f"the {head} head answers random labels rightly on {accuracy.value:.1%} of "
            f"{accuracy.n} test images that have no relative in train, {chance:.1%} expected: "
            "either copies were missed, or embedkit itself lets train see test; nothing below "
            "this line could be trusted"
        )


def _error(values: DoubleArray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def _t(n: int, quantile: float) -> float:
    return float(stats.t.ppf(quantile, n - 1))
