"""Views: all pictures of a store changed in one way, seen by the backbone of one of its spaces.

The vectors are kept in `views/SPACE@VIEW/` of the store, in the form of altered copies
(`embedkit.store.augmented`), so that no command takes them for a space of the pictures themselves.
What is kept is found again by the contract of the space, the view and the bytes of the pictures.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embedkit.backbones import Backbone, FaceBackbone
from embedkit.engines import Block, LocalEngine
from embedkit.errors import StoreError
from embedkit.files import make_folder
from embedkit.images import shrunk, strict_pillow
from embedkit.pipeline.faces import find_faces
from embedkit.pipeline.known import known_pixels
from embedkit.pipeline.passes import Passes
from embedkit.pipeline.progress import OnProgress, Reporter
from embedkit.store import Space, Store
from embedkit.store.augmented import (
    Augmented,
    chunk_key,
    find_chunk,
    read_augmented,
    write_chunk,
    write_record,
)
from embedkit.store.journal import told
from embedkit.store.lock import writer_lock
from embedkit.vectors import FloatArray, Pixels

if TYPE_CHECKING:
    from embedkit.backbones.faces import Face  # brings torchvision

CHUNK = 256  # pictures of which each view is committed together
VIEWS = "views"
FACES = "faces"
# Longer side of a picture to be changed; a larger one is made smaller first, or the changes would
# take longer than the network.
LONGEST = 1536

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Sight:
    """A picture that is to be changed.

    Attributes:
        pixels: (h, w, 3) uint8 RGB, upright: all of it, or the part that the network sees.
        box: left, top, right and bottom of the face in it, in pixels; None where there is none.
        sha256: of its file, from which whatever is drawn at random is drawn.
    """

    pixels: Pixels
    box: Box | None
    sha256: str


@dataclass(frozen=True, slots=True)
class View:
    """A way to change pictures.

    Attributes:
        name: as in `mtcnn@grey`.
        words: what is seen, for people.
        change: from a picture to what is seen of it.
        how: what its pictures depend on besides; other words make it another view.
        whole: whether it is made of the whole picture; else of the part that the network sees.
        of_face: whether it needs the place of the face; then it is made of the whole picture.
        face_only: whether it leaves the face only, which a network that sees faces does anyway.
        only: the pictures of which it is made, by id; all where left out.
    """

    name: str
    words: str
    change: Callable[[Sight], Pixels]
    how: str = ""
    whole: bool = False
    of_face: bool = False
    face_only: bool = False
    only: frozenset[str] | None = None


def view_folder(store: Store, space: Space, view: str) -> Path:
    """Return where the vectors of a view of a space are kept."""
    return store.path / VIEWS / f"{space.name}@{view.replace(' ', '-')}"


def read_view(store: Store, space: Space, view: str) -> Augmented | None:
    """Return the vectors of a view, or None where they are not there, or not all of them.

    Raises:
        StoreError: they are damaged.
    """
    return read_augmented(view_folder(store, space, view), space.contract_sha256)


def views_in(store: Store) -> list[tuple[str, int]]:
    """Return the name, such as `mtcnn@grey`, and the number of pictures of each whole view."""
    found = []
    for space in store.spaces.values():
        for folder in sorted((store.path / VIEWS).glob(f"{space.name}@*")):
            with suppress(StoreError):
                kept = read_augmented(folder, space.contract_sha256)
                if kept is not None:
                    found.append((folder.name, len(kept.ids)))
    return found


def make_views(
    store: Store,
    space: Space,
    eye: Backbone,
    views: Sequence[View],
    *,
    threads: int | None = None,
    progress: OnProgress | None = None,
) -> "list[Face | None]":
    """Embed all pictures of a store in some views, and keep the vectors; `read_view` returns them.

    A picture is read once for all views. What is kept already is not embedded again, and a run that
    was interrupted goes on where it was. Pictures without a face are in no view that needs one.

    Args:
        store: whose pictures.
        space: whose backbone is to see them.
        eye: that backbone.
        views: to be made.
        threads: as in `embed`.
        progress: called now and then.

    Returns:
        The face of each picture of the store; None where there is none or none was needed.

    Raises:
        InputError: a picture is gone or has changed.
        StoreError: something cannot be written, or another process is writing.
    """
    reporter, engine = Reporter(progress), LocalEngine(threads)
    folder = store.path / VIEWS
    with writer_lock(store.path), told(folder), strict_pillow():
        faces: list[Face | None] = [None] * len(store.items)
        if isinstance(eye, FaceBackbone) or any(view.of_face for view in views):
            faces = find_faces(store, folder / FACES, engine, reporter)
        _Work(store, space, eye, views, faces).run(engine, reporter)
    return faces


def sight_of(pixels: Pixels, face: "Face | None", sha256: str) -> "tuple[Sight, Face | None]":
    """Return a picture as it is changed, of a size that many changes can be made to, and its face.

    Args:
        pixels: (h, w, 3) uint8 RGB, the whole picture.
        face: in it.
        sha256: of its file.
    """
    small = shrunk(pixels, LONGEST)
    face = _scaled(face, pixels, small)
    return Sight(small, None if face is None else face.box, sha256), face


class _Work:
    """The views of one space."""

    def __init__(
        self,
        store: Store,
        space: Space,
        eye: Backbone,
        views: Sequence[View],
        faces: "Sequence[Face | None]",
    ) -> None:
        self._store, self._space, self._eye = store, space, eye
        self._views = {view.name: view for view in views}
        ids, hashes = store.items.ids, store.items.column("sha256")
        self._hashes = dict(zip(ids, map(str, hashes), strict=True))
        self._faces = dict(zip(ids, faces, strict=True))
        self._chunks = [tuple(ids[start : start + CHUNK]) for start in range(0, len(ids), CHUNK)]
        # Of each view, the file of each chunk; None where it has to be made, "" where it is empty.
        self._names = {name: [self._found(name, c) for c in self._chunks] for name in self._views}

    def run(self, engine: LocalEngine, reporter: Reporter) -> None:
        missing = [
            [name for name in self._views if self._names[name][number] is None]
            for number in range(len(self._chunks))
        ]
        blocks = [
            Block(number, tuple(id_ for id_ in chunk if self._shown(missing[number], id_)))
            for number, chunk in enumerate(self._chunks)
            if missing[number]
        ]
        reporter.start("looking at views", sum(len(block.ids) for block in blocks))
        limit = 2 * engine.threads

        def load(block: Block, id_: str) -> dict[str, npt.NDArray[Any]]:
            return self._prepared(self._shown(missing[block.number], id_), id_)

        def finish(
            block: Block, loaded: Iterable[dict[str, npt.NDArray[Any]]], lanes: Executor
        ) -> tuple[Block, dict[str, FloatArray]]:
            passes = {name: Passes(self._eye, lanes, limit) for name in missing[block.number]}
            for one in loaded:
                for name, prepared in one.items():
                    passes[name].add(prepared)
                reporter.count()
            return block, {name: each.finish() for name, each in passes.items()}

        for block, vectors in engine.run(blocks, load, finish):
            for name, rows in vectors.items():
                folder = view_folder(self._store, self._space, name)
                make_folder(folder)
                made = write_chunk(folder, self._key(name, self._chunks[block.number]), rows)
                self._names[name][block.number] = made
            reporter.committed(len(block.ids), 0)
        for name in self._views:
            self._record(name)

    def _applies(self, view: View, id_: str) -> bool:
        if view.of_face and self._faces[id_] is None:
            return False
        return view.only is None or id_ in view.only

    def _shown(self, names: Iterable[str], id_: str) -> list[str]:
        """Return those views that a picture is in."""
        return [name for name in names if self._applies(self._views[name], id_)]

    def _policy(self, name: str) -> dict[str, str]:
        return {"view": name, "how": self._views[name].how}

    def _key(self, name: str, chunk: Sequence[str]) -> str:
        seen = self._views[name].of_face or isinstance(self._eye, FaceBackbone)
        faces = (self._faces[id_] if seen else None for id_ in chunk)
        images = [
            (id_, self._hashes[id_], None if face is None else face.box)
            for id_, face in zip(chunk, faces, strict=True)
            if self._shown([name], id_)
        ]
        return chunk_key(self._space.contract_sha256, self._policy(name), images)

    def _found(self, name: str, chunk: Sequence[str]) -> str | None:
        if not any(self._shown([name], id_) for id_ in chunk):
            return ""
        return find_chunk(view_folder(self._store, self._space, name), self._key(name, chunk))

    def _record(self, name: str) -> None:
        """Make the chunks of a view the whole of it, if they are not so already."""
        folder = view_folder(self._store, self._space, name)
        images = [(id_, self._hashes[id_]) for id_ in self._hashes if self._shown([name], id_)]
        ids, originals = tuple(id_ for id_, _ in images), tuple(hash_ for _, hash_ in images)
        with suppress(StoreError):
            kept = read_view(self._store, self._space, name)
            same = kept is not None and (kept.ids, kept.originals) == (ids, originals)
            if not ids or (same and kept is not None and kept.policy == self._policy(name)):
                return
        write_record(
            folder,
            [chunk for chunk in self._names[name] if chunk],
            ids,
            originals,
            self._policy(name),
            self._space.contract_sha256,
        )

    def _prepared(self, names: Sequence[str], id_: str) -> dict[str, npt.NDArray[Any]]:
        hash_ = self._hashes[id_]
        sight, face = sight_of(known_pixels(self._store, id_, hash_), self._faces[id_], hash_)
        return {name: self._seen(self._views[name], sight, face) for name in names}

    def _seen(self, view: View, sight: Sight, face: "Face | None") -> npt.NDArray[Any]:
        """Return the network's input: the view prepared as pictures are for the space."""
        eye = self._eye
        if not isinstance(eye, FaceBackbone):
            return eye.prepare(np.ascontiguousarray(view.change(sight)))
        if view.whole or view.of_face:
            changed = view.change(sight)
            cut = eye.cut(changed, _scaled(face, sight.pixels, changed))
        else:
            cut = view.change(replace(sight, pixels=eye.cut(sight.pixels, face), box=None))
        return eye.prepare_cut(np.ascontiguousarray(cut))


def _scaled(face: "Face | None", before: Pixels, after: Pixels) -> "Face | None":
    """Return a face where it lies once its picture has another size."""
    if face is None or before.shape == after.shape:
        return face
    y, x = (new / old for new, old in zip(after.shape[:2], before.shape[:2], strict=True))
    left, top, right, bottom = face.box
    marks = tuple((x * across, y * down) for across, down in face.landmarks)
    return replace(face, box=(x * left, y * top, x * right, y * bottom), landmarks=marks)
