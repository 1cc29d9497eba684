"""TensorBoard's embedding projector: vectors and what is known of them as text, and a sprite."""

import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from embedkit.exports.base import Subject, Written
from embedkit.exports.columns import text_columns
from embedkit.exports.thumbnails import thumbnails
from embedkit.reports.pictures import GREY
from embedkit.vectors import IntArray

CONFIG, VECTORS, METADATA, SPRITE = (
    "projector_config.pbtxt",
    "tensors.tsv",
    "metadata.tsv",
    "sprite.png",
)
MOST = 100_000  # rows that the projector's page asks for
WIDEST = 8192  # pixels a side that it takes of a sprite
CELL = 64  # pixels a side of a picture, at most
# The projector splits lines and cells by these, and has no way to quote them.
_BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")


def write_projector(subject: Subject, folder: Path, name: str) -> Written:
    """Write a folder that TensorBoard takes as a log folder.

    Vectors are text: the projector reads them as that first, and as bytes only if that fails.

    Args:
        subject: to write.
        folder: to write to.
        name: that the folder will have.
    """
    n = len(subject.store.items)
    rows = np.arange(n)
    notes: tuple[str, ...] = ()
    if n > MOST:
        rows = np.sort(np.random.default_rng(subject.seed).choice(n, MOST, replace=False))
        notes = (f"{MOST:,} of {n:,} images, drawn at random: the projector shows no more",)
    _write_vectors(subject, folder / VECTORS, rows)
    _write_metadata(text_columns(subject.known).take(pa.array(rows)), folder / METADATA, subject)
    cell = 0
    if subject.images:
        cell, missing = _write_sprite(subject, folder / SPRITE, rows)
        if missing:
            notes += (f"{missing} pictures are not there or damaged, and grey on {SPRITE}",)
    (folder / CONFIG).write_text(_config(subject, len(rows), cell))
    return Written(opens=shlex.join(["tensorboard", "--logdir", name]), notes=notes, n=len(rows))


def _write_vectors(subject: Subject, path: Path, rows: IntArray) -> None:
    with path.open("w", encoding="ascii") as stream:
        for first, vectors in subject.vectors():
            for row in rows[(rows >= first) & (rows < first + len(vectors))] - first:
                # str() of a float32 is the shortest text that is read back as it.
                stream.write("\t".join(map(str, vectors[row])) + "\n")


def _write_metadata(table: pa.Table, path: Path, subject: Subject) -> None:
    """Write a row an image; the class first, which the projector writes beside the points."""
    names = list(dict.fromkeys([subject.known.label, "id", *table.column_names]))
    with path.open("w", encoding="utf-8") as stream:
        stream.write("\t".join(map(_cell, names)) + "\n")
        for batch in table.select(names).to_batches(1024):
            for row in zip(*batch.to_pydict().values(), strict=True):
                stream.write("\t".join(map(_cell, row)) + "\n")


def _cell(value: object) -> str:
    return "" if value is None else _BREAKS.sub(" ", str(value))


def _write_sprite(subject: Subject, path: Path, rows: IntArray) -> tuple[int, int]:
    """Draw all pictures into one, row by row; return a picture's side and how many are missing."""
    columns = math.ceil(math.sqrt(len(rows)))
    cell = min(CELL, WIDEST // columns)
    sprite = Image.new("RGB", (columns * cell, -(-len(rows) // columns) * cell), GREY)
    missing = 0
    for place, picture in enumerate(thumbnails(subject, rows, cell)):
        if picture is None:
            missing += 1
            continue
        corner = (place % columns * cell, place // columns * cell)
        middle = ((cell - picture.width) // 2, (cell - picture.height) // 2)
        sprite.paste(picture, (corner[0] + middle[0], corner[1] + middle[1]))
    sprite.save(path)
    return cell, missing


def _config(subject: Subject, n: int, cell: int) -> str:
    """Return `ProjectorConfig` as text of protocol buffers."""

    def lines() -> Iterator[str]:
        yield "embeddings {"
        yield f"  tensor_name: {json.dumps(subject.space.name)}"
        yield f"  tensor_path: {json.dumps(VECTORS)}"
        yield f"  tensor_shape: {n}"
        yield f"  tensor_shape: {subject.space.record.dimension}"
        yield f"  metadata_path: {json.dumps(METADATA)}"
        if cell:
            yield "  sprite {"
            yield f"    image_path: {json.dumps(SPRITE)}"
            yield f"    single_image_dim: {cell}"
            yield f"    single_image_dim: {cell}"
            yield "  }"
        yield "}"

    return "\n".join(lines()) + "\n"
