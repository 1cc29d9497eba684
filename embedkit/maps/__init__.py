"""Maps: the images of a store in the plane, near each other where their vectors are."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.errors import NotEnoughImagesError
from embedkit.inputs import Input
from embedkit.items import Unreadable
from embedkit.maps.columns import Column, Columns, item_columns
from embedkit.maps.honesty import Honesty, measure
from embedkit.maps.layout import FEWEST, lay_out, neighbour_graph
from embedkit.maps.placing import Added, place_each, read_new
from embedkit.pipeline.progress import OnProgress, Progress
from embedkit.results import Result
from embedkit.store import Store
from embedkit.store.index import NeighbourIndex
from embedkit.vectors import FloatArray, IntArray

__all__ = ["NEIGHBOURS", "Column", "Columns", "Honesty", "Map", "item_columns", "map_of"]

NEIGHBOURS = 15
MOST = 100_000  # images of a map; of more, so many are drawn
STAGES = ("new pictures", "what is known", "neighbours", "layout", "honesty", "placing")


@dataclass(frozen=True, slots=True, eq=False)
class Map(Result):
    """A map of a store.

    Attributes:
        store: that it shows.
        backbone: name of the space.
        label: column with the class.
        neighbours: that each image was tied to.
        colour_by: name of the column that colours mean at first; empty where nothing is known.
        seed: of the layout and of every draw.
        rows: (n,) rows of the store that are points of the map, in ascending order.
        places: (n, 2) float32, in UMAP's units.
        honesty: how far it can be trusted.
        columns: what the points can be coloured by; pairs are numbers of points.
        added: new pictures, placed without moving the points.
        refused: pictures that were to be added and could not be read.
    """

    store: Store
    backbone: str
    label: str
    neighbours: int
    colour_by: str
    seed: int
    rows: IntArray
    places: FloatArray
    honesty: Honesty
    columns: Columns
    added: tuple[Added, ...]
    refused: tuple[Unreadable, ...]

    @property
    def ids(self) -> list[str]:
        """Id of each point."""
        ids = self.store.items.ids
        return [ids[row] for row in self.rows]

    @property
    def title(self) -> str:
        """What is shown, in a line."""
        n, total = len(self.rows), len(self.store.items)
        shown = f"{n:,} pictures" if n == total else f"{n:,} of {total:,} pictures, drawn at random"
        return f"{self.store.name}: {shown}"

    @property
    def method(self) -> str:
        """How the map was made, in a line."""
        return (
            f"UMAP of {self.backbone} vectors, {self.neighbours} neighbours, seed {self.seed}. "
            "Near means alike to the network; sizes of groups and gaps between them mean little."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document `embedkit.map/1`."""
        return {
            "schema": "embedkit.map/1",
            "store": str(self.store.path),
            "n": len(self.rows),
            "images": len(self.store.items),
            "settings": {
                "backbone": self.backbone,
                "label": self.label,
                "neighbours": self.neighbours,
                "colour_by": self.colour_by or None,
                "seed": self.seed,
            },
            "honesty": self.honesty.to_dict(),
            "columns": [
                {"name": one.name, "group": one.group, "kind": one.kind}
                for one in self.columns.columns
            ],
            "pairs": len(self.columns.pairs),
            "missing": list(self.columns.missing),
            "added": [
                {
                    "name": one.name,
                    "place": [round(float(x), 5) for x in one.place],
                    "nearest": self.ids[one.nearest],
                    "similarity": round(one.similarity, 6),
                }
                for one in self.added
            ],
            "unreadable": [{"id": one.id, "reason": one.reason} for one in self.refused],
        }


def map_of(
    store: Store,
    *,
    label: str = "label",
    backbone: str | None = None,
    neighbours: int = NEIGHBOURS,
    colour_by: str | None = None,
    add: Iterable[Input] = (),
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Map:
    """Lay the images of a store out in the plane by UMAP, and measure what that is worth.

    The neighbours are the store's own, exact ones. The same store and seed give the same map, on
    one thread or many. Of more than 100,000 images so many are drawn.

    Args:
        store: to show.
        label: column with the class.
        backbone: which space; can be left out where there is only one.
        neighbours: that each image is tied to: few show detail, many the whole.
        colour_by: name of a column; the label where left out.
        add: pictures to place among the others: paths, folders, addresses, arrays …
        seed: of everything drawn.
        progress: called before each stage.

    Raises:
        InputError: no such column or space, or none of the pictures to be added can be read.
        NotEnoughImagesError: fewer than four images.
        SpaceMismatchError: pictures are to be added, and this embedkit's backbone makes other
            vectors than the space holds.
    """

    def tell(stage: int) -> None:
        if progress is not None:
            progress(Progress(f"map: {STAGES[stage]}", stage, len(STAGES), 0, 0, unit="steps"))

    labels = store.items.label_column(label)
    space = store.space(backbone)
    n = len(store.items)
    if n < FEWEST:
        raise NotEnoughImagesError(
            f"{store.path} holds {n} image{'s' * (n != 1)}; a map needs {FEWEST}"
        )
    rows = np.arange(n)
    vectors, index = space.vectors, space.index
    if n > MOST:
        rows = np.sort(np.random.default_rng(seed).choice(n, MOST, replace=False))
        vectors = vectors[rows]
        index = NeighbourIndex(vectors)
    tell(0)
    new, refused = read_new(space, add)
    tell(1)
    columns = item_columns(store, label=label, backbone=backbone, seed=seed).take(rows)
    colour_by = columns.chosen(colour_by, label)
    tell(2)
    graph = neighbour_graph(index, vectors, neighbours)
    tell(3)
    places = lay_out(graph, vectors, seed=seed).places
    tell(4)
    honesty = measure(graph, places, vectors, [labels[row] for row in rows], seed=seed)
    tell(5)
    added = place_each(new, index, places, neighbours=neighbours, seed=seed)
    return Map(
        store,
        space.name,
        label,
        graph.rows.shape[1],
        colour_by,
        seed,
        rows,
        places,
        honesty,
        columns,
        added,
        refused,
    )
