"""Calibration: probabilities that mean what they say, for images that have no relative in train."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special

from embedkit.heads.classifier import Classifier, fold_numbers
from embedkit.vectors import DoubleArray, FloatArray, IntArray

LIMITS = (0.05, 20.0)  # of the temperature
LEAST = 1e-300  # a probability that was rounded to zero


@dataclass(frozen=True, slots=True)
class Calibration:
    """One number that makes a head's probabilities more, or less, sure.

    Attributes:
        temperature: what the logarithms of the probabilities are divided by; above 1 the head was
            too sure of itself.
        n: training images that it was found on.
        log_loss: on them, before and after; NaN where nothing could be found.
        note: why the probabilities are left as they are; empty where they are not.
    """

    temperature: float
    n: int
    log_loss: tuple[float, float]
    note: str = ""

    def apply(self, probabilities: DoubleArray) -> DoubleArray:
        """Return calibrated (n, k) probabilities; which class is the most probable stays."""
        return _softened(probabilities, self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        before, after = (None if np.isnan(x) else round(x, 6) for x in self.log_loss)
        return {
            "temperature": round(self.temperature, 6),
            "n": self.n,
            "log_loss_before": before,
            "log_loss_after": after,
            "note": self.note or None,
        }


def calibrate(
    fit: Callable[..., Classifier],
    vectors: FloatArray,
    y: IntArray,
    clusters: IntArray,
    *,
    n_classes: int,
    value: float,
    seed: int,
) -> Calibration:
    """Find the temperature at which answers to images left out of training are most probable.

    Every training image is answered by a head that saw neither it nor anything of its cluster, so
    that what is looked up makes no answer look sure. Source: C. Guo et al., "On calibration of
    modern neural networks", ICML 2017.

    Args:
        fit: trains a head; see `HEADS`.
        vectors: (n, d) float32, unit rows.
        y: (n,) class numbers; every class below `n_classes` occurs.
        clusters: (n,) images that must stay together.
        n_classes: number of classes.
        value: of the hyper-parameter, as chosen on all of them.
        seed: of the folds.
    """
    folds = fold_numbers(y, clusters, seed=seed)
    answers = np.full((len(y), n_classes), np.nan)
    for fold in np.unique(folds):
        inside = folds != fold
        if len(np.unique(y[inside])) == n_classes:
            head = fit(
                vectors[inside],
                y[inside],
                clusters[inside],
                n_classes=n_classes,
                seed=seed,
                value=min(value, int(inside.sum())),
            )
            answers[~inside] = head.probabilities(vectors[~inside])
    judged = np.flatnonzero(~np.isnan(answers[:, 0]))
    if not len(judged):
        note = "a class has only one image (or one cluster of them), so nothing could be left out"
        return Calibration(1.0, 0, (float("nan"), float("nan")), note)

    def loss(log_temperature: float) -> float:
        softened = _softened(answers[judged], float(np.exp(log_temperature)))
        return float(-np.log(np.maximum(softened[np.arange(len(judged)), y[judged]], LEAST)).mean())

    best = optimize.minimize_scalar(
        loss, bounds=tuple(np.log(LIMITS)), method="bounded", options={"xatol": 1e-4}
    )
    return Calibration(round(float(np.exp(best.x)), 4), len(judged), (loss(0.0), float(best.fun)))


def _softened(probabilities: DoubleArray, temperature: float) -> DoubleArray:
    logits = np.log(np.maximum(probabilities, LEAST)) / temperature
    # A class that the head does not know stays impossible.
    return np.asarray(special.softmax(np.where(probabilities > 0, logits, -np.inf), axis=1))
