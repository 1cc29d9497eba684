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
from embedkit.exports.tables import metadata_of
from embedkit.exports.thumbnails import thumbnails
from embedkit.maps import MOST, NEIGHBOURS
from embedkit.maps.layout import FEWEST, lay_out, neighbour_graph, with_self
from embedkit.store.index import NeighbourIndex, build_index
from embedkit.vectors import IntArray

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
    notes: tuple[str, ...] = ()
    vectors, index = subject.space.vectors, subject.space.index
    if n > MOST:
        rows = np.sort(np.random.default_rng(subject.seed).choice(n, MOST, replace=False))
        notes = (f"{MOST:,} of {n:,} images, drawn at random: so many are laid out",)
        vectors = vectors[rows]
        index = NeighbourIndex(build_index(vectors), vectors)
    graph = neighbour_graph(index, vectors, NEIGHBOURS)
    places = lay_out(graph, vectors, seed=subject.seed).places
    near, distances = with_self(graph)
    table = text_columns(subject.known).take(pa.array(rows))
    own = {X, Y, NEAR, IMAGE}
    table = table.rename_columns(
        [f"{one} (given)" if one in own else one for one in table.column_names]
    )
    table = table.append_column(X, pa.array(places[:, 0])).append_column(Y, pa.array(places[:, 1]))
    lists = [pa.array(list(near)), pa.array(list(distances))]
    table = table.append_column(NEAR, pa.StructArray.from_arrays(lists, ["ids", "distances"]))
    schema = table.schema
    if subject.images:
        schema = schema.append(pa.field(IMAGE, IMAGE_TYPE))
    schema = schema.with_metadata(metadata_of(subject))
    pictures = _pictures(subject, rows) if subject.images else iter(())
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
        notes = (*notes, f"{missing} pictures are not there or damaged, and left empty")
    command = ["embedding-atlas", name, "--x", X, "--y", Y, "--neighbors", NEAR]
    command += ["--image", IMAGE] if subject.images else []
    what = "and holds small pictures of them: " if subject.images else "by the network: "
    return Written(shlex.join(command), notes, len(rows), PERSONAL.format(what=what))


def _pictures(subject: Subject, rows: IntArray) -> Iterator[object]:
    """Yield each picture as Hugging Face's data sets hold one; None where there is none."""
    for picture in thumbnails(subject, rows, SIDE):
        if picture is None:
            yield None
            continue
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=82)
        yield {"bytes": stream.getvalue(), "path": None}
