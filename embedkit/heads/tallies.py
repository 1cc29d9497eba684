"""What a run over pictures, videos or a camera came to: counts, speed, memory."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedkit.items import Unreadable

if TYPE_CHECKING:
    from embedkit.heads.faces import Look  # brings torch

SHOWN = 20  # reasons that are kept; a damaged video may have one a packet


@dataclass
class Tally:
    """Counts of what has been looked at, and the time since it began.

    Attributes:
        pictures: that were looked at.
        frames: of videos or a camera, those that were passed over included.
        looked_at: of the frames.
        faces: in all of them.
        faceless: pictures and frames that were looked at and have no face.
        unreadable: the first few pictures, packets or frames that could not be read.
        n_unreadable: all of them.
    """

    pictures: int = 0
    frames: int = 0
    looked_at: int = 0
    faces: int = 0
    faceless: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    n_unreadable: int = 0
    _began: float = field(default_factory=time.perf_counter)

    def count(self, one: "Look | Unreadable") -> None:
        """Take note of one result."""
        if isinstance(one, Unreadable):
            self.n_unreadable += 1
            if len(self.unreadable) < SHOWN:
                self.unreadable.append(one)
            return
        is_picture = one.frame.number is None
        self.pictures += is_picture
        self.frames += not is_picture
        if one.sightings is not None:
            self.looked_at += not is_picture
            self.faces += len(one.sightings)
            self.faceless += not one.sightings

    @property
    def anything(self) -> bool:
        """Whether a single picture or frame was read."""
        return self.pictures + self.frames > 0

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.perf_counter() - self._began

    @property
    def per_second(self) -> float:
        """Pictures and frames, those that were passed over included, in a second so far."""
        return (self.pictures + self.frames) / max(self.seconds, 1e-9)
