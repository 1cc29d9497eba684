"""What a network is shown: pictures, or what its frozen part makes of them, computed once."""

from collections.abc import Iterator

import numpy as np
import torch

from embedkit.finetuning.alterations import alter
from embedkit.finetuning.networks import Trainee
from embedkit.vectors import IntArray, Pixels

BATCH = 32


class Inputs:
    """The pictures of a run, by their place.

    Attributes:
        maps: of the frozen part, (n, ...), once `remember` was called.
    """

    def __init__(self, pictures: Pixels, trainee: Trainee, *, augment: bool) -> None:
        """Prepare the pictures of a run.

        Args:
            pictures: (n, h, w, 3) uint8.
            trainee: that is shown them.
            augment: whether training pictures are altered each time.
        """
        self.maps: torch.Tensor | None = None
        self._pictures = torch.from_numpy(pictures)
        self._trainee = trainee
        self._augment = augment

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def can_remember(self) -> bool:
        """Whether the frozen part would see the same in every epoch."""
        return self._trainee.frozen is not None and not self._augment

    @property
    def remembered(self) -> int:
        """Bytes that the frozen part's maps of all pictures take."""
        one = self._seen(self._pictures[:1])
        return 4 * one.numel() * len(self)

    def remember(self) -> None:
        """Run the frozen part over all pictures, once; they are not altered then."""
        with torch.no_grad():
            parts = [
                self._seen(self._pictures[at : at + BATCH]) for at in range(0, len(self), BATCH)
            ]
        self.maps = torch.cat(parts)

    def show(self, places: IntArray, generator: np.random.Generator | None) -> torch.Tensor:
        """Return what the trained part is given for some pictures.

        Args:
            places: of the pictures.
            generator: that alters training pictures; None to leave them as they are.
        """
        chosen = torch.from_numpy(places)
        if self.maps is not None:
            return self.maps[chosen]
        pictures = self._pictures[chosen]
        if self._augment and generator is not None:
            pictures = alter(pictures, generator)
        return self._seen(pictures)

    def _seen(self, pictures: torch.Tensor) -> torch.Tensor:
        scaled = self._trainee.preprocessing.scale(pictures)
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        if self._trainee.frozen is None:
            return scaled
        with torch.no_grad():
            made: torch.Tensor = self._trainee.frozen(scaled)
        return made


def batches(n: int, generator: np.random.Generator) -> Iterator[IntArray]:
    """Yield batches of the numbers 0 to n for ever, in one random order after another.

    All have the same size, so that no batch norm sees a single picture.
    """
    waiting = np.empty(0, np.int64)
    while True:
        while len(waiting) < min(BATCH, n):
            waiting = np.concatenate([waiting, generator.permutation(n)])
        yield waiting[:BATCH] if n >= BATCH else waiting[:n]
        waiting = waiting[min(BATCH, n) :]
