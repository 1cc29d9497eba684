"""New pictures on a map that stays as it is."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from embedkit.backbones import embed_prepared, load_again
from embedkit.errors import InputError, UnreadableImageError
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
class New:
    """A picture that is no image of the store.

    Attributes:
        name: its path or address.
        pixels: (h, w, 3) uint8.
        vector: (1, d) float32, a unit row.
    """

    name: str
    pixels: Pixels
    vector: FloatArray


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


def read_new(
    space: Space, inputs: Iterable[Input]
) -> tuple[tuple[New, ...], tuple[Unreadable, ...]]:
    """Embed pictures as the store's were.

    Args:
        space: of the store.
        inputs: paths, folders, addresses, arrays …

    Returns:
        The pictures with their vectors, and what could not be read.

    Raises:
        InputError: pictures were given, and none of them can be read.
        SpaceMismatchError: this embedkit's backbone makes other vectors than the space holds.
    """
    given = list(inputs)
    if not given:
        return (), ()
    backbone = load_again(
        **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
    )
    found, refused = [], []
    for name, pixels in read_inputs(given):
        if isinstance(pixels, Unreadable):
            refused.append(pixels)
            continue
        try:
            prepared = backbone.prepare(pixels)
        except UnreadableImageError as error:
            refused.append(Unreadable(name, str(error)))
        else:
            found.append(New(name, pixels, embed_prepared(backbone, [prepared])))
    if not found:
        raise InputError(f"no picture can be added: {refused[0].id}: {refused[0].reason}")
    return tuple(found), tuple(refused)


def place_each(
    new: Iterable[New], index: NeighbourIndex, places: FloatArray, *, neighbours: int, seed: int
) -> tuple[Added, ...]:
    """Place pictures one by one; see `place`."""
    made = []
    for one in new:
        where, row, similarity = place(one.vector, index, places, neighbours=neighbours, seed=seed)
        made.append(Added(one.name, one.pixels, where, row, similarity))
    return tuple(made)


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
