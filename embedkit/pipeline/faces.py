"""The face of each picture of a store: as its table has it, else looked for once and kept."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from embedkit.engines import Block, Engine
from embedkit.files import make_folder
from embedkit.items import path_of_id
from embedkit.pipeline.known import pixels_at
from embedkit.pipeline.progress import Reporter
from embedkit.pipeline.witnesses import Witnesses, of_pictures, of_store
from embedkit.store import Store
from embedkit.store.augmented import chunk_key, find_chunk, write_chunk
from embedkit.vectors import FloatArray

if TYPE_CHECKING:
    from embedkit.backbones.faces import Face  # brings torchvision

CHUNK = 256  # pictures whose faces are committed together
_NUMBERS = 15  # box, landmarks, confidence


@dataclass(frozen=True, slots=True)
class Search(Block):
    """Pictures that are searched together.

    Attributes:
        hashes: SHA-256 of each file, by id.
        key: of the file with what is found; see `chunk_key`.
    """

    hashes: Mapping[str, str] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, slots=True)
class Searcher:
    """Looks for the largest face of pictures, and writes what it finds; see `Maker`.

    Attributes:
        root: of the pictures.
        folder: that keeps what is found.
        witnesses: that another process must see.
        count: called after each picture.
    """

    root: Path
    folder: Path
    witnesses: Witnesses
    count: Callable[[], None] = field(default=lambda: None)
    on_gpu: ClassVar[bool] = False

    @property
    def recipe(self) -> "Searcher":
        """Return one for another process."""
        return Searcher(self.root, self.folder, self.witnesses)

    def open(self, threads: int) -> "Searcher":
        """Return itself.

        Raises:
            InputError: a witness is not there.
        """
        for witness in self.witnesses:
            witness.check()
        return self

    def load(self, block: Search, id_: str) -> FloatArray:
        """Return the numbers of the largest face of a picture.

        Raises:
            InputError: it is gone, or is another file now.
        """
        from embedkit.backbones.faces import face_finder

        faces = face_finder().find(pixels_at(self.root / path_of_id(id_), block.hashes[id_]))
        return _numbers(faces[0] if faces else None)

    def finish(self, block: Search, found: Iterable[FloatArray], lanes: Executor) -> str:
        """Write what was found, and return the file's name.

        Raises:
            StoreError: it cannot be written.
        """
        rows = []
        for one in found:
            rows.append(one)
            self.count()
        return write_chunk(self.folder, block.key, np.stack(rows))


def find_faces(
    store: Store, folder: Path, engine: Engine, reporter: Reporter
) -> "list[Face | None]":
    """Return the face of each picture that a network of faces was given, or else the largest.

    A picture that the table of items knows nothing of is searched, and what was found is kept, so
    that it is searched once. All are in float32, as the table has them.

    Args:
        store: whose pictures.
        folder: that keeps what was found; made if it is not there.
        engine: where they are searched.
        reporter: is told.

    Raises:
        InputError: a picture is gone or has changed.
        StoreError: what was found cannot be kept.
    """
    from embedkit.backbones.faces import face_finder

    known = store.items.column("faces")
    hashes = store.items.column("sha256")
    unknown = [row for row, n in enumerate(known) if n is None]
    chunks = [unknown[start : start + CHUNK] for start in range(0, len(unknown), CHUNK)]
    keys = [
        chunk_key(face_finder().weights_sha256, {}, [hashes[row] for row in chunk])
        for chunk in chunks
    ]
    names = [find_chunk(folder, key) for key in keys]
    work = [
        Search(
            number,
            tuple(store.items.ids[row] for row in chunks[number]),
            {store.items.ids[row]: str(hashes[row]) for row in chunks[number]},
            keys[number],
        )
        for number, name in enumerate(names)
        if name is None
    ]
    if work:
        make_folder(folder)
        reporter.start("looking for faces", sum(len(block.ids) for block in work))
    root = store.items.root
    witnesses = of_pictures(root, store.items.ids) + of_store(store.path)
    searcher = Searcher(root, folder, witnesses, reporter.count)
    with closing(engine.make(work, searcher)) as results:
        for block, name in zip(work, results, strict=True):
            names[block.number] = name
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
