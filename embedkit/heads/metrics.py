"""Metrics of a head on a split, each with its interval."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from embedkit.heads.ordered import OrderedMetrics, measure_ordered, ordered_classes
from embedkit.results import Result
from embedkit.statistics import Estimate, bootstrap, proportion
from embedkit.vectors import BoolArray, DoubleArray, IntArray

BINS = 10
NULL_DRAWS = 1000
# A class that a head holds impossible costs this much at most; kNN and softmax never say zero.
LEAST_PROBABILITY = 1e-15


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """How one class was recognised.

    Attributes:
        label: the class.
        support: test images that carry it.
        predicted: test images that were given it.
        precision: share of those predicted that carry it.
        recall: share of those that carry it that were predicted.
        f1: harmonic mean of the two.
    """

    label: str
    support: int
    predicted: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True, slots=True)
class Evaluation(Result):
    """The metrics of one head on one split.

    Attributes:
        split: that was scored.
        n: images scored.
        n_clusters: groups of images that belong together among them; intervals are over these.
        labels: classes, in the order of the confusion matrix: alphabetical, or from the lowest to
            the highest where they are ranges of numbers.
        accuracy: share of images given their own label.
        balanced_accuracy: mean recall of the classes that occur.
        macro_f1: mean F1 of the classes that occur.
        log_loss: mean negative logarithm of the probability of the image's label, in nats.
        roc_auc: area under the ROC curve; for more than two classes the mean over one-against-rest.
        calibration_error: expected calibration error over ten bins of equal size (Naeini et al.,
            AAAI 2015).
        calibration_error_by_chance: what a perfectly calibrated head of this confidence stays
            below in 95% of such test sets; a smaller error is no evidence of miscalibration.
        majority: accuracy of always answering the commonest class of the training set.
        ordered: how far answers are off, where classes are such ranges; else None.
        classes: metrics of each class.
        confusion: (k, k) counts, true class by row, predicted by column.
        ids: images scored.
        answers: predicted label of each.
        right: whether it is the image's own.
    """

    split: str
    n: int
    n_clusters: int
    labels: tuple[str, ...]
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    log_loss: Estimate
    roc_auc: Estimate
    calibration_error: Estimate
    calibration_error_by_chance: float
    majority: Estimate
    ordered: OrderedMetrics | None
    classes: tuple[ClassMetrics, ...]
    confusion: IntArray
    ids: tuple[str, ...]
    answers: tuple[str, ...]
    right: BoolArray

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the single images, for JSON."""
        names = (
            "accuracy",
            "balanced_accuracy",
            "macro_f1",
            "log_loss",
            "roc_auc",
            "calibration_error",
            "majority",
        )
        return {
            "split": self.split,
            "n": self.n,
            "n_clusters": self.n_clusters,
            **{name: getattr(self, name).to_dict() for name in names},
            "calibration_error_by_chance": round(self.calibration_error_by_chance, 6),
            "ordered": None if self.ordered is None else self.ordered.to_dict(),
            "classes": [
                {
                    "label": one.label,
                    "support": one.support,
                    "predicted": one.predicted,
                    "precision": one.precision.to_dict(),
                    "recall": one.recall.to_dict(),
                    "f1": one.f1.to_dict(),
                }
                for one in self.classes
            ],
            "confusion": {"labels": list(self.labels), "counts": self.confusion.tolist()},
        }


def score(
    probabilities: DoubleArray,
    truth: list[str],
    *,
    labels: tuple[str, ...],
    majority: str,
    clusters: IntArray,
    ids: list[str],
    split: str,
    seed: int,
) -> Evaluation:
    """Compute all metrics of a head's probabilities.

    Args:
        probabilities: (n, k) by the head.
        truth: label of each image; one that the head does not know counts as an error.
        labels: the head's classes, in the order of its columns.
        majority: the commonest class of the training set, or of these images without one.
        clusters: (n,) images that belong together.
        ids: of the images.
        split: that is scored.
        seed: of the bootstraps.
    """
    known = labels + tuple(sorted(set(truth) - set(labels)))
    ordered = ordered_classes(known)
    every = known if ordered is None else ordered
    n, k = len(truth), len(every)
    number = {label: place for place, label in enumerate(every)}
    y = np.array([number[label] for label in truth], np.int64)
    probabilities = np.pad(probabilities, ((0, 0), (0, k - probabilities.shape[1])))
    probabilities = probabilities[:, [known.index(label) for label in every]]
    answers = probabilities.argmax(axis=1)
    right = answers == y
    own = np.maximum(probabilities[np.arange(n), y], LEAST_PROBABILITY)
    confidence = probabilities.max(axis=1)

    def together(weights: DoubleArray) -> DoubleArray:
        hits, f1s = _recalls_and_f1s(weights, y, answers, k)
        loss = -(weights @ np.log(own)) / weights.sum(axis=1)
        columns = [
            np.nanmean(hits, axis=1),
            np.nanmean(np.where(np.isnan(hits), np.nan, f1s), axis=1),
            loss,
            _auc(weights, y, probabilities),
            _calibration_error(weights, confidence, right),
        ]
        return np.column_stack([*columns, f1s])

    balanced, macro, loss, auc, resampled, *f1s = bootstrap(together, clusters, seed=seed)
    classes = []
    for place, label in enumerate(every):
        given, predicted = y == place, answers == place
        classes.append(
            ClassMetrics(
                label,
                int(given.sum()),
                int(predicted.sum()),
                proportion(right[predicted], clusters[predicted], seed=seed),
                proportion(right[given], clusters[given], seed=seed),
                f1s[place],
            )
        )
    confusion = np.zeros((k, k), np.int64)
    np.add.at(confusion, (y, answers), 1)
    return Evaluation(
        split=split,
        n=n,
        n_clusters=len(np.unique(clusters)),
        labels=every,
        accuracy=proportion(right, clusters, seed=seed),
        balanced_accuracy=balanced,
        macro_f1=macro,
        log_loss=loss,
        roc_auc=auc,
        calibration_error=mirrored(resampled),
        calibration_error_by_chance=_calibration_error_by_chance(confidence, seed=seed),
        majority=proportion(y == number.get(majority, -1), clusters, seed=seed),
        ordered=None if ordered is None else measure_ordered(y, answers, clusters, seed=seed),
        classes=tuple(classes),
        confusion=confusion,
        ids=tuple(ids),
        answers=tuple(every[answer] for answer in answers),
        right=right,
    )


def calibration(
    confidence: DoubleArray, right: BoolArray, clusters: IntArray, *, seed: int
) -> tuple[Estimate, float]:
    """Return the expected calibration error, and what it stays below by chance in 95% of cases.

    Args:
        confidence: (n,) probability of each answer.
        right: (n,) whether it is right.
        clusters: (n,) images that belong together.
        seed: of the bootstrap and of the draws of a perfectly calibrated head.
    """

    def error(weights: DoubleArray) -> DoubleArray:
        return _calibration_error(weights, confidence, right)[:, None]

    made = mirrored(bootstrap(error, clusters, seed=seed)[0])
    return made, _calibration_error_by_chance(confidence, seed=seed)


def _recalls_and_f1s(
    weights: DoubleArray, y: IntArray, answers: IntArray, k: int
) -> tuple[DoubleArray, DoubleArray]:
    """Return (m, k) recall, NaN for a class that is absent, and F1."""
    classes = np.arange(k)
    given = weights @ (y[:, None] == classes)
    predicted = weights @ (answers[:, None] == classes)
    hit = weights @ ((y[:, None] == classes) & (answers[:, None] == classes))
    recall = np.divide(hit, given, out=np.full_like(hit, np.nan), where=given > 0)
    either = given + predicted
    return recall, np.divide(2 * hit, either, out=np.full_like(hit, np.nan), where=either > 0)


def _auc(weights: DoubleArray, y: IntArray, probabilities: DoubleArray) -> DoubleArray:
    """Return (m,) the area under the ROC curve, ties counting half."""
    k = probabilities.shape[1]
    classes = [1] if k == 2 else range(k)
    areas = np.full((len(weights), len(classes)), np.nan)
    for column, place in enumerate(classes):
        positive, scores = y == place, probabilities[:, place]
        others = np.flatnonzero(~positive)
        others = others[np.argsort(scores[others], kind="stable")]
        # Draws weigh by whole numbers, so every sum here is exact, in whatever order.
        passed = np.zeros((len(weights), len(others) + 1))
        np.cumsum(weights[:, others], axis=1, out=passed[:, 1:])
        below, upto = (
            passed[:, np.searchsorted(scores[others], scores[positive], side)]
            for side in ("left", "right")
        )
        up = weights[:, positive]
        won = np.einsum("mp,mp->m", up, below + upto) / 2
        pairs = up.sum(axis=1) * passed[:, -1]
        areas[:, column] = np.divide(won, pairs, out=areas[:, column], where=pairs > 0)
    counted = np.isfinite(areas)
    total = np.where(counted, areas, 0).sum(axis=1)
    out = np.full(len(weights), np.nan)
    return np.asarray(np.divide(total, counted.sum(axis=1), out=out, where=counted.any(axis=1)))


def _calibration_error(
    weights: DoubleArray, confidence: DoubleArray, right: BoolArray, bins: BoolArray | None = None
) -> DoubleArray:
    """Return (m,) the mean distance between confidence and accuracy over bins of equal size."""
    gap = (confidence - right)[:, None] * (_bins(confidence) if bins is None else bins)
    return np.asarray(np.abs(weights @ gap).sum(axis=1) / weights.sum(axis=1))


def _bins(confidence: DoubleArray) -> BoolArray:
    """Return (n, BINS) which bin each image is in."""
    # Images of one confidence share a bin, or their order would decide the figure.
    rank = (stats.rankdata(confidence, method="average") - 0.5) / len(confidence)
    return np.asarray(np.floor(rank * BINS)[:, None] == np.arange(BINS))


def mirrored(resampled: Estimate) -> Estimate:
    """Return the basic bootstrap interval of a share that resampling itself inflates.

    The error of a resample is larger than the sample's by about what the sample's is larger than
    the truth, so the percentile interval is turned around its value (Davison and Hinkley,
    "Bootstrap methods and their application", 1997, section 5.2).
    """
    value = resampled.value
    low = min(value, max(0.0, 2 * value - resampled.high))
    return Estimate(value, low, min(1.0, max(value, 2 * value - resampled.low)), resampled.n)


def _calibration_error_by_chance(confidence: DoubleArray, *, seed: int) -> float:
    generator = np.random.default_rng(seed)
    one, bins = np.ones((1, len(confidence))), _bins(confidence)
    drawn = [
        _calibration_error(one, confidence, generator.random(len(confidence)) < confidence, bins)[0]
        for _ in range(NULL_DRAWS)
    ]
    return float(np.percentile(drawn, 95))
