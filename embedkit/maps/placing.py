"""New pictures on a map that stays as it is."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from embedkit.backbones import embed_prepared, load_again
from embedkit.errors import UnreadableImageError
from embedkit.inputs import Input, read_inputs
from embedkit.items import Unreadable
from embedkit.maps.edges import strengths
from embedkit.maps.layout import NEGATIVES, RATE, REPULSION, curve, load_umap
from embedkit.store import Space
from embedkit.store.index import NeighbourIndex
from embedkit.vectors import FloatArray, Pixels

EPOCHS = 100  # as in UMAP's own transform
SAME = 1e-6  # cosine: vectors no farther apart are of one picture


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """A picture that was placed on a map.

    Attributes:
        name: its path or address.
        pixels: (h, w, 3) uint8.
        place: (2,) float32.
        nearest: number of the map's point that is nearest to it in the space.
        similarity: cosine of the two, -1 to 1.
    """

    name: str
    pixels: Pixels
    place: FloatArray
    nearest: int
    similarity: float


def add_pictures(
    space: Space,
    index: NeighbourIndex,
    places: FloatArray,
    inputs: Iterable[Input],
    *,
    neighbours: int,
    seed: int,
) -> tuple[tuple[Added, ...], tuple[Unreadable, ...]]:
    """Embed pictures as the store's were, and place them; see `place`.

    Args:
        space: of the store.
        index: of the map's points, in their order.
        places: of the points, (n, 2); they stay.
        inputs: paths, folders, addresses …
        neighbours: that pull at a picture.
        seed: of the placing.

    Returns:
        What was placed, and what could not be read.

    Raises:
        SpaceMismatchError: this embedkit's backbone makes other vectors than the space holds.
    """
    pictures = list(inputs)
    if not pictures:
        return (), ()
    backbone = load_again(
        **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
    )
    added, refused = [], []
    for name, pixels in read_inputs(pictures):
        if isinstance(pixels, Unreadable):
            refused.append(pixels)
            continue
        try:
            prepared = backbone.prepare(pixels)
        except UnreadableImageError as error:
            refused.append(Unreadable(name, str(error)))
            continue
        vector = embed_prepared(backbone, [prepared])
        where, row, similarity = place(vector, index, places, neighbours=neighbours, seed=seed)
        added.append(Added(name, pixels, where, row, similarity))
    return tuple(added), tuple(refused)


def place(
    vector: FloatArray, index: NeighbourIndex, places: FloatArray, *, neighbours: int, seed: int
) -> tuple[FloatArray, int, float]:
    """Place one vector among points that do not move, as UMAP's transform does.

    It starts at the mean of its neighbours' places, weighted as the map's edges are, and is then
    pulled by them and pushed by others. A vector of the map lands where it lies already.

    Args:
        vector: (1, d) float32, a unit row.
        index: of the points.
        places: of the points, (n, 2) float32.
        neighbours: that pull at it.
        seed: of what pushes.

    Returns:
        Its place, (2,) float32; the nearest point; and its cosine.
    """
    near = index.search(vector, neighbours)
    rows, similarities = near.rows, near.similarities
    first, similarity = int(rows[0, 0]), float(similarities[0, 0])
    if similarity >= 1 - SAME:
        return places[first].copy(), first, similarity
    umap = load_umap()
    weights = strengths(1 - similarities)[0].astype(np.float32)
    pulling = weights >= weights.max() / EPOCHS
    weights, tails = weights[pulling], rows[0][pulling]
    start = np.average(places[tails], axis=0, weights=weights).astype(np.float32)
    random = np.random.default_rng(seed)
    moved = umap.optimize_layout_euclidean(
        start[None],
        places.copy(),
        np.zeros(len(tails), np.int32),
        tails.astype(np.int32),
        EPOCHS,
        len(places),
        umap.make_epochs_per_sample(weights, EPOCHS),
        *curve(),
        random.integers(-(2**31), 2**31, 3),
        REPULSION,
        RATE / 4,
        NEGATIVES,
        False,
    )
    return np.asarray(moved[0], np.float32), first, similarity
