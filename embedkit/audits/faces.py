"""The same person by their face: links at a threshold that is set for the size of the search."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from embedkit.statistics import connected
from embedkit.store import Space, Store
from embedkit.store.outsiders import made_for_people
from embedkit.vectors import BoolArray, DoubleArray, FloatArray, IntArray

FALSE_LINKS = 0.05  # expected of a test face with the whole of train, if nobody is in both
FEWEST = 50  # test faces that the threshold is set by
SMALL_SIDE = 80  # pixels of a whole picture; below it faces cannot be told apart
FOUND = 0.5  # share of pictures with a face
ROWS = 1024
# Training images are searched in chunks so small that most hold no mate of a test image; what is
# above these quantiles of the chunks' maxima may be one all the same.
CHUNK = 32
QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True, slots=True)
class FaceLinks:
    """Who is who by their faces.

    Attributes:
        space: whose vectors were compared.
        threshold: cosine of centred vectors from which two faces are one person's.
        people: (n,) cluster of each image, numbered by its first.
        links: pairs of photographs above the threshold.
        refused: of them, those that join no clusters, for too few others agree.
        largest: images in the largest cluster, by threshold: a little lower, this one, higher.
    """

    space: str
    threshold: float
    people: IntArray
    links: int
    refused: int
    largest: tuple[tuple[float, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "space": self.space,
            "threshold": self.threshold,
            "expected_false_links_of_a_test_face": FALSE_LINKS,
            "links": self.links,
            "links_refused": self.refused,
            "largest_cluster": [
                {"threshold": round(threshold, 4), "images": n} for threshold, n in self.largest
            ],
        }


def people_by_faces(
    store: Store, space: Space, near: IntArray, test: BoolArray, train: BoolArray
) -> FaceLinks | str:
    """Tell people apart by the vectors of their faces.

    Args:
        store: of the space; pictures in which it found no face show nobody.
        space: of a face network.
        near: (n,) cluster of each image by copies.
        test: (n,) whether an image is in test.
        train: (n,) whether it is in train.

    Returns:
        The people; a sentence if no threshold can be set.
    """
    seen = np.ones(len(near), bool)
    if space.record.backbone["align"] == "mtcnn":
        counts: list[Any] = store.items.column("faces")
        seen = np.array([bool(count) for count in counts])
    rows = np.flatnonzero(seen)
    found = link_faces(space.vectors[rows], near[rows], test[rows], train[rows])
    if isinstance(found, str):
        return found
    threshold, pairs, scores = found
    pairs = rows[pairs]
    people, links, refused = cluster_faces(len(near), pairs, scores, near, threshold)
    largest = []
    for step in (-0.1, -0.05, 0.0, 0.05, 0.1):
        others = cluster_faces(len(near), pairs, scores, near, threshold + step)[0]
        largest.append((threshold + step, int(np.bincount(others).max())))
    return FaceLinks(space.name, threshold, people, links, refused, tuple(largest))


def face_space(store: Store) -> Space | None:
    """Return the space of a store that was made to tell people apart; None if there is none."""
    for space in store.spaces.values():
        if made_for_people(space.record.contract):
            return space
    return None


def why_not(store: Store, space: Space) -> str:
    """Say why faces of a store cannot be told apart; empty if they can."""
    items = store.items
    seen = space.record.made_with.get("faces_in_sample")
    if seen is not None and float(seen) < FOUND:
        return (
            f"a face was found in {float(seen):.0%} of the pictures looked at; people cannot be "
            "told apart by the rest"
        )
    if space.record.backbone["align"] == "mtcnn":
        counts: list[Any] = items.column("faces")
        found = [bool(count) for count in counts]
        if sum(found) < FOUND * len(found):
            return (
                f"faces were found in {sum(found)} of {len(found)} pictures only; people cannot be "
                "told apart by the rest"
            )
        return ""
    columns: Any = (items.column("width"), items.column("height"))
    sides = np.minimum(*columns)
    if np.median(sides) < SMALL_SIDE:
        return (
            f"pictures of {np.median(sides):.0f} pixels (median) are too small to tell people "
            "apart by their faces"
        )
    return ""


def link_faces(
    vectors: FloatArray, near: IntArray, test: BoolArray, train: BoolArray
) -> tuple[float, IntArray, DoubleArray] | str:
    """Return the threshold for this search, and the pairs near and above it.

    Strangers' similarities are drawn from the data itself: train is searched in chunks so small
    that most hold no photograph of the test image's person; the lower quantiles of the chunks'
    maxima are of strangers, and the tail through them, extrapolated to the whole of train, says
    which similarity the nearest stranger exceeds once in 1 / `FALSE_LINKS` searches. What a
    verification table calls the false-match rate comes out near `FALSE_LINKS` / n.

    Args:
        vectors: (n, d) unit rows of faces.
        near: (n,) cluster of each image by copies; they are no strangers, and no links.
        test: (n,) whether an image is in test.
        train: (n,) whether it is in train.

    Returns:
        The threshold, (m, 2) rows of images, and their (m,) similarities; a sentence if there are
        too few test faces, or too few people, to set it by.
    """
    rows_of_test, rows_of_train = np.flatnonzero(test), np.flatnonzero(train)
    if len(rows_of_test) < FEWEST or not len(rows_of_train):
        return f"a threshold needs {FEWEST} test faces, there are {len(rows_of_test)}"
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    centred = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 1e-6)
    # In an order that puts one person's photographs into different chunks as chance does.
    shuffled = np.random.default_rng(0).permutation(rows_of_train)
    chunks = np.array_split(shuffled, max(1, len(shuffled) // CHUNK))
    maxima = []
    for start in range(0, len(rows_of_test), ROWS):
        block = rows_of_test[start : start + ROWS]
        for chunk in chunks:
            similar = centred[block] @ centred[chunk].T
            similar[near[block][:, None] == near[chunk][None]] = -1
            maxima.append(similar.max(axis=1))
    found = np.quantile(np.concatenate(maxima).astype(np.float64), QUANTILES)
    # A quantile q of the maxima of m strangers is their quantile q^(1/m); on the line through
    # those, as of a normal distribution's tail, lies what the nearest of all of train seldom
    # exceeds.
    size = len(shuffled) / len(chunks)
    at = stats.norm.ppf(np.array(QUANTILES) ** (1 / size))
    spread, place = np.polyfit(at, found, 1)
    far = stats.norm.ppf((1 - FALSE_LINKS) ** (1 / len(shuffled)))
    # The products are in float32: more decimals would depend on the number of threads.
    threshold = round(float(place + spread * far), 4)
    # Of a few people with many photographs each, most chunks hold a mate, and the line above is
    # theirs. The lower half of single similarities is of strangers all the same; if more maxima
    # than strangers can explain lie beyond what it extrapolates to, no threshold can be trusted.
    every = centred[rows_of_test[:ROWS]] @ centred[rows_of_train].T
    low = np.array(QUANTILES)[np.array(QUANTILES) <= 0.5]
    slope, middle = np.polyfit(stats.norm.ppf(low), np.quantile(every.astype(np.float64), low), 1)
    beyond = np.concatenate(maxima) > middle + slope * far
    if beyond.mean() > 1 - QUANTILES[-1] or threshold >= 1:
        return (
            "too few people, with too many photographs each, to tell from the data how alike "
            "strangers are; name the people with 'embedkit embed --group COLUMN'"
        )
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
    """Join images into people: two clusters become one if half of the pairs between them are links.

    With n images there are n² / 2 chances of a false link, and a chain of them would make many
    people one. Copies count as one photograph.

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
    photographs = np.sort(near[pairs[taken]], axis=1)
    order = np.lexsort((photographs[:, 1], photographs[:, 0], -scores[taken]))
    met: set[tuple[int, int]] = set()
    for a, b in photographs[order].tolist():
        if a != b and (a, b) not in met:
            met.add((a, b))
            people.link(a, b)
    found = np.array([people.root(int(one)) for one in near])
    return connected(n, np.stack([np.arange(n), found], axis=1)), len(met), people.refused


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
            # What waited for more links may have them now.
            b = next((other for other in sorted(self._waiting[a]) if self._enough(a, other)), a)
            if b == a:
                return

    def _enough(self, a: int, b: int) -> bool:
        return 2 * self._waiting[a].get(b, 0) >= self._size[a] * self._size[b]

    def _merge(self, a: int, b: int) -> None:
        self._parent[b] = a
        self._size[a] += self._size[b]
        del self._waiting[a][b]
        for other, n in self._waiting.pop(b).items():
            if other != a:
                del self._waiting[other][b]
                together = self._waiting[a].get(other, 0) + n
                self._waiting[a][other] = self._waiting[other][a] = together
