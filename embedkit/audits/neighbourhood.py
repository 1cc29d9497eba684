"""The neighbours of every image, found once: any division's nearest images are read off them."""

import numpy as np

from embedkit.heads.knn import vote
from embedkit.store.index import NeighbourIndex
from embedkit.vectors import BoolArray, DoubleArray, FloatArray, IntArray

NEIGHBOURS = 160  # 101, the widest vote, of which a fifth may be in the fold that is tested
STRANGERS = 32  # one of them is nearly always in train
CELLS = 8_000_000  # of a table of neighbours that is held at once


class Neighbourhood:
    """Each image's nearest others, closest first: n * n * d multiplications, made once.

    A list holds the nearest `NEIGHBOURS` images and, beyond them, the nearest `STRANGERS` of other
    clusters: a large cluster may be on one side as a whole.
    """

    def __init__(self, vectors: FloatArray, clusters: IntArray) -> None:
        """Find the neighbours.

        Args:
            vectors: (n, d) float32, unit rows.
            clusters: (n,) of relatives.
        """
        self.vectors = vectors
        self.clusters = clusters
        n = len(vectors)
        largest = int(np.unique(clusters, return_counts=True)[1].max())
        wanted = min(n - 1, max(NEIGHBOURS, STRANGERS + largest - 1))
        index = NeighbourIndex(vectors)
        rows, similarities = [], []
        step = max(1, CELLS // max(wanted, 1))
        for start in range(0, n, step):
            own = np.arange(start, min(start + step, n))
            found = index.search(vectors[own], wanted, exclude=own)
            stranger = clusters[found.rows] != clusters[own][:, None]
            kept = stranger & (stranger.cumsum(axis=1) <= STRANGERS)
            kept[:, :NEIGHBOURS] = True
            width = min(wanted, NEIGHBOURS + STRANGERS)
            place = np.argsort(~kept, axis=1, kind="stable")[:, :width]
            rows.append(np.take_along_axis(found.rows, place, axis=1))
            similarities.append(np.take_along_axis(found.similarities, place, axis=1))
        self._rows = np.concatenate(rows)
        self._similarities = np.concatenate(similarities)

    def nearest(self, asked: BoolArray, among: BoolArray) -> DoubleArray:
        """Return the cosine of each asked image with the nearest of others.

        Args:
            asked: (n,) the images.
            among: (n,) the others, none of them asked, at least one.
        """
        queries = np.flatnonzero(asked)
        there = among[self._rows[queries]]
        place = there.argmax(axis=1)
        value = np.take_along_axis(self._similarities[queries], place[:, None], axis=1)[:, 0]
        missing = ~there.any(axis=1)
        # Beyond the first neighbours only strangers are listed; a relative might be nearer.
        if (place >= NEIGHBOURS).any():
            missing |= (place >= NEIGHBOURS) & np.isin(self.clusters[queries], self.clusters[among])
        if missing.any():
            others = np.ascontiguousarray(self.vectors[among])
            index = NeighbourIndex(others)
            value[missing] = index.search(self.vectors[queries[missing]], 1).similarities[:, 0]
        return np.asarray(value)

    def strangers(self) -> tuple[IntArray, DoubleArray]:
        """Return each image's nearest `STRANGERS` of other clusters, closest first.

        Returns:
            (n, k) images, -1 where there are fewer, and (n, k) cosines.
        """
        own = self.clusters[:, None]
        relative = self.clusters[self._rows] == own
        place = np.argsort(relative, axis=1, kind="stable")[:, :STRANGERS]
        rows = np.take_along_axis(self._rows, place, axis=1)
        similarities = np.take_along_axis(self._similarities, place, axis=1)
        return np.where(self.clusters[rows] != own, rows, -1), similarities

    def vote(self, asked: IntArray, rows: IntArray, y: IntArray, k: int) -> DoubleArray:
        """Return the probabilities that a kNN head on some images gives others; see `knn.vote`.

        Args:
            asked: images, none of them among `rows`.
            rows: images that vote, in ascending order.
            y: (m,) class of each of `rows`, from 0 without a gap.
            k: of the head.
        """
        k = min(k, len(rows))
        position = np.full(len(self.vectors), -1)
        position[rows] = np.arange(len(rows))
        listed = position[self._rows[asked, :NEIGHBOURS]]
        place = np.argsort(listed < 0, axis=1, kind="stable")[:, :k]
        nearest = np.take_along_axis(listed, place, axis=1)
        similarities = np.take_along_axis(self._similarities[asked], place, axis=1)
        few = (listed >= 0).sum(axis=1) < k
        if nearest.shape[1] < k:
            nearest = np.full((len(asked), k), -1)
            similarities = np.zeros((len(asked), k))
            few[:] = True
        if few.any():
            others = np.ascontiguousarray(self.vectors[rows])
            found = NeighbourIndex(others).search(self.vectors[asked[few]], k)
            nearest[few], similarities[few] = found.rows, found.similarities
        return vote(nearest, similarities, y, np.bincount(y) / len(y))
