"""Heads on nuisances: a linear one and trees, each with one fixed setting, for a few columns."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from embedkit.vectors import DoubleArray, IntArray

Model = Callable[[int], Any]


def _linear(_: int) -> LogisticRegression:
    return LogisticRegression(C=0.1, max_iter=300, tol=1e-3)


def _trees(seed: int) -> ExtraTreesClassifier:
    return ExtraTreesClassifier(
        n_estimators=40,
        max_depth=10,
        min_samples_leaf=5,
        max_features=0.3,
        bootstrap=True,
        max_samples=0.6,
        n_jobs=1,
        random_state=seed,
    )


# Columns are few and their scale is known, so neither has anything to choose: what is chosen with
# a look at the accuracy would have to be tested for it.
NUISANCE_HEADS: dict[str, Model] = {"logistic": _linear, "trees": _trees}


def nuisance_probabilities(
    kind: str,
    x: DoubleArray,
    y: IntArray,
    asked: DoubleArray,
    *,
    n_classes: int,
    seed: int,
) -> DoubleArray:
    """Fit a head on nuisances and return its probabilities for other images.

    Args:
        kind: one of `NUISANCE_HEADS`.
        x: (n, f) nuisances, of the order of 1.
        y: (n,) class numbers; classes may be missing, and are then never answered.
        asked: (m, f) of the other images.
        n_classes: number of classes.
        seed: of the trees.

    Returns:
        (m, n_classes) float64, rows summing to 1; the same for any number of threads.
    """
    made = np.zeros((len(asked), n_classes))
    classes = np.unique(y)
    if len(classes) == 1:
        made[:, classes] = 1.0
        return made
    model = NUISANCE_HEADS[kind](seed)
    with threadpool_limits(1), warnings.catch_warnings():
        # An optimum to three digits is enough, and no head has to be the best of its kind.
        warnings.simplefilter("ignore", ConvergenceWarning)
        made[:, classes] = model.fit(x, y).predict_proba(asked)
    return made
