"""Altered copies of training images, embedded beside their originals."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from embedkit.backbones import Backbone, FaceBackbone, load_again
from embedkit.engines import Block, LocalEngine
from embedkit.errors import InputError
from embedkit.pipeline.known import known_pixels
from embedkit.pipeline.passes import Passes
from embedkit.pipeline.progress import OnProgress, Reporter
from embedkit.store import Space, Store
from embedkit.store.augmented import chunk_key, find_chunk, write_chunk, write_record
from embedkit.store.lock import writer_lock
from embedkit.vectors import FloatArray, Pixels

CHUNK = 256  # images whose copies are committed together
DEGREES = 15.0
SHEAR = 0.15
JITTER = 0.25


def _border(image: Image.Image) -> tuple[int, ...]:
    """Return the mean colour of a picture's border, for the corners that turning leaves empty."""
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in border.mean(axis=0).round())


def _flip(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    if generator.random() < 0.5:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def _rotate(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    turn = generator.uniform(-DEGREES, DEGREES)
    return image.rotate(turn, Image.Resampling.BICUBIC, fillcolor=_border(image))


def _shear(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    lean = generator.uniform(-SHEAR, SHEAR)
    matrix = (1.0, lean, -lean * image.height / 2, 0.0, 1.0, 0.0)
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix,
        Image.Resampling.BICUBIC,
        fillcolor=_border(image),
    )


def _jitter(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(generator.uniform(1 - JITTER, 1 + JITTER))
    return image


CHANGES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "flip": _flip,
    "rotate": _rotate,
    "shear": _shear,
    "jitter": _jitter,
}


def altered(pixels: Pixels, changes: Sequence[str], sha256: str, copy: int, *, seed: int) -> Pixels:
    """Return one altered copy of a picture, the same whenever and wherever it is made.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        changes: names in `CHANGES`, done in that order.
        sha256: of the picture's file.
        copy: number of the copy.
        seed: of all copies.

    Returns:
        (h, w, 3) uint8.
    """
    entropy = hashlib.sha256(f"{seed} {copy} {sha256}".encode()).digest()
    generator = np.random.default_rng(np.frombuffer(entropy, np.uint64))
    image = Image.fromarray(pixels)
    for name in CHANGES:
        if name in changes:
            image = CHANGES[name](image, generator)
    return np.asarray(image)


def check_changes(changes: Sequence[str], copies: int) -> None:
    """Refuse what is no augmentation.

    Raises:
        InputError: with what is known.
    """
    for name in changes:
        if name not in CHANGES:
            raise InputError(f"--augment knows no {name!r}; known are {', '.join(CHANGES)}")
    if copies < 1:
        raise InputError(f"--copies is {copies}; one or more are made of each training image")


def augment(
    store: Store,
    spaces: Iterable[str],
    changes: Sequence[str],
    copies: int,
    *,
    seed: int = 0,
    threads: int | None = None,
    progress: OnProgress | None = None,
) -> int:
    """Embed altered copies of the train split into spaces of a store, beside their rows.

    Faces are cut out before they are altered, so that a copy has the same face as its original.
    A run that was interrupted goes on where it was.

    Args:
        store: to add to.
        spaces: names.
        changes: names in `CHANGES`.
        copies: of each image.
        seed: of what is drawn at random.
        threads: as in `embed`.
        progress: called now and then.

    Returns:
        How many images copies were made of.

    Raises:
        InputError: a change is not known, an image has changed, or there is no train split.
        StoreError: something cannot be written, or another process is writing.
    """
    check_changes(changes, copies)
    hashes = store.items.column("sha256")
    images = [
        (id_, str(hash_))
        for id_, hash_, split in zip(store.items.ids, hashes, store.items.splits, strict=True)
        if split == "train"
    ]
    if not images:
        raise InputError(f"{store.path} has no train split; copies are made of training images")
    policy = {"changes": [name for name in CHANGES if name in changes], "copies": copies}
    with writer_lock(store.path):
        for name in spaces:
            work = _Work(store, store.space(name), images, policy | {"seed": seed})
            work.run(LocalEngine(threads), Reporter(progress))
    return len(images)


class _Work:
    """The copies of one space."""

    def __init__(
        self, store: Store, space: Space, images: list[tuple[str, str]], policy: dict[str, Any]
    ) -> None:
        self._store, self._space, self._policy = store, space, policy
        self._images = images
        self._hashes = dict(images)
        self._backbone: Backbone = load_again(
            **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
        )
        chunks = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
        self._keys = [chunk_key(space.contract_sha256, policy, chunk) for chunk in chunks]
        self._names = [find_chunk(space.folder, key) for key in self._keys]
        self._blocks = [
            Block(number, tuple(id_ for id_, _ in chunk))
            for number, chunk in enumerate(chunks)
            if self._names[number] is None
        ]

    def run(self, engine: LocalEngine, reporter: Reporter) -> None:
        reporter.start("augmenting", sum(len(block.ids) for block in self._blocks))
        limit = 2 * engine.threads

        def finish(
            block: Block, prepared: Iterable[list[npt.NDArray[Any]]], lanes: Executor
        ) -> tuple[Block, FloatArray]:
            passes = Passes(self._backbone, lanes, limit)
            for copies in prepared:
                for one in copies:
                    passes.add(one)
                reporter.count()
            return block, passes.finish()

        for block, vectors in engine.run(self._blocks, self._load, finish):
            name = write_chunk(self._space.folder, self._keys[block.number], vectors)
            self._names[block.number] = name
            reporter.committed(len(block.ids), 0)
        copies = self._policy["copies"]
        rows = [image for image in self._images for _ in range(copies)]
        write_record(
            self._space.folder,
            [name for name in self._names if name is not None],
            [id_ for id_, _ in rows],
            [hash_ for _, hash_ in rows],
            self._policy,
            self._space.contract_sha256,
        )

    def _load(self, _: Block, id_: str) -> list[npt.NDArray[Any]]:
        sha256 = self._hashes[id_]
        pixels = known_pixels(self._store, id_, sha256)
        backbone = self._backbone
        prepare = backbone.prepare
        if isinstance(backbone, FaceBackbone):
            height, width = pixels.shape[:2]
            pixels = backbone.cut(pixels, backbone.choose(backbone.find(pixels), width, height))
            prepare = backbone.prepare_cut
        return [
            prepare(
                altered(
                    pixels,
                    self._policy["changes"],
                    sha256,
                    copy,
                    seed=self._policy["seed"],
                )
            )
            for copy in range(self._policy["copies"])
        ]
