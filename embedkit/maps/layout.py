"""Layout: a neighbour graph becomes places in the plane, by UMAP."""

import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from embedkit.maps.edges import fuzzy_graph
from embedkit.store.index import NeighbourIndex, Neighbours
from embedkit.vectors import FloatArray

FEWEST = 4  # images: three have no inner arrangement to show
SPREAD, CLOSEST = 1.0, 0.1  # UMAP's own defaults, as are the next three
RATE = 1.0
REPULSION = 1.0
NEGATIVES = 5
WIDTH = 10.0  # of the start, in UMAP's units
JITTER = 1e-3  # of the start, in the same: images of equal vectors must be able to part
SAMPLE = 10_000  # images that the axes of the start are found with


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Places of images in the plane.

    Attributes:
        places: (n, 2) float32, in UMAP's units.
        graph: the nearest neighbours that it was made from, own rows left out.
        seed: of the jitter of the start and of the pairs that are drawn to be pushed apart.
    """

    places: FloatArray
    graph: Neighbours
    seed: int


def neighbour_graph(index: NeighbourIndex, vectors: FloatArray, neighbours: int) -> Neighbours:
    """Return the exact nearest neighbours of each row, itself not among them; n * n * d."""
    own = np.arange(len(vectors))
    return index.search(vectors, min(neighbours, len(vectors) - 1), exclude=own)


def lay_out(graph: Neighbours, vectors: FloatArray, *, seed: int) -> Layout:
    """Lay images out in the plane so that neighbours stay near each other.

    The same graph and seed give the same bytes, on one thread or many. The start is where the
    vectors differ most (principal components), not UMAP's spectral one, which needs the graph's
    eigenvectors: those may not converge, and then UMAP goes on from a random start.

    Args:
        graph: of all images, own rows left out.
        vectors: (n, d) float32, unit rows; at least `FEWEST`.
        seed: of the layout.
    """
    umap = load_umap()
    random = np.random.RandomState(seed)
    # BLAS and LAPACK add up in an order that goes by the threads they have.
    with threadpool_limits(1):
        places, _ = umap.simplicial_set_embedding(
            None,
            fuzzy_graph(graph),
            2,
            RATE,
            *curve(),
            REPULSION,
            NEGATIVES,
            None,  # epochs: 500, or 200 for more than 10,000 images
            _start(vectors, seed),
            random,
            "cosine",
            {},
            False,
            {},
            False,
        )
    return Layout(np.asarray(places, np.float32), graph, seed)


def _start(vectors: FloatArray, seed: int) -> FloatArray:
    """Return the first two principal components of the vectors, with some jitter: (n, 2)."""
    step = -(-len(vectors) // SAMPLE)
    some = vectors[::step].astype(np.float64)
    mean = some.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(some, rowvar=False).reshape(2 * (vectors.shape[1],)))
    axes = axes[:, ::-1][:, :2]
    # An axis has no direction of its own.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    places = np.zeros((len(vectors), 2))
    places[:, : axes.shape[1]] = vectors @ axes - mean @ axes
    places *= WIDTH / max(float(np.abs(places).max()), 1e-6)
    return np.asarray(places + np.random.default_rng(seed).normal(0, JITTER, places.shape), "f4")


@cache
def curve() -> tuple[float, float]:
    """Return the two parameters of UMAP's curve of closeness in the plane."""
    a, b = load_umap().find_ab_params(SPREAD, CLOSEST)
    return float(a), float(b)


@cache
def load_umap() -> Any:
    """Import UMAP when a map is drawn: that takes seconds."""
    with warnings.catch_warnings():
        # It says so where TensorFlow is missing, which nothing here needs.
        warnings.simplefilter("ignore", ImportWarning)
        return import_module("umap.umap_")
