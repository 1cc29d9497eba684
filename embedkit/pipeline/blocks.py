"""Blocks of images become files of a store: the same work in this process and in any other."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import pyarrow as pa

from embedkit.backbones import Backbone, FaceBackbone, load_again
from embedkit.engines import Block
from embedkit.errors import EmbedkitError, InputError, UnreadableImageError
from embedkit.files import sha256
from embedkit.images import decode, read_bytes, unprepared
from embedkit.items import FACES, Unreadable, path_of_id
from embedkit.nuisance import TOGETHER, Glance, glance, nuisances
from embedkit.pipeline.passes import Passes
from embedkit.pipeline.progress import FaceTally
from embedkit.pipeline.witnesses import Witnesses
from embedkit.store.blocks import write_rows, write_vectors
from embedkit.store.journal import Entry
from embedkit.store.writer import FACT_SCHEMA
from embedkit.vectors import Pixels

if TYPE_CHECKING:
    from embedkit.backbones.faces import Face  # brings torchvision


@dataclass(frozen=True, slots=True)
class Task(Block):
    """A block, and what is to be made of it.

    Attributes:
        spaces: that are to have its vectors.
        known: SHA-256 of each file, by id, where the store holds the images already and only
            vectors are added; None of new images.
    """

    spaces: tuple[str, ...] = ()
    known: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image, read and prepared for each network; or the reason why it could not be."""

    id: str
    facts: dict[str, Any] | None = None
    inputs: tuple[npt.NDArray[Any], ...] = ()
    glance: Glance | None = None
    reason: str = ""
    tally: FaceTally = field(default_factory=FaceTally)


@dataclass(frozen=True, slots=True)
class Made:
    """A block whose files are written.

    Attributes:
        images: how many were read.
        entry: what `StoreWriter.add` commits.
        tally: of the search for faces.
    """

    images: int
    entry: Entry
    tally: FaceTally


@dataclass(frozen=True, slots=True)
class Recipe:
    """What another process needs to make blocks; small, and it can be sent there.

    Attributes:
        root: of the images.
        store: folder that the files are written to.
        networks: how each is loaded, by space; see `load_again`.
        witnesses: that the other process must see.
        max_pixels: that a new picture may have; None for the usual.
    """

    root: Path
    store: Path
    networks: dict[str, dict[str, str]]
    witnesses: Witnesses = ()
    max_pixels: int | None = None

    @property
    def on_gpu(self) -> bool:
        """Return whether a network runs on a GPU."""
        return any(how["device"] == "cuda" for how in self.networks.values())

    def open(self, threads: int) -> "BlockMaker":
        """Load the networks.

        Args:
            threads: that will run them side by side.

        Raises:
            EmbedkitError: a witness is not there, or as `load_again`.
        """
        for witness in self.witnesses:
            witness.check()
        networks = {name: load_again(**how) for name, how in self.networks.items()}
        return BlockMaker(self, networks, threads)


@dataclass(frozen=True, slots=True)
class BlockMaker:
    """Loads the images of blocks and writes their files; see `Engine`.

    Attributes:
        recipe: for a maker in another process.
        networks: by space.
        threads: that run them side by side.
        count: called after each image with how many of its block could not be read.
    """

    recipe: Recipe
    networks: Mapping[str, Backbone]
    threads: int
    count: Callable[[int], None] = field(default=lambda _: None)

    def load(self, block: Task, id_: str) -> Loaded:
        """Read one image and prepare it for the networks that need it."""
        try:
            # What the store holds already was within the limit when it was taken.
            most = self.recipe.max_pixels if block.known is None else None
            picture = decode(read_bytes(self.recipe.root / path_of_id(id_)), max_pixels=most)
        except UnreadableImageError as error:
            return Loaded(id_, reason=str(error))
        if block.known is not None and picture.facts.sha256 != block.known[id_]:
            return Loaded(id_, reason="it is another file now")
        networks = [self.networks[name] for name in block.spaces]
        facts: dict[str, Any] = {"id": id_} | asdict(picture.facts)
        tally = FaceTally()
        try:
            faces, tally = _faces(picture.pixels, networks)
            inputs, found = _prepared(picture.pixels, networks, faces)
            new = block.known is None
            seen = glance(picture.header, picture.image, picture.pixels) if new else None
        except UnreadableImageError as error:
            return Loaded(id_, facts, reason=str(error), tally=tally)
        except EmbedkitError:
            raise
        except Exception as error:  # noqa: BLE001 (one picture is not to end the run)
            return Loaded(id_, facts, reason=unprepared(error), tally=tally)
        return Loaded(id_, facts | found, inputs, seen, tally=tally)

    def finish(self, block: Task, images: Iterable[Loaded], lanes: Executor) -> Made:
        """Run the networks over a block's images, and write its files.

        The networks' batches never wait for one another.

        Raises:
            InputError: an image that the store holds is another file now.
            StoreError: a file cannot be written.
        """
        networks = {name: self.networks[name] for name in block.spaces}
        passes = [Passes(network, lanes, 2 * self.threads) for network in networks.values()]
        facts: list[dict[str, Any]] = []
        seen: list[Glance] = []
        found: list[dict[str, Any]] = []
        refused: dict[Unreadable, str | None] = {}
        tally = FaceTally()
        for image in images:
            tally += image.tally
            if image.reason:
                if block.known is not None:
                    raise _left_out(image)
                refused[Unreadable(image.id, image.reason)] = hash_of(self.recipe.root, image.id)
            else:
                facts.append(image.facts or {})
                if image.glance is not None:
                    seen.append(image.glance)
                if len(seen) == TOGETHER:
                    found += nuisances(seen)
                    seen.clear()
                for one, prepared in zip(passes, image.inputs, strict=True):
                    one.add(prepared)
            self.count(len(refused))
        found += nuisances(seen)
        for row, made in zip(facts, found, strict=False):  # of known images none is made
            row["nuisance"] = made
        vectors = {name: one.finish() for name, one in zip(networks, passes, strict=True)}
        table = pa.Table.from_pylist(facts, FACT_SCHEMA)
        folder = self.recipe.store
        if block.known is None:
            entry = write_rows(folder, block.number, table, vectors, refused=refused)
        else:
            looked = any(isinstance(network, FaceBackbone) for network in networks.values())
            faces = table.select(FACES) if looked else None
            entry = write_vectors(folder, block.number, vectors, faces)
        return Made(len(block.ids), entry, tally)


def hash_of(root: Path, id_: str) -> str | None:
    """Return the SHA-256 of an image's file, None where there is nothing to read.

    Args:
        root: that the id is relative to.
        id_: of the image.
    """
    try:
        return sha256(read_bytes(root / path_of_id(id_)))
    except UnreadableImageError:
        return None


def _faces(
    pixels: Pixels, networks: Sequence[Backbone]
) -> "tuple[tuple[Face, ...] | None, FaceTally]":
    """Search a picture for faces, once for all networks that want them."""
    finder = next((one for one in networks if isinstance(one, FaceBackbone)), None)
    if finder is None:
        return None, FaceTally()
    start = time.thread_time()
    faces = finder.find(pixels)
    seconds = time.thread_time() - start
    return faces, FaceTally(1, len(faces) == 0, len(faces) > 1, seconds)


def _prepared(
    pixels: Pixels, networks: Sequence[Backbone], faces: "tuple[Face, ...] | None"
) -> tuple[tuple[npt.NDArray[Any], ...], dict[str, Any]]:
    """Return each network's input, and what the table of items says of the face.

    Raises:
        UnreadableImageError: the picture is to be left out, for the faces in it.
    """
    inputs, face = [], None
    height, width = pixels.shape[:2]
    for network in networks:
        if isinstance(network, FaceBackbone):
            face = network.choose(faces or (), width, height)
            inputs.append(network.prepare_cut(network.cut(pixels, face)))
        else:
            inputs.append(network.prepare(pixels))
    facts: dict[str, Any] = {} if faces is None else {"faces": len(faces)}
    if face is not None:
        sides = ("face_left", "face_top", "face_right", "face_bottom")
        facts |= dict(zip(sides, face.box, strict=True))
        facts |= {"face_confidence": face.confidence}
        facts |= {"face_landmarks": [x for point in face.landmarks for x in point]}
    return tuple(inputs), facts


def _left_out(image: Loaded) -> InputError:
    """Return what is wrong with an image that the store holds and that gets no vector."""
    if image.facts is None:
        return InputError(f"{image.id} changed while it was being read: {image.reason}")
    return InputError(
        f"{image.id} is to be left out, for {image.reason}, but the store holds it already; take "
        "it whole, or make another store with -o"
    )
