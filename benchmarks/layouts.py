"""UMAP from the neighbours that the store's index finds, beside UMAP that searches itself.

12,420 real pictures (`mixed.py`, space of `mtcnn`), one process, everything compiled before: that
is measured too, for every process pays it. Figures are kept in `docs/benchmarks/layouts.json`;
`--store STORE` takes a store of these pictures that is there already.
"""

import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from maps import NEIGHBOURS, compile_everything, timed, umap_itself, worth
from mixed import lay_out as lay_out_pictures
from rivals import keep, options

from embedkit.maps.layout import lay_out, neighbour_graph
from embedkit.pipeline import embed
from embedkit.store import Store


def figures_of(store: Store) -> dict[str, Any]:
    """Lay the pictures of a store out both ways."""
    space = store.space()
    vectors = space.vectors
    compiled = compile_everything()
    graph, _, search = timed(lambda: neighbour_graph(space.index, vectors, NEIGHBOURS))
    layout, _, lay = timed(lambda: lay_out(graph, vectors, seed=0))
    theirs, _, alone = timed(lambda: umap_itself(vectors))
    made = {}
    for name, cpu, places in (
        ("embedkit", search + lay, layout.places),
        ("umap-learn", alone, theirs),
    ):
        kept, trust = worth(vectors, graph, places)
        made[name] = {"cpu": cpu, "neighbours kept": kept, "trustworthiness": trust}
    made["embedkit"] |= {"search": search, "compiling": compiled[0]}
    made["umap-learn"]["compiling"] = sum(compiled)
    return {
        "n": len(vectors),
        "numbers": vectors.shape[1],
        "both": made,
        "versions": {"umap-learn": metadata.version("umap-learn")},
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--store", type=Path, help="of these pictures, where there is one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.store is not None:
            keep("layouts", figures_of(Store.open(given.store)))
            return
        pictures = Path(folder) / "pictures"
        lay_out_pictures(given.data, pictures)
        keep("layouts", figures_of(embed(pictures, Path(folder) / "store", backbone="mtcnn")))


if __name__ == "__main__":
    main()
