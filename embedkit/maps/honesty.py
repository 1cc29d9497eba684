"""How far a map can be trusted: what the plane kept of the space, and what is chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from embedkit.audits.base import rounded
from embedkit.maps.layout import lay_out, neighbour_graph
from embedkit.store.index import NeighbourIndex, Neighbours
from embedkit.vectors import DoubleArray, FloatArray, IntArray

RANKED = 1_000  # images whose neighbours in the plane are ranked among all in the space
LAID_OUT = 4_000  # images that are laid out again with other seeds
SEEDS = 3
GOOD, ROUGH = 0.5, 0.25  # share of neighbours kept beyond chance, from which a map is called so


@dataclass(frozen=True, slots=True)
class Honesty:
    """What is printed on a map beside it.

    Attributes:
        neighbours: k of all figures.
        trustworthiness: 0 to 1; below 1 as far as neighbours in the plane are none in the space
            (J. Venna and S. Kaski, "Neighborhood preservation in nonlinear projection methods",
            ICANN 2001). Random places have about 0.5.
        ranked: images that it was measured on.
        kept: share of the k nearest in the space that are among the k nearest in the plane.
        kept_chance: the same of random places.
        label_plane: share of the k nearest in the plane that carry the image's label; NaN where
            there are no labels.
        label_space: the same in the space.
        label_chance: the same among all images.
        labelled: images that have a label.
        moved: from seed to seed, once the layouts are laid on each other: median distance of an
            image's two places, as a share of the map's width.
        shared: share of the k nearest in one such layout that are so in another.
        laid_out: images that these two were measured on.
        seeds: layouts that were compared.
    """

    neighbours: int
    trustworthiness: float
    ranked: int
    kept: float
    kept_chance: float
    label_plane: float
    label_space: float
    label_chance: float
    labelled: int
    moved: float
    shared: float
    laid_out: int
    seeds: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "neighbours": self.neighbours,
            "trustworthiness": {"value": rounded(self.trustworthiness), "images": self.ranked},
            "neighbours_kept": rounded(self.kept),
            "neighbours_kept_by_chance": rounded(self.kept_chance),
            "verdict": self.verdict,
            "label_of_neighbours": {
                "in_the_plane": rounded(self.label_plane),
                "in_the_space": rounded(self.label_space),
                "by_chance": rounded(self.label_chance),
                "images": self.labelled,
            },
            "over_seeds": {
                "median_move": rounded(self.moved),
                "neighbours_shared": rounded(self.shared),
                "images": self.laid_out,
                "seeds": self.seeds,
            },
        }

    @property
    def verdict(self) -> str:
        """How much of the space the map shows beyond what random places would, in plain words."""
        beyond = (self.kept - self.kept_chance) / (1 - self.kept_chance)
        if beyond >= GOOD:
            return "a fair picture of the space"
        if beyond >= ROUGH:
            return "a rough picture of the space"
        return "a sketch: large patterns show, single neighbours mostly do not"

    def sentences(self, total: int) -> tuple[str, ...]:
        """Say it for people who have never seen a UMAP.

        Args:
            total: images of the map.
        """
        k = self.neighbours
        some = f" (on {self.ranked:,} images drawn)" if self.ranked < total else ""
        made = [
            f"Of each picture's {k} nearest in the space, {self.kept:.0%} are among its nearest on "
            f"the map, {self.kept_chance:.0%} by chance; trustworthiness "
            f"{self.trustworthiness:.2f} of 1{some}."
        ]
        if self.labelled:
            made.append(
                f"Of the {k} nearest, {self.label_plane:.0%} carry the picture's label on the map, "
                f"{self.label_space:.0%} in the space, {self.label_chance:.0%} by chance."
            )
        few = f" ({self.laid_out:,} images drawn)" if self.laid_out < total else ""
        made.append(
            f"With another seed{few} half of the pictures lie more than {self.moved:.0%} of the "
            f"map's width elsewhere, and {self.shared:.0%} of the nearest stay the same."
        )
        return tuple(made)


def measure(
    graph: Neighbours,
    places: FloatArray,
    vectors: FloatArray,
    labels: Sequence[str | None],
    *,
    seed: int,
) -> Honesty:
    """Measure a layout.

    Args:
        graph: neighbours in the space, own rows left out.
        places: (n, 2) in the plane.
        vectors: (n, d) float32, unit rows.
        labels: (n,) of the images.
        seed: of the map; samples are drawn with it, and the other layouts are of the next seeds.
    """
    n = len(places)
    k = min(graph.rows.shape[1], (n - 1) // 2)  # beyond that ranks say nothing
    near = nearest_in_plane(places, k)
    random = np.random.default_rng(seed)
    ranked = np.sort(random.choice(n, min(n, RANKED), replace=False))
    laid_out = np.sort(random.choice(n, min(n, LAID_OUT), replace=False))
    again = vectors[laid_out]
    index = NeighbourIndex(again)
    part = neighbour_graph(index, again, graph.rows.shape[1])
    layouts = [lay_out(part, again, seed=seed + extra).places for extra in range(SEEDS)]
    moved, shared = compare(layouts, k)
    codes = np.unique([label or "" for label in labels], return_inverse=True)[1]
    codes[[label is None for label in labels]] = -1
    return Honesty(
        k,
        trustworthiness(vectors, near, ranked),
        len(ranked),
        _overlap(graph.rows[:, :k], near),
        k / (n - 1),
        _agreement(codes, near),
        _agreement(codes, graph.rows[:, :k]),
        _chance(codes),
        int((codes >= 0).sum()),
        moved,
        shared,
        len(laid_out),
        SEEDS,
    )


def nearest_in_plane(places: FloatArray, k: int) -> IntArray:
    """Return the k nearest of each place, (n, k), itself not among them, closest first."""
    n = len(places)
    _, found = cKDTree(places).query(places, min(k + 1, n))
    others = found != np.arange(n)[:, None]
    # Where many images lie on one spot, an image may not be among its own nearest.
    others[others.all(axis=1), -1] = False
    return np.asarray(found[others].reshape(n, k), np.int64)


def trustworthiness(vectors: FloatArray, near: IntArray, rows: IntArray) -> float:
    """Return the trustworthiness of neighbours in the plane, over some of the images.

    Args:
        vectors: (n, d) float32, unit rows.
        near: (n, k) neighbours in the plane, k below n / 2.
        rows: the images whose neighbours are ranked; len(rows) * n * d.
    """
    n, k = near.shape
    penalty = 0
    for row in rows:
        similarities = vectors @ vectors[row]
        similarities[row] = -np.inf
        asked = similarities[near[row]]
        rank = 1 + (similarities[None] > asked[:, None]).sum(axis=1)
        penalty += int(np.maximum(rank - k, 0).sum())
    return 1 - 2 * penalty / float(len(rows) * k * (2 * n - 3 * k - 1))


def compare(layouts: Sequence[FloatArray], k: int) -> tuple[float, float]:
    """Compare layouts of the same images, each with the first.

    Returns:
        The median distance of an image's two places as a share of the first layout's width, after
        the others were moved, turned, mirrored and scaled onto it (Procrustes); and the share of
        the k nearest that the two have in common.
    """
    first = layouts[0].astype(np.float64)
    width = float(np.ptp(first, axis=0).max())
    near = nearest_in_plane(layouts[0], k)
    moves = [
        np.linalg.norm(_laid_on(one.astype(np.float64), first) - first, axis=1)
        for one in layouts[1:]
    ]
    shared = [_overlap(near, nearest_in_plane(one, k)) for one in layouts[1:]]
    return float(np.median(moves)) / width, float(np.mean(shared))


def _laid_on(places: DoubleArray, onto: DoubleArray) -> DoubleArray:
    ours, theirs = places - places.mean(axis=0), onto - onto.mean(axis=0)
    left, strength, right = np.linalg.svd(ours.T @ theirs)
    scale = strength.sum() / (ours**2).sum()
    return np.asarray(scale * ours @ (left @ right) + onto.mean(axis=0), np.float64)


def _overlap(first: IntArray, second: IntArray) -> float:
    """Return the share of each row's numbers in one that are in the same row of the other."""
    both = [np.isin(a, b).mean() for a, b in zip(first, second, strict=True)]
    return float(np.mean(both))


def _agreement(codes: IntArray, near: IntArray) -> float:
    """Return how often a labelled neighbour of a labelled image carries its label."""
    known = (codes[:, None] >= 0) & (codes[near] >= 0)
    same = (codes[:, None] == codes[near]) & known
    return float(same.sum() / known.sum()) if known.any() else float("nan")


def _chance(codes: IntArray) -> float:
    counts = np.bincount(codes[codes >= 0])
    n = counts.sum()
    return float((counts * (counts - 1)).sum() / (n * (n - 1))) if n > 1 else float("nan")
