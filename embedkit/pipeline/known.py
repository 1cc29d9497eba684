"""Pictures of a store read again: are they the same files, and what are their pixels?"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from embedkit.errors import InputError, UnreadableImageError
from embedkit.files import sha256
from embedkit.images import decode_pixels, read_bytes
from embedkit.pipeline.blocks import Task, hash_of
from embedkit.pipeline.witnesses import Witnesses
from embedkit.store import Store
from embedkit.vectors import Pixels


def known_pixels(store: Store, id_: str, expected: str) -> Pixels:
    """Return the pixels of an image of a store, (h, w, 3) uint8 RGB, upright.

    Args:
        store: that has it.
        id_: of the image.
        expected: SHA-256 of its file when it was embedded.

    Raises:
        InputError: it is gone, or is another file now.
    """
    return pixels_at(store.items.path(id_), expected)


def pixels_at(path: Path, expected: str) -> Pixels:
    """Return the pixels of an image, (h, w, 3) uint8 RGB, upright.

    Args:
        path: of its file, or its URL.
        expected: SHA-256 of it when it was embedded.

    Raises:
        InputError: it is gone, or is another file now.
    """
    try:
        data = read_bytes(path)
        if sha256(data) == expected:
            return decode_pixels(data)
    except UnreadableImageError as error:
        raise InputError(f"{path} cannot be read any more: {error}") from None
    raise InputError(f"{path} has changed; bring the store up to date first")


@dataclass(frozen=True, slots=True)
class Checker:
    """Looks whether the images of blocks are the files that they were; see `Maker`.

    Attributes:
        root: of the images.
        count: called after each image.
        witnesses: that another process must see.
    """

    root: Path
    count: Callable[[], None] = field(default=lambda: None)
    witnesses: Witnesses = ()
    on_gpu: ClassVar[bool] = False

    @property
    def recipe(self) -> "Checker":
        """Return one for another process."""
        return Checker(self.root, witnesses=self.witnesses)

    def open(self, threads: int) -> "Checker":
        """Return itself: it needs no network.

        Raises:
            InputError: a witness is not there.
        """
        for witness in self.witnesses:
            witness.check()
        return self

    def load(self, block: Task, id_: str) -> bool:
        """Return whether an image is there and has not changed."""
        return block.known is not None and hash_of(self.root, id_) == block.known[id_]

    def finish(self, block: Task, same: Iterable[bool], lanes: Executor) -> list[bool]:
        """Return what was found of each image of a block, in order."""
        found = []
        for one in same:
            found.append(one)
            self.count()
        return found
