"""Rates: how the images of each group are labelled and answered, by fairlearn's MetricFrame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.audits.base import rounded
from embedkit.audits.groups import Grouping
from embedkit.heads.metrics import calibration
from embedkit.heads.ordered import OrderedMetrics, measure_ordered, ordered_classes
from embedkit.statistics import Estimate, proportion
from embedkit.vectors import BoolArray, DoubleArray, IntArray


@dataclass(frozen=True, slots=True)
class ClassRates:
    """How one class fares in one group; a rate of no image is NaN.

    Attributes:
        label: the class.
        share: of the group's images that carry it.
        answered: share that are answered with it.
        hit: of those that carry it, the share that are answered with it: true-positive rate.
        false: of those that do not, likewise: false-positive rate.
        precision: of those answered with it, the share that carry it.
    """

    label: str
    share: Estimate
    answered: Estimate
    hit: Estimate
    false: Estimate
    precision: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "label": self.label,
            "label_share": self.share.to_dict(),
            "answered": self.answered.to_dict(),
            "true_positive_rate": self.hit.to_dict(),
            "false_positive_rate": self.false.to_dict(),
            "precision": self.precision.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class GroupRates:
    """One group of test images.

    Attributes:
        grouping: attribute, or two.
        group: value, or two.
        independent: images, those related to one another counted once.
        accuracy: of the head.
        calibration: mean distance of confidence and accuracy, over ten bins.
        calibration_by_chance: what a perfectly calibrated head of this confidence stays below in
            95% of such groups.
        ordered: how far answers are off, where classes are ranges of numbers; else None.
        classes: rates of each.
    """

    grouping: str
    group: str
    independent: int
    accuracy: Estimate
    calibration: Estimate
    calibration_by_chance: float
    ordered: OrderedMetrics | None
    classes: tuple[ClassRates, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "attributes": self.grouping,
            "group": self.group,
            "n": self.accuracy.n,
            "independent": self.independent,
            "accuracy": self.accuracy.to_dict(),
            "calibration_error": self.calibration.to_dict(),
            "calibration_error_by_chance": rounded(self.calibration_by_chance),
            "ordered": None if self.ordered is None else self.ordered.to_dict(),
            "classes": [one.to_dict() for one in self.classes],
        }


def group_rates(
    grouping: Grouping,
    y: IntArray,
    probabilities: DoubleArray,
    clusters: IntArray,
    labels: Sequence[str],
    *,
    seed: int,
) -> tuple[GroupRates, ...]:
    """Describe every group of a grouping, in the order of its names.

    Args:
        grouping: of m test images.
        y: (m,) class numbers.
        probabilities: (m, k) by the head; the largest is its answer.
        clusters: (m,) of relatives.
        labels: (k,) names of the classes.
        seed: of the bootstraps.
    """
    from fairlearn import metrics as fair  # takes a second, and brings pandas

    kept = grouping.members >= 0
    members, y, clusters = grouping.members[kept], y[kept], clusters[kept]
    answers, confidence = probabilities[kept].argmax(axis=1), probabilities[kept].max(axis=1)
    right = answers == y
    points: list[Any] = []
    for label in range(len(labels)):
        given, answered = (y == label).astype(int), (answers == label).astype(int)
        frame = fair.MetricFrame(
            metrics={
                "share": lambda truth, _: fair.selection_rate(truth, truth),
                "answered": fair.selection_rate,
                "hit": fair.true_positive_rate,
                "false": fair.false_positive_rate,
                # The share of those answered that are so labelled is the rate the other way round.
                "precision": lambda truth, said: fair.true_positive_rate(said, truth),
            },
            y_true=given,
            y_pred=answered,
            sensitive_features=members,
        )
        points.append(frame.by_group)
    accuracy = fair.MetricFrame(
        metrics=fair.mean_prediction, y_true=right, y_pred=right, sensitive_features=members
    ).by_group
    ranges = ordered_classes(labels)
    made = []
    for g, name in enumerate(grouping.groups):
        inside = members == g

        def rate(
            value: float, marked: BoolArray, of: BoolArray, inside: BoolArray = inside
        ) -> Estimate:
            return _around(value, marked[of & inside], clusters[of & inside], seed=seed)

        every, classes = np.ones(len(y), bool), []
        for label, by_group in enumerate(points):
            given, answered, at = y == label, answers == label, by_group.loc[g]
            classes.append(
                ClassRates(
                    labels[label],
                    rate(at["share"], given, every),
                    rate(at["answered"], answered, every),
                    rate(at["hit"], answered, given),
                    rate(at["false"], answered, ~given),
                    rate(at["precision"], given, answered),
                )
            )
        error, by_chance = calibration(
            confidence[inside], right[inside], clusters[inside], seed=seed
        )
        made.append(
            GroupRates(
                grouping.name,
                name,
                len(np.unique(clusters[inside])),
                rate(accuracy.loc[g], right, every),
                error,
                by_chance,
                None
                if ranges is None
                else _off(ranges, labels, y[inside], answers[inside], clusters[inside], seed=seed),
                tuple(classes),
            )
        )
    return tuple(made)


def _off(
    ranges: Sequence[str],
    labels: Sequence[str],
    y: IntArray,
    answers: IntArray,
    clusters: IntArray,
    *,
    seed: int,
) -> OrderedMetrics:
    place = np.array([ranges.index(label) for label in labels], np.int64)
    return measure_ordered(place[y], place[answers], clusters, seed=seed)


def _around(value: float, marked: BoolArray, clusters: IntArray, *, seed: int) -> Estimate:
    """Put an interval around a rate; one of no image is not 0, as fairlearn has it, but unknown."""
    made = proportion(marked, clusters, seed=seed)
    return made if made.n == 0 else replace(made, value=float(value))
