"""What a run tells of itself while it works."""

import time
from collections.abc import Callable
from dataclasses import dataclass

INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: what is being done, for people.
        done: images done in this stage.
        total: images in this stage.
        safe: images that a killed run would not have to do again.
        unreadable: images found unreadable so far.
        unit: what is counted, if not images; no rate is told of that.
    """

    stage: str
    done: int
    total: int
    safe: int
    unreadable: int
    unit: str = "images"


OnProgress = Callable[[Progress], None]


class Reporter:
    """Counts what a run has done, and tells at most every `INTERVAL` seconds."""

    def __init__(self, listener: OnProgress | None) -> None:
        self._listener = listener
        self._told = time.monotonic()
        self._stage, self._done, self._total, self._safe = "", 0, 0, 0

    def start(self, stage: str, total: int) -> None:
        """Begin a stage of `total` images, and tell it at once."""
        self._stage, self._done, self._total, self._safe = stage, 0, total, 0
        self._tell(0)

    def count(self, unreadable: int = 0) -> None:
        """Count one image as done."""
        self._done += 1
        if time.monotonic() - self._told >= INTERVAL:
            self._tell(unreadable)

    def committed(self, n: int, unreadable: int) -> None:
        """Count `n` images as safe, and tell it at once.

        Where they were done in another process they have not been counted one by one.
        """
        self._safe += n
        self._done = max(self._done, self._safe)
        self._tell(unreadable)

    def _tell(self, unreadable: int) -> None:
        self._told = time.monotonic()
        if self._listener is not None:
            self._listener(Progress(self._stage, self._done, self._total, self._safe, unreadable))


@dataclass(frozen=True, slots=True)
class FaceTally:
    """How many pictures were searched for faces, and the processor time that took, in seconds."""

    pictures: int = 0
    none: int = 0
    several: int = 0
    seconds: float = 0.0

    def __add__(self, other: "FaceTally") -> "FaceTally":
        """Return the tally of both."""
        return FaceTally(
            self.pictures + other.pictures,
            self.none + other.none,
            self.several + other.several,
            self.seconds + other.seconds,
        )

    def __str__(self) -> str:
        rate = self.pictures / max(self.seconds, 1e-9)
        if self.none == self.pictures:
            return f"Faces: none in any of {self.pictures} pictures"
        return (
            f"Faces: found in {self.pictures - self.none} of {self.pictures} pictures, several in "
            f"{self.several}; {rate:.0f} pictures searched in a second of one core"
        )
