"""Relabellings: the labels as they could as well have been, if nothing but relatives tied them."""

import numpy as np
import numpy.typing as npt

from embedkit.vectors import IntArray

Relabelled = npt.NDArray[np.int16]  # (draws, n); a thousand of them are held at once

STEP = 1.25  # clusters whose sizes differ by less than this factor may exchange labels
ENOUGH = 10  # clusters that exchange among themselves


def relabellings(
    y: IntArray, clusters: IntArray, *, draws: int, seed: int, strata: IntArray | None = None
) -> Relabelled:
    """Draw labels for a permutation test that respects clusters.

    Clusters of about the same size exchange all their labels, and the images of a cluster exchange
    theirs among themselves: a cluster of one class stays one of one class. Among clusters of equal
    size, and so where every image is its own cluster, each draw is an exact permutation; a
    cluster that gives its labels to a larger one repeats some, to a smaller one loses some.

    Args:
        y: (n,) class numbers.
        clusters: (n,) images that hang together.
        draws: how many.
        seed: of the draws.
        strata: (n,) numbers from 0; images exchange within them only, and clusters of several with
            those that have mostly the same one.

    Returns:
        (draws, n) class numbers.
    """
    generator = np.random.default_rng(seed)
    inside = np.zeros(len(y), np.int64) if strata is None else strata
    made = np.empty((draws, len(y)), np.int16)
    if len(np.unique(clusters)) == len(y):
        for rows in [np.flatnonzero(inside == one) for one in np.unique(inside)]:
            for draw in range(draws):
                made[draw, rows] = generator.permutation(y[rows])
        return made
    _, member, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    member = member.ravel()
    order = np.lexsort((inside, member))
    starts = np.cumsum(sizes) - sizes
    counts = np.zeros((len(sizes), int(inside.max()) + 1), np.int64)
    np.add.at(counts, (member, inside), 1)
    most = counts.argmax(axis=1)
    parts = [np.flatnonzero(most == one) for one in np.unique(most)]
    groups = [part[group] for part in parts for group in _exchanging(sizes[part])]
    place = np.arange(len(y)) - np.repeat(starts, sizes)  # of each image in its cluster
    for draw in range(draws):
        giver = np.empty(len(sizes), np.int64)
        for group in groups:
            giver[group] = generator.permutation(group)
        mixed = np.lexsort((generator.random(len(y)), inside, member))
        source = np.repeat(giver, sizes)
        made[draw, order] = y[mixed[starts[source] + place % sizes[source]]]
    return made


def _exchanging(sizes: IntArray) -> list[IntArray]:
    """Divide clusters into groups of about the same size, each of `ENOUGH` where there are."""
    by_size = np.argsort(sizes, kind="stable")
    steps = np.floor(np.log(sizes[by_size]) / np.log(STEP)).astype(np.int64)
    groups: list[list[int]] = [[]]
    last = steps[0]
    for cluster, step in zip(by_size.tolist(), steps.tolist(), strict=True):
        if step != last and len(groups[-1]) >= ENOUGH:
            groups.append([])
        groups[-1].append(cluster)
        last = step
    if len(groups) > 1 and len(groups[-1]) < ENOUGH:
        few = groups.pop()
        groups[-1] += few
    return [np.array(group, np.int64) for group in groups]
