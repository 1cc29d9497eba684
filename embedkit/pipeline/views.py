"""Views: all pictures of a store changed in one way, seen by the backbone of one of its spaces.

The vectors are kept in `views/SPACE@VIEW/` of the store, in the form of altered copies
(`embedkit.store.augmented`), so that no command takes them for a space of the pictures themselves.
What is kept is found again by the contract of the space, the view and the bytes of the pictures.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from embedkit.backbones import Backbone, FaceBackbone
from embedkit.engines import Engine, LocalEngine
from embedkit.errors import StoreError
from embedkit.files import make_folder
from embedkit.images import strict_pillow
from embedkit.pipeline.faces import find_faces
from embedkit.pipeline.progress import OnProgress, Reporter
from embedkit.pipeline.seen import Chunk, Shown, View, ViewMaker, ViewRecipe
from embedkit.pipeline.witnesses import of_pictures, of_store
from embedkit.store import Space, Store
from embedkit.store.augmented import (
    VIEWS,
    Augmented,
    chunk_key,
    find_chunk,
    read_augmented,
    write_record,
)
from embedkit.store.forgotten import check_since
from embedkit.store.journal import told
from embedkit.store.lock import writer_lock

if TYPE_CHECKING:
    from embedkit.backbones.faces import Face  # brings torchvision

CHUNK = 256  # pictures of which each view is committed together
FACES = "faces"


def view_folder(store: Store, space: Space, view: str) -> Path:
    """Return where the vectors of a view of a space are kept."""
    return store.path / VIEWS / f"{space.name}@{view.replace(' ', '-')}"


def read_view(store: Store, space: Space, view: str) -> Augmented | None:
    """Return the vectors of a view, or None where they are not there, or not all of them.

    Raises:
        StoreError: they are damaged.
    """
    return read_augmented(view_folder(store, space, view), space.contract_sha256)


def make_views(
    store: Store,
    space: Space,
    eye: Backbone,
    views: Sequence[View],
    *,
    engine: Engine | None = None,
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
        engine: where pictures are changed and embedded; None for this process.
        progress: called now and then.

    Returns:
        The face of each picture of the store; None where there is none or none was needed.

    Raises:
        InputError: a picture is gone or has changed.
        StoreError: something cannot be written, another process is writing, or a picture was
            forgotten since the store was opened.
    """
    reporter, engine = Reporter(progress), engine or LocalEngine()
    folder = store.path / VIEWS
    with writer_lock(store.path), told(folder), strict_pillow():
        check_since(store.path, store.items.ids, "a view")
        faces: list[Face | None] = [None] * len(store.items)
        if isinstance(eye, FaceBackbone) or any(view.of_face for view in views):
            faces = find_faces(store, folder / FACES, engine, reporter)
        _Work(store, space, eye, views, faces).run(engine, reporter)
    return faces


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

    def run(self, engine: Engine, reporter: Reporter) -> None:
        chunks = [self._chunk(number) for number in range(len(self._chunks))]
        chunks = [one for one in chunks if one.keys]
        reporter.start("looking at views", sum(len(one.ids) for one in chunks))
        maker = ViewMaker(self._recipe(), self._eye, engine.threads, reporter.count)
        if chunks:
            for folder in maker.recipe.folders.values():
                make_folder(folder)
        with closing(engine.make(chunks, maker)) as results:
            for chunk, made in zip(chunks, results, strict=True):
                for name, file in made.items():
                    self._names[name][chunk.number] = file
                reporter.committed(len(chunk.ids), 0)
        for name in self._views:
            self._record(name)

    def _chunk(self, number: int) -> Chunk:
        """Return the pictures of a chunk of which a view is missing."""
        every = self._chunks[number]
        missing = [name for name in self._views if self._names[name][number] is None]
        views = {id_: tuple(self._shown(missing, id_)) for id_ in every}
        shown = {
            id_: Shown(self._hashes[id_], self._faces[id_], names)
            for id_, names in views.items()
            if names
        }
        return Chunk(
            number, tuple(shown), shown, {name: self._key(name, every) for name in missing}
        )

    def _recipe(self) -> ViewRecipe:
        store, space = self._store, self._space
        network = space.record.backbone | {
            "contract_sha256": space.contract_sha256,
            "where": str(space.folder),
            "vouched": self._eye.weights_sha256,
        }
        return ViewRecipe(
            store.items.root,
            self._views,
            {name: view_folder(store, space, name) for name in self._views},
            network,
            of_pictures(store.items.root, store.items.ids) + of_store(store.path),
        )

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
