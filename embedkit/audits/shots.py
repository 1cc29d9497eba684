"""Shots: pictures on their way into a network, and what a network makes of them prepared anyhow."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from embedkit.backbones import Backbone, FaceBackbone, PreparedBackbone
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.errors import EmbedkitError, UnreadableImageError
from embedkit.images import decode, read_bytes, shrunk, strict_pillow
from embedkit.pipeline.seen import LONGEST
from embedkit.vectors import BoolArray, FloatArray, Pixels
from embedkit.workers import usable_cores, workers

if TYPE_CHECKING:
    from embedkit.backbones.faces import Face  # brings torchvision

TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa", "P")  # modes that can be


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture on its way into a network.

    Attributes:
        eye: what is to see it.
        data: bytes of its file.
        pixels: all of it, upright, (h, w, 3) uint8 RGB.
        orientation: by EXIF, 1 to 8.
        transparent: whether it may be.
        cut: the part that is to be seen: a face, or all of it.
        face: that face; None for all of it.
    """

    eye: Backbone
    data: bytes
    pixels: Pixels
    orientation: int
    transparent: bool
    cut: Pixels
    face: "Face | None"

    @staticmethod
    def shrunk(pixels: Pixels) -> Pixels:
        """Return a picture of a size that many changes can be made to."""
        return shrunk(pixels, LONGEST)

    def cut_from(self, pixels: Pixels) -> Pixels:
        """Return the part that would be seen if the whole picture were another."""
        return _cut(self.eye, pixels)[0]


def take(eye: Backbone, path: Path) -> Shot:
    """Read a picture.

    Raises:
        UnreadableImageError: it cannot be read.
    """
    with strict_pillow():
        data = read_bytes(path)
        picture = decode(data)
    pixels = Shot.shrunk(picture.pixels)
    cut, face = _cut(eye, pixels)
    facts = picture.facts
    return Shot(eye, data, pixels, facts.orientation, facts.mode in TRANSPARENT, cut, face)


def _cut(eye: Backbone, pixels: Pixels) -> "tuple[Pixels, Face | None]":
    """Return what is to be seen of a picture; all of it where that is to be left out."""
    if not isinstance(eye, FaceBackbone):
        return pixels, None
    height, width = pixels.shape[:2]
    try:
        face = eye.choose(eye.find(pixels), width, height)
    except UnreadableImageError:
        face = None
    return eye.cut(pixels, face), face


class Way(Protocol):
    """A way to prepare pictures: see `Mistake`."""

    @property
    def change(self) -> Callable[[Shot], Pixels]:
        """What is seen of a picture."""

    @property
    def recipe(self) -> Callable[[Preprocessing], Preprocessing] | None:
        """What is done to it, in place of the right preprocessing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a network makes of pictures that are prepared in one way.

    Attributes:
        rows: (n, d) what it returns; empty where it cannot be computed.
        changed: (n,) whether its input is another than the right one.
        reason: why it cannot be computed; empty if it can.
    """

    rows: FloatArray
    changed: BoolArray
    reason: str = ""


Read = Callable[[Backbone, npt.NDArray[Any]], FloatArray]


def see(
    eye: Backbone, shots: Iterable[Shot], ways: Sequence[Way], read: Read
) -> tuple[FloatArray, list[Seen]]:
    """Show pictures to a network, prepared rightly and in other ways.

    What a way leaves as it is is not computed again. Pictures are held one at a time.

    Args:
        eye: the network.
        shots: pictures.
        ways: to prepare them.
        read: what is wanted of the network for prepared pictures.

    Returns:
        (n, d) of the right way, and what each other way gives.
    """
    with workers() as pool:
        passes = _Passes(pool)
        right = _Lane(eye, read, passes)
        lanes = []
        for way in ways:
            other = eye
            if way.recipe is not None and isinstance(eye, PreparedBackbone):
                other = eye.seeing(way.recipe(eye.preprocessing))
            lanes.append(_Lane(other, read, passes))
        for place, shot in enumerate(shots):
            inputs = _prepared(eye, shot.cut)
            right.add(place, inputs)
            for way, lane in zip(ways, lanes, strict=True):
                wrong = _prepared(lane.eye, np.ascontiguousarray(way.change(shot)))
                if not (lane.normalises_as(eye) and np.array_equal(wrong, inputs)):
                    lane.add(place, wrong)
        for lane in (right, *lanes):
            lane.flush()
        passes.wait()
    if right.reason:
        raise EmbedkitError(right.reason)
    rows = np.stack([right.rows[place] for place in range(len(right.rows))])
    return rows, [lane.seen(rows) for lane in lanes]


def _prepared(eye: Backbone, cut: Pixels) -> npt.NDArray[Any]:
    return eye.prepare_cut(cut) if isinstance(eye, FaceBackbone) else eye.prepare(cut)


class _Passes:
    """Passes side by side, few of them waiting."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._waiting: deque[Future[None]] = deque()

    def submit(self, work: Callable[[], None]) -> None:
        self._waiting.append(self._pool.submit(work))
        if len(self._waiting) > 2 * usable_cores():
            self._waiting.popleft().result()

    def wait(self) -> None:
        """Wait for all; what went wrong in one is raised."""
        while self._waiting:
            self._waiting.popleft().result()


class _Lane:
    """One way's pictures, a full batch at a time."""

    def __init__(self, eye: Backbone, read: Read, passes: _Passes) -> None:
        self.eye = eye
        self.rows: dict[int, FloatArray] = {}
        self.reason = ""
        self._read = read
        self._passes = passes
        self._waiting: list[tuple[int, npt.NDArray[Any]]] = []

    def normalises_as(self, other: Backbone) -> bool:
        """Say whether equal inputs are the same to both networks."""
        if not (isinstance(self.eye, PreparedBackbone) and isinstance(other, PreparedBackbone)):
            return True
        mine, theirs = self.eye.preprocessing, other.preprocessing
        return (mine.range, mine.mean, mine.std) == (theirs.range, theirs.mean, theirs.std)

    def add(self, place: int, inputs: npt.NDArray[Any]) -> None:
        self._waiting.append((place, inputs))
        if len(self._waiting) >= self.eye.card.batch:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            some, self._waiting = self._waiting, []
            self._passes.submit(lambda: self._run(some))

    def _run(self, some: list[tuple[int, npt.NDArray[Any]]]) -> None:
        try:
            rows = self._read(self.eye, np.stack([inputs for _, inputs in some]))
        except EmbedkitError as error:  # values that are not finite, or a vector of zeros
            self.reason = str(error)
        else:
            self.rows.update((place, row) for (place, _), row in zip(some, rows, strict=True))

    def seen(self, right: FloatArray) -> Seen:
        """Return all rows, those of pictures that are not changed taken from the right ones."""
        rows = right.copy()
        for place, row in self.rows.items():
            rows[place] = row
        return Seen(rows, np.isin(np.arange(len(right)), list(self.rows)), self.reason)
