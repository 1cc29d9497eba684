"""The same person by their face: links at a threshold that is set for the size of the search."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from embedkit.statistics import connected
from embedkit.store import Space, Store
from embedkit.vectors import BoolArray, DoubleArray, FloatArray, IntArray

FALSE_LINKS = 0.05  # expected of a test face with the whole of train, if nobody is in both
FEWEST = 50  # test faces that the threshold is set by
SMALL_SIDE = 80  # pixels of a whole picture; below it faces cannot be told apart
FOUND = 0.5  # share of pictures with a face
ROWS = 1024
# Quantiles of the nearest strangers that the threshold is drawn from: high ones may be mates.
QUANTILES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, slots=True)
class FaceLinks:
    """Who is who by their faces.

    Attributes:
        space: whose vectors were compared.
        threshold: cosine of centred vectors from which two faces are one person's.
        people: (n,) cluster of each image, numbered by its first.
        links: pairs of images above the threshold.
        refused: of them, those that would have joined two clusters by a single link.
        largest: images in the largest cluster, by threshold (a little lower, this one, higher).
    """

    space: str
    threshold: float
    people: IntArray
    links: int
    refused: int
    largest: tuple[tuple[float, int], ...]


def face_space(store: Store) -> Space | None:
    """Return the space of a store that was made to tell people apart; None if there is none."""
    for space in store.spaces.values():
        terms = space.record.contract
        if terms["backbone"].startswith("facenet:") or terms["preprocessing"].get("landmarks"):
            return space
    return None


def why_not(store: Store, space: Space) -> str:
    """Say why faces of a store cannot be told apart; empty if they can."""
    items = store.items
    if space.record.backbone["align"] == "mtcnn":
        found = [int(count or 0) > 0 for count in items.column("faces")]  # type: ignore[call-overload]
        if sum(found) < FOUND * len(found):
            return (
                f"faces were found in {sum(found)} of {len(found)} pictures only; people cannot be "
                "told apart by the rest"
            )
        return ""
    sides = np.minimum(items.column("width"), items.column("height"))  # type: ignore[call-overload]
    if np.median(sides) < SMALL_SIDE:
        return (
            f"pictures of {np.median(sides):.0f} pixels (median) are too small to tell people "
            "apart by their faces"
        )
    return ""


def link_faces(
    vectors: FloatArray, near: IntArray, test: BoolArray, train: BoolArray
) -> tuple[float, IntArray, DoubleArray] | None:
    """Return the threshold for this search, and the pairs above it.

    For each test image the most similar training image is taken that is no copy of it. Where most
    test images show nobody of train, the lower half of these maxima are strangers; a Gumbel
    distribution through their quantiles gives the similarity that the nearest stranger exceeds
    once in 1 / `FALSE_LINKS` searches of this size (E. J. Gumbel, "Statistics of extremes", 1958).
    Where most show somebody of train, the threshold comes out too high, never too low.

    Args:
        vectors: (n, d) unit rows of faces.
        near: (n,) cluster of each image by copies.
        test: (n,) whether an image is in test.
        train: (n,) whether it is in train.

    Returns:
        The threshold, (m, 2) rows of linked images, and their (m,) similarities; None if there are
        too few test faces to set it by.
    """
    rows_of_test, rows_of_train = np.flatnonzero(test), np.flatnonzero(train)
    if len(rows_of_test) < FEWEST or not len(rows_of_train):
        return None
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    centred = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 1e-6)
    maxima = []
    for start in range(0, len(rows_of_test), ROWS):
        block = rows_of_test[start : start + ROWS]
        similar = centred[block] @ centred[rows_of_train].T
        similar[near[block][:, None] == near[rows_of_train][None]] = -1
        maxima.append(similar.max(axis=1))
    found = np.quantile(np.concatenate(maxima).astype(np.float64), QUANTILES)
    # For a Gumbel distribution a quantile q lies at place - spread * log(-log q).
    reduced = -np.log(-np.log(np.array(QUANTILES)))
    spread, place = np.polyfit(reduced, found, 1)
    threshold = round(float(place - spread * np.log(-np.log(1 - FALSE_LINKS))), 6)
    pairs, scores = [], []
    for start in range(0, len(centred), ROWS):
        block = centred[start : start + ROWS]
        first, second = np.nonzero(block @ centred[start:].T >= threshold - 0.15)
        keep = first < second
        first, second = first[keep] + start, second[keep] + start
        cosine = np.einsum("ij,ij->i", centred[first], centred[second], dtype=np.float64)
        pairs.append(np.stack([first, second], axis=1))
        scores.append(np.round(cosine, 6))
    return threshold, np.concatenate(pairs), np.concatenate(scores)


def cluster_faces(
    n: int, pairs: IntArray, scores: DoubleArray, near: IntArray, threshold: float
) -> tuple[IntArray, int, int]:
    """Join images into people; two clusters of several photographs need more than one link.

    With n images there are n² / 2 chances of a false link, and one of them would make two people
    one. Copies count as one photograph.

    Args:
        n: images.
        pairs: (m, 2) rows.
        scores: (m,) similarity of each pair.
        near: (n,) cluster of each image by copies.
        threshold: from which a pair is a link.

    Returns:
        (n,) cluster of each image, the number of links, and of those refused.
    """
    people = _People(n)
    taken = scores >= threshold
    order = np.lexsort((pairs[taken, 1], pairs[taken, 0], -scores[taken]))
    links = 0
    for a, b in near[pairs[taken][order]].tolist():
        if a != b:
            links += 1
            people.link(a, b)
    found = np.array([people.root(int(one)) for one in near])
    return connected(n, np.stack([np.arange(n), found], axis=1)), links, people.refused


class _People:
    """Clusters of photographs that grow link by link."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))
        self._size = [1] * n
        # Links between two clusters that are too few yet, by their roots, both ways.
        self._waiting: dict[int, dict[int, int]] = defaultdict(dict)

    @property
    def refused(self) -> int:
        """Links that join nothing."""
        return sum(sum(some.values()) for some in self._waiting.values()) // 2

    def root(self, one: int) -> int:
        """Return the photograph that stands for a photograph's cluster."""
        while self._parent[one] != one:
            self._parent[one] = self._parent[self._parent[one]]
            one = self._parent[one]
        return one

    def link(self, a: int, b: int) -> None:
        """Take one more link between two photographs."""
        a, b = self.root(a), self.root(b)
        if a == b:
            return
        between = self._waiting[a].get(b, 0) + 1
        self._waiting[a][b] = self._waiting[b][a] = between
        while self._enough(a, b):
            self._merge(a, b)
            # What waited for a second link may have it now.
            b = next((other for other in sorted(self._waiting[a]) if self._enough(a, other)), a)
            if b == a:
                return

    def _enough(self, a: int, b: int) -> bool:
        return self._waiting[a].get(b, 0) >= min(2, self._size[a], self._size[b])

    def _merge(self, a: int, b: int) -> None:
        self._parent[b] = a
        self._size[a] += self._size[b]
        del self._waiting[a][b]
        for other, n in self._waiting.pop(b).items():
            if other != a:
                del self._waiting[other][b]
                together = self._waiting[a].get(other, 0) + n
                self._waiting[a][other] = self._waiting[other][a] = together
