"""Fitting: training images and their altered copies become a classifier of one kind."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.errors import InputError
from embedkit.heads.balance import Balance
from embedkit.heads.classifier import Classifier
from embedkit.heads.cumulative import fit_cumulative
from embedkit.heads.knn import fit_knn
from embedkit.heads.logistic import fit_logistic
from embedkit.matrices import Matrix, Part, part_of
from embedkit.rows import Rows as StoredRows
from embedkit.vectors import IntArray, check_unit_rows

CUMULATIVE = "cumulative"
# What audits ask, whatever the classes are.
HEADS: dict[str, Callable[..., Classifier]] = {"logistic": fit_logistic, "knn": fit_knn}
KINDS = HEADS | {CUMULATIVE: fit_cumulative}


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Training images and their altered copies, as every fit takes them.

    Attributes:
        vectors: (n, d) float32, copies last.
        y: (n,) class numbers.
        clusters: (n,) images that must stay together.
        groups: (n,) group numbers, -1 for none.
        origin: (n,) place of the image that each is, or is a copy of.
        originals: rows that are no copies.
    """

    vectors: Matrix
    y: IntArray
    clusters: IntArray
    groups: IntArray
    origin: IntArray
    originals: int

    def of(self, places: IntArray) -> "Rows":
        """Return some of the images with their copies."""
        copies = np.flatnonzero(np.isin(self.origin[self.originals :], places))
        kept = np.concatenate([places, self.originals + copies])
        return Rows(
            part_of(self.vectors, kept),
            self.y[kept],
            self.clusters[kept],
            self.groups[kept],
            np.searchsorted(places, self.origin[kept]),
            len(places),
        )


def fit_rows(
    kind: str,
    rows: Rows,
    *,
    balance: Balance,
    n_classes: int,
    seed: int,
    value: float | None = None,
) -> Classifier:
    """Fit a classifier.

    Args:
        kind: one of `KINDS`.
        rows: to train on; every class below `n_classes` occurs.
        balance: of them.
        n_classes: number of classes.
        seed: of folds and draws.
        value: of the hyper-parameter, to fit without choosing; at most the images for kNN.

    Raises:
        EmbedkitError: the vectors are no finite unit rows.
        InputError: a kNN head is to be averaged over subsets.
        NotEnoughImagesError: a class has too few images of a group for them.
    """
    if not isinstance(rows.vectors, Part | StoredRows):  # a store checks its own
        check_unit_rows(rows.vectors)

    def fitted(part: Rows, value: float | None) -> Classifier:
        if kind == "knn" and value is not None:
            value = min(value, len(part.y))
        return KINDS[kind](
            part.vectors,
            part.y,
            part.clusters,
            n_classes=n_classes,
            seed=seed,
            value=value,
            originals=part.originals,
            emphasis=balance.emphasis(part.y, part.groups, chosen=value is not None),
        )

    if balance.over != "subset":
        return fitted(rows, value)
    if kind == "knn":
        raise InputError(
            "a kNN head has no coefficients to average over subsets; --balance groups evens out "
            "its votes, and --head logistic takes subsets"
        )
    own = slice(rows.originals)
    subsets = balance.subsets(rows.y[own], rows.groups[own], seed=seed)
    first = fitted(rows.of(subsets[0]), value)
    parts = [first.arrays()]
    parts += [fitted(rows.of(one), first.choice.value).arrays() for one in subsets[1:]]
    mean: dict[str, Any] = {
        name: np.mean([one[name] for one in parts], axis=0) for name in parts[0]
    }
    return replace(first, **mean)  # type: ignore[type-var]
