"""Learning curve: accuracy against the number of training images."""

from dataclasses import dataclass

import numpy as np

from embedkit.errors import InputError, NotEnoughImagesError
from embedkit.heads.balance import groups_in
from embedkit.heads.fitting import Rows, fit_rows
from embedkit.heads.head import Head
from embedkit.heads.training import clusters_in, held_out_split, labelled_rows
from embedkit.results import Result
from embedkit.statistics import Estimate, bootstrap, weighted_mean
from embedkit.vectors import BoolArray, IntArray

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
REPEATS = 3


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Accuracy of heads trained on a part of train, its mean over several random parts."""

    n_train: int
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class LearningCurve(Result):
    """The accuracy of one kind of head, from few training images to all.

    Attributes:
        head: kind of head.
        split: that is scored.
        majority: accuracy of always answering the commonest class.
        points: fewest images first.
    """

    head: str
    split: str
    majority: float
    points: tuple[CurvePoint, ...]


def learning_curve(head: Head, *, split: str | None = None, seed: int = 0) -> LearningCurve:
    """Train a head's kind again on random parts of its training images.

    Parts are drawn by whole clusters, class by class, so that each class keeps its share. The
    hyper-parameter is the one that was chosen on all training images.

    Args:
        head: trained.
        split: to score on; as in `evaluate`.
        seed: of the parts and bootstraps.

    Returns:
        The curve; without points for a head that was trained on no image.

    Raises:
        InputError: there is no labelled image to score on.
    """
    store = head.training.opened
    split = split or held_out_split(store, head.label)
    if split is None:
        raise InputError(f"{store.path} has no test or valid split with labels")
    rows = labelled_rows(store, head.label, split)
    given = store.items.label_column(head.label)
    number = {label: place for place, label in enumerate(head.labels)}
    truth = np.array([number.get(given[row] or "", -1) for row in rows])
    queries = store.space(head.training.space).matrix[rows]
    every = clusters_in(store)
    row_of = {id_: row for row, id_ in enumerate(store.items.ids)}
    copies, origin = head.training.copies
    place = np.concatenate([np.arange(len(head.training.ids)), origin])
    trained = np.array([row_of[id_] for id_ in head.training.ids], np.int64)
    vectors = head.training.vectors
    whole = Rows(
        np.concatenate([vectors[:], copies]) if len(copies) else vectors,
        head.training.y[place],
        every[trained][place],
        groups_in(store, head.balance.by, trained)[0][place],
        place,
        len(trained),
    )
    points = []
    for share in SHARES if head.training.ids else ():
        drawn: list[BoolArray] = []
        sizes = []
        for repeat in range(REPEATS if share < 1 else 1):
            part = _part(head.training.y, every[trained], share, seed=seed + repeat)
            if len(np.unique(head.training.y[part])) < len(head.labels):
                break
            try:
                fitted = fit_rows(
                    head.kind,
                    whole.of(part),
                    balance=head.balance,
                    n_classes=len(head.labels),
                    seed=seed,
                    value=head.classifier.choice.value,
                )
            except NotEnoughImagesError:  # for sets that hold as many of each class and group
                break
            drawn.append(fitted.probabilities(queries).argmax(axis=1) == truth)
            sizes.append(len(part))
        if drawn:
            mean = np.mean(drawn, axis=0)
            accuracy = bootstrap(weighted_mean(mean), every[rows], seed=seed)[0]
            points.append(CurvePoint(round(float(np.mean(sizes))), accuracy))
    majority = float(np.mean(truth == number.get(head.majority, -1)))
    return LearningCurve(head.kind, split, majority, tuple(points))


def _part(y: IntArray, clusters: IntArray, share: float, *, seed: int) -> IntArray:
    """Draw clusters of each class at random until they hold the share of its images."""
    generator = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        names, member, sizes = np.unique(clusters[rows], return_inverse=True, return_counts=True)
        order = generator.permutation(len(names))
        before = np.cumsum(sizes[order]) - sizes[order]
        taken = order[before < max(1, round(share * len(rows)))]
        chosen.append(rows[np.isin(member.ravel(), taken)])
    return np.sort(np.concatenate(chosen))
