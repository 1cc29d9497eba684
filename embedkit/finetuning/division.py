"""Which images a network is trained, stopped and scored on."""

from dataclasses import dataclass, replace

import numpy as np

from embedkit.errors import InputError, NotEnoughImagesError
from embedkit.heads.training import clusters_in, held_out_split, labelled_rows
from embedkit.store import Store
from embedkit.vectors import BoolArray, IntArray

VALID = 0.15  # of each class of train, where the data set has no valid split
LEAST = 10  # training images


@dataclass(frozen=True, slots=True)
class Division:
    """Rows of a store.

    Attributes:
        labels: classes of the training images.
        y: (n,) class number of every image of the store; -1 for none of them.
        train: rows to train on.
        valid: rows that say when to stop.
        test: rows to score.
        split: that the last are of.
        cut: whether `valid` was cut off the train split.
    """

    labels: tuple[str, ...]
    y: IntArray
    train: IntArray
    valid: IntArray
    test: IntArray
    split: str
    cut: bool

    def without(self, removed: BoolArray) -> "Division":
        """Return it without some images, (n,) bool, to train and to stop on."""
        return replace(
            self, train=self.train[~removed[self.train]], valid=self.valid[~removed[self.valid]]
        )

    @property
    def every(self) -> IntArray:
        """All rows."""
        return np.concatenate([self.train, self.valid, self.test])


def divide(store: Store, label: str, *, seed: int) -> Division:
    """Divide the labelled images of a store; test images are neither trained nor stopped on.

    Where the data set has no valid split, a part of train is cut off.

    Raises:
        InputError: a split has no labelled image.
        NotEnoughImagesError: one class only, or too few images.
    """
    split = held_out_split(store, label)
    if split is None:
        raise InputError(
            f"{store.path} has no test or valid split with a {label!r}; 'embedkit split' makes one"
        )
    train, test = labelled_rows(store, label, "train"), labelled_rows(store, label, split)
    names = store.items.label_column(label)
    labels = tuple(sorted({names[row] or "" for row in train}))
    if len(labels) < 2:
        raise NotEnoughImagesError(
            f"the train split holds one class only ({labels[0]!r}, {len(train)} images); a "
            "classifier needs two"
        )
    number = {name: place for place, name in enumerate(labels)}
    y = np.array([-1 if name is None else number.get(name, -1) for name in names], np.int64)
    splits = np.array([side or "" for side in store.items.splits])
    valid = np.flatnonzero((splits == "valid") & (y >= 0))
    cut = split == "valid" or not len(valid)
    if cut:
        held = cut_off(y[train], clusters_in(store)[train], seed=seed)
        train, valid = train[~held], train[held]
    if len(train) < LEAST or not len(valid):
        raise NotEnoughImagesError(
            f"{len(train)} images to train on and {len(valid)} to say when to stop; a network "
            f"needs {LEAST} and 1 at the least, of different groups"
        )
    return Division(labels, y, train, valid, test, split, cut)


def cut_off(y: IntArray, clusters: IntArray, *, seed: int) -> BoolArray:
    """Choose a part of each class, whole clusters at a time, that leaves every class some images.

    Args:
        y: (n,) class of each image.
        clusters: (n,) images that stay together.
        seed: of the order in which clusters are taken.

    Returns:
        (n,) whether each image is chosen; about `VALID` of each class.
    """
    names, member = np.unique(clusters, return_inverse=True)
    content = np.zeros((len(names), int(y.max()) + 1), np.int64)
    np.add.at(content, (member.ravel(), y), 1)
    left, wanted = content.sum(axis=0), np.rint(VALID * content.sum(axis=0))
    chosen = np.zeros(len(names), bool)
    held = np.zeros_like(left)
    for one in np.random.default_rng(seed).permutation(len(names)):
        mine = content[one]
        more = held + mine
        if np.all(more[mine > 0] <= wanted[mine > 0]) and np.all(left[mine > 0] > mine[mine > 0]):
            chosen[one], held, left = True, more, left - mine
    return np.asarray(chosen[member.ravel()])
