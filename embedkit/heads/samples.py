"""Samples of training images on which the hyper-parameters of large training sets are chosen."""

import numpy as np

from embedkit.vectors import IntArray

SAMPLE = 20_000  # images; what is chosen hardly depends on more
FEWEST = 50  # of each class, or all where there are fewer


def sample_of(y: IntArray, clusters: IntArray, size: int, *, seed: int) -> IntArray:
    """Return places of images, the classes in proportion, that split few clusters.

    Clusters are put in a random order, and of each class the images that come first are taken; so
    at most one cluster a class is split.

    Args:
        y: (n,) class numbers.
        clusters: (n,) images that belong together.
        size: images wanted.
        seed: of the order.

    Returns:
        Places in ascending order; all where there are no more than wanted.
    """
    if len(y) <= size:
        return np.arange(len(y))
    names, member = np.unique(clusters, return_inverse=True)
    turn = np.random.default_rng(seed).permutation(len(names))[member.ravel()]
    order = np.lexsort((turn, y))
    counts = np.bincount(y)
    wanted = np.minimum(counts, np.maximum(FEWEST, np.ceil(counts * size / len(y)).astype(int)))
    rank = np.arange(len(y)) - (np.cumsum(counts) - counts)[y[order]]
    return np.sort(order[rank < wanted[y[order]]])
