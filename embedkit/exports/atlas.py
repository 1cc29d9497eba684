"""Apple's Embedding Atlas: a Parquet table with a place in the plane for each image.

The layout and the neighbours are the store's own, so that the tool need not compute any.
"""

import io
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from embedkit.errors import NotEnoughImagesError
from embedkit.exports.base import Subject, Written
from embedkit.exports.columns import text_columns
from embedkit.exports.tables import is_table, metadata_of
from embedkit.exports.thumbnails import thumbnails
from embedkit.maps import MOST, NEIGHBOURS
from embedkit.maps.layout import FEWEST, lay_out, neighbour_graph
from embedkit.pipeline.progress import Progress
from embedkit.store.index import NeighbourIndex
from embedkit.vectors import IntArray

KIND = "atlas"
X, Y, NEAR, IMAGE = "projection_x", "projection_y", "neighbors", "image"
SIDE = 96  # pixels of a picture's longer side
GROUP = 1024  # rows of a row group
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PERSONAL = (
    "It says which pictures are alike, {what}where pictures show faces, these are personal data as "
    "the pictures are."
)


def write_atlas(subject: Subject, path: Path, name: str) -> Written:
    """Write what is known of each image, its place, its neighbours, and a small picture.

    Args:
        subject: to write.
        path: to write to.
        name: that the file will have.

    Raises:
        NotEnoughImagesError: fewer than four images.
    """
    n = len(subject.store.items)
    if n < FEWEST:
        raise NotEnoughImagesError(
            f"{subject.store.path} holds {n} images; a layout needs {FEWEST}; parquet takes any"
        )
    rows = np.arange(n)
    notes: list[str] = []
    if n > MOST:
        rows = np.sort(np.random.default_rng(subject.seed).choice(n, MOST, replace=False))
        notes.append(f"{MOST:,} of {n:,} images, drawn at random: so many are laid out")
    table = _laid_out(subject, rows)
    schema = table.schema.with_metadata(metadata_of(subject, KIND))
    if subject.images:
        schema = schema.append(pa.field(IMAGE, IMAGE_TYPE))
    pictures = _pictures(subject, rows)
    missing = 0
    with path.open("wb") as stream, parquet.ParquetWriter(stream, schema, compression="zstd") as to:
        for first in range(0, len(rows), GROUP):
            part = table.slice(first, GROUP)
            if subject.images:
                some = [next(pictures) for _ in range(len(part))]
                missing += some.count(None)
                part = part.append_column(IMAGE, pa.array(some, IMAGE_TYPE))
            to.write_table(part.replace_schema_metadata(schema.metadata))
    if missing:
        notes.append(f"{missing} pictures are not there or damaged, and left empty")
    command = ["embedding-atlas", name, "--x", X, "--y", Y, "--neighbors", NEAR]
    command += ["--image", IMAGE] if subject.images else []
    what = "and holds small pictures of them: " if subject.images else "by the network: "
    return Written(shlex.join(command), tuple(notes), len(rows), PERSONAL.format(what=what))


def _laid_out(subject: Subject, rows: IntArray) -> pa.Table:
    """Return what is known of some images with their places and nearest neighbours.

    Neighbours are numbers of rows of this table, each image its own first, as UMAP has them.
    """
    if subject.progress is not None:
        subject.progress(Progress("layout", 0, 1, 0, 0, unit="steps"))
    vectors, index = subject.space.vectors, subject.space.index
    if len(rows) < len(vectors):
        vectors = vectors[rows]
        index = NeighbourIndex(vectors)
    graph = neighbour_graph(index, vectors, NEIGHBOURS)
    places = lay_out(graph, vectors, seed=subject.seed).places
    own_rows = np.arange(len(rows))[:, None]
    ids = np.concatenate([own_rows, graph.rows], axis=1)
    distances = np.concatenate([0.0 * own_rows, np.maximum(1 - graph.similarities, 0)], axis=1)
    lists = [pa.array(list(ids)), pa.array(list(distances.astype(np.float32)))]
    table = text_columns(subject.known).take(pa.array(rows))
    own = {X, Y, NEAR, IMAGE}
    table = table.rename_columns(
        [f"{one} (given)" if one in own else one for one in table.column_names]
    )
    table = table.append_column(X, pa.array(places[:, 0])).append_column(Y, pa.array(places[:, 1]))
    return table.append_column(NEAR, pa.StructArray.from_arrays(lists, ["ids", "distances"]))


def is_atlas(path: Path) -> bool:
    """Say whether a file is a table that this export wrote."""
    return is_table(path, KIND)


def _pictures(subject: Subject, rows: IntArray) -> Iterator[object]:
    """Yield each picture as Hugging Face's data sets hold one; None where there is none."""
    for picture in thumbnails(subject, rows, SIDE):
        if picture is None:
            yield None
            continue
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=82)
        yield {"bytes": stream.getvalue(), "path": None}
