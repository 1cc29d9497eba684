"""Edges: how strongly each image is tied to its neighbours, by UMAP's formulas.

In NumPy, for UMAP's own functions are compiled anew in every process, which takes longer than to
lay out some thousand images (`docs/maps.md`).
"""

import numpy as np
from scipy.sparse import coo_array

from embedkit.store.index import Neighbours
from embedkit.vectors import DoubleArray

STEPS = 64  # of the search for a scale
LEAST = 1e-3  # of the mean distance: no scale is smaller


def fuzzy_graph(graph: Neighbours) -> coo_array:
    """Return the (n, n) strengths of the edges between images, the same in both directions.

    An edge is there if one end or the other thinks so, as independent chances are added
    (L. McInnes, J. Healy, J. Melville, arXiv:1802.03426, section 3.1).
    """
    n, k = graph.rows.shape
    one = strengths(1 - graph.similarities)
    there = (one.ravel(), (np.repeat(np.arange(n), k), graph.rows.ravel()))
    ways = coo_array(there, (n, n)).tocsr()
    back = ways.T.tocsr()
    return (ways + back - ways * back).astype(np.float32).tocoo()


def strengths(distances: DoubleArray) -> DoubleArray:
    """Return how strongly each image is tied to its neighbours, 0 to 1.

    The nearest that is no copy has 1; beyond it strengths fall off exponentially, on the scale at
    which their sum is the logarithm, to base 2, of the neighbours and the image itself.

    Args:
        distances: (n, k) cosine distance of each neighbour, closest first.
    """
    near = np.maximum(distances, 0)
    apart = np.where(near > 0, near, np.inf).min(axis=1)
    beyond = np.maximum(near - np.where(np.isinf(apart), 0, apart)[:, None], 0)
    wanted = np.log2(near.shape[1] + 1)
    low, high = np.zeros(len(near)), np.full(len(near), np.inf)
    scale = np.ones(len(near))
    for _ in range(STEPS):
        large = np.exp(-beyond / scale[:, None]).sum(axis=1) > wanted
        high = np.where(large, scale, high)
        low = np.where(large, low, scale)
        scale = np.where(np.isinf(high), 2 * scale, (low + high) / 2)
    means = near.sum(axis=1) / (near.shape[1] + 1)  # the image itself is at distance 0
    means = np.where(np.isinf(apart), means.mean(), means)
    scale = np.maximum(np.maximum(scale, LEAST * means), np.finfo(float).tiny)
    return np.asarray(np.exp(-beyond / scale[:, None]), np.float64)
