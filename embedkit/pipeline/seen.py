"""Changed pictures as a network sees them: made of the pictures of a block, in any process."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from embedkit.backbones import Backbone, FaceBackbone, load_again
from embedkit.engines import Block
from embedkit.images import shrunk
from embedkit.items import path_of_id
from embedkit.pipeline.known import pixels_at
from embedkit.pipeline.passes import Passes
from embedkit.pipeline.witnesses import Witnesses
from embedkit.store.augmented import write_chunk
from embedkit.vectors import Pixels

if TYPE_CHECKING:
    from embedkit.backbones.faces import Face  # brings torchvision

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


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of which some views are made.

    Attributes:
        sha256: of its file.
        face: in it; None where there is none, or none is needed.
        views: by name.
    """

    sha256: str
    face: "Face | None"
    views: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chunk(Block):
    """Pictures of which some views are made together.

    Attributes:
        shown: each, by id.
        keys: of the file of each view that is made; see `chunk_key`.
    """

    shown: Mapping[str, Shown] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ViewRecipe:
    """What another process needs to make views; small, and it can be sent there.

    Attributes:
        root: of the pictures.
        views: by name.
        folders: that their vectors are written to.
        network: how it is loaded; see `load_again`.
        witnesses: that the other process must see.
    """

    root: Path
    views: Mapping[str, View]
    folders: Mapping[str, Path]
    network: Mapping[str, str]
    witnesses: Witnesses
    on_gpu: ClassVar[bool] = False

    def open(self, threads: int) -> "ViewMaker":
        """Load the network.

        Args:
            threads: that will run it side by side.

        Raises:
            EmbedkitError: a witness is not there, or as `load_again`.
        """
        for witness in self.witnesses:
            witness.check()
        return ViewMaker(self, load_again(**self.network), threads)


@dataclass(frozen=True, slots=True)
class ViewMaker:
    """Changes the pictures of chunks, and writes what the network sees; see `Maker`.

    Attributes:
        recipe: for a maker in another process.
        eye: the network.
        threads: that run it side by side.
        count: called after each picture.
    """

    recipe: ViewRecipe
    eye: Backbone
    threads: int
    count: Callable[[], None] = field(default=lambda: None)

    def load(self, block: Chunk, id_: str) -> dict[str, npt.NDArray[Any]]:
        """Return the network's input for each view of a picture.

        Raises:
            InputError: it is gone, or is another file now.
        """
        shown = block.shown[id_]
        pixels = pixels_at(self.recipe.root / path_of_id(id_), shown.sha256)
        sight, face = sight_of(pixels, shown.face, shown.sha256)
        return {name: self._seen(self.recipe.views[name], sight, face) for name in shown.views}

    def finish(
        self, block: Chunk, loaded: Iterable[dict[str, npt.NDArray[Any]]], lanes: Executor
    ) -> dict[str, str]:
        """Run the network over a chunk's views; return the file that each was written to.

        Raises:
            StoreError: it cannot be written.
        """
        passes = {name: Passes(self.eye, lanes, 2 * self.threads) for name in block.keys}
        for one in loaded:
            for name, prepared in one.items():
                passes[name].add(prepared)
            self.count()
        return {
            name: write_chunk(self.recipe.folders[name], key, passes[name].finish())
            for name, key in block.keys.items()
        }

    def _seen(self, view: View, sight: Sight, face: "Face | None") -> npt.NDArray[Any]:
        """Return the network's input: the view prepared as pictures are for the space."""
        eye = self.eye
        if not isinstance(eye, FaceBackbone):
            return eye.prepare(np.ascontiguousarray(view.change(sight)))
        if view.whole or view.of_face:
            changed = view.change(sight)
            cut = eye.cut(changed, _scaled(face, sight.pixels, changed))
        else:
            cut = view.change(replace(sight, pixels=eye.cut(sight.pixels, face), box=None))
        return eye.prepare_cut(np.ascontiguousarray(cut))


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


def _scaled(face: "Face | None", before: Pixels, after: Pixels) -> "Face | None":
    """Return a face where it lies once its picture has another size."""
    if face is None or before.shape == after.shape:
        return face
    y, x = (new / old for new, old in zip(after.shape[:2], before.shape[:2], strict=True))
    left, top, right, bottom = face.box
    marks = tuple((x * across, y * down) for across, down in face.landmarks)
    return replace(face, box=(x * left, y * top, x * right, y * bottom), landmarks=marks)
