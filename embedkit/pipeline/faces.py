"""The face of each picture of a store: as its table has it, else looked for once and kept."""

from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedkit.engines import Block, LocalEngine
from embedkit.files import make_folder
from embedkit.pipeline.known import known_pixels
from embedkit.pipeline.progress import Reporter
from embedkit.store import Store
from embedkit.store.augmented import chunk_key, find_chunk, write_chunk
from embedkit.vectors import FloatArray

if TYPE_CHECKING:
    from embedkit.backbones.faces import Face  # brings torchvision

CHUNK = 256  # pictures whose faces are committed together
_NUMBERS = 15  # box, landmarks, confidence


def find_faces(
    store: Store, folder: Path, engine: LocalEngine, reporter: Reporter
) -> "list[Face | None]":
    """Return the face of each picture that a network of faces was given, or else the largest.

    A picture that the table of items knows nothing of is searched, and what was found is kept, so
    that it is searched once. All are in float32, as the table has them.

    Args:
        store: whose pictures.
        folder: that keeps what was found; made if it is not there.
        engine: that reads the pictures.
        reporter: is told.

    Raises:
        InputError: a picture is gone or has changed.
        StoreError: what was found cannot be kept.
    """
    from embedkit.backbones.faces import face_finder

    known = store.items.column("faces")
    hashes = store.items.column("sha256")
    hash_of = dict(zip(store.items.ids, hashes, strict=True))
    unknown = [row for row, n in enumerate(known) if n is None]
    chunks = [unknown[start : start + CHUNK] for start in range(0, len(unknown), CHUNK)]
    keys = [
        chunk_key(face_finder().weights_sha256, {}, [hashes[row] for row in chunk])
        for chunk in chunks
    ]
    names = [find_chunk(folder, key) for key in keys]
    work = [
        Block(number, tuple(store.items.ids[row] for row in chunks[number]))
        for number, name in enumerate(names)
        if name is None
    ]

    def load(_: Block, id_: str) -> FloatArray:
        faces = face_finder().find(known_pixels(store, id_, str(hash_of[id_])))
        return _numbers(faces[0] if faces else None)

    def finish(block: Block, found: Iterable[FloatArray], _: Executor) -> tuple[Block, FloatArray]:
        rows = []
        for one in found:
            rows.append(one)
            reporter.count()
        return block, np.stack(rows)

    if work:
        make_folder(folder)
        reporter.start("looking for faces", sum(len(block.ids) for block in work))
    for block, rows in engine.run(work, load, finish):
        names[block.number] = write_chunk(folder, keys[block.number], rows)
        reporter.committed(len(block.ids), 0)
    every = _of_table(store)
    for chunk, name in zip(chunks, names, strict=True):
        found = np.load(folder / str(name), allow_pickle=False)
        for row, numbers in zip(chunk, found, strict=True):
            every[row] = _face(numbers)
    return every


def _of_table(store: Store) -> "list[Face | None]":
    names = ("face_left", "face_top", "face_right", "face_bottom")
    boxes = zip(*(store.items.column(name) for name in names), strict=True)
    rest = (store.items.column(name) for name in ("face_landmarks", "face_confidence"))
    return [
        None if box[0] is None else _face(np.array([*box, *marks, confidence], np.float32))
        for box, marks, confidence in zip(boxes, *rest, strict=True)
    ]


def _numbers(face: "Face | None") -> FloatArray:
    if face is None:
        return np.full(_NUMBERS, np.nan, np.float32)
    marks = [x for point in face.landmarks for x in point]
    return np.array([*face.box, *marks, face.confidence], np.float32)


def _face(numbers: FloatArray) -> "Face | None":
    from embedkit.backbones.faces import Face

    if np.isnan(numbers).any():
        return None
    left, top, right, bottom, *marks, confidence = numbers.tolist()
    points = tuple(zip(marks[::2], marks[1::2], strict=True))
    return Face((left, top, right, bottom), points, confidence)
