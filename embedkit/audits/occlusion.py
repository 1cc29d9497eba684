"""Occlusion: how much of an answer is lost when a part of the picture is covered.

Zeiler and Fergus, "Visualizing and understanding convolutional networks" (ECCV 2014).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from embedkit.audits.base import rounded
from embedkit.audits.decisions import Decision, Frame
from embedkit.audits.peaks import Box, peak_box
from embedkit.errors import InputError
from embedkit.pipeline.progress import OnProgress, Progress
from embedkit.vectors import DoubleArray, Pixels

PATCH = 5  # patches on the shorter side, where nobody says how large they are
STAGE = "covering parts of the picture"


@dataclass(frozen=True, slots=True)
class Covers:
    """Where a picture is covered: square patches on a grid of cells as wide as the stride.

    They reach beyond the edges, so that every cell is covered by as many.

    Attributes:
        patch: side of a patch, in pixels of what the network sees.
        stride: from one patch to the next, which is the side of a cell.
        height: of what the network sees, in pixels.
        width: of it.
    """

    patch: int
    stride: int
    height: int
    width: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells; the last of each may be cut off by the edge."""
        return -(-self.height // self.stride), -(-self.width // self.stride)

    @property
    def cells(self) -> int:
        """Cells on the side of a patch."""
        return self.patch // self.stride

    @property
    def pictures(self) -> int:
        """Covered pictures to embed."""
        rows, columns = self.grid
        return (rows + self.cells - 1) * (columns + self.cells - 1)

    def places(self) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and columns of cells under each patch."""
        rows, columns = self.grid
        for row in range(1 - self.cells, rows):
            for column in range(1 - self.cells, columns):
                yield (
                    slice(max(row, 0), row + self.cells),
                    slice(max(column, 0), column + self.cells),
                )


@dataclass(frozen=True, slots=True)
class Occlusion:
    """What covering each part of a picture takes off an answer.

    Attributes:
        answer: the class answered.
        against: the next one.
        log_odds: of the answer against the next class, nothing covered.
        covers: where it was covered.
        values: (rows, columns) float64: by how much the log-odds fall, as the mean over all patches
            that cover a cell; negative where covering it makes the answer surer.
        largest: the largest fall by one patch.
    """

    answer: str
    against: str
    log_odds: float
    covers: Covers
    values: DoubleArray
    largest: float

    @property
    def peak(self) -> Box:
        """The cell with the largest fall: left, top, right, bottom in pixels of the frame."""
        left, top, right, bottom = peak_box(self.values, self.covers.stride, self.covers.stride)
        return left, top, min(right, self.covers.width), min(bottom, self.covers.height)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "unit": "fall of the log-odds",
            "answer": self.answer,
            "against": self.against,
            "log_odds": rounded(self.log_odds),
            "patch": self.covers.patch,
            "stride": self.covers.stride,
            "size": [self.covers.height, self.covers.width],
            "pictures": self.covers.pictures,
            "grid": list(self.covers.grid),
            "values": [[round(value, 6) for value in row] for row in self.values.tolist()],
            "largest_fall_by_one_patch": rounded(self.largest),
            "peak": [round(side, 3) for side in self.peak],
        }


def plan_covers(frame: Frame, *, patch: int | None = None, stride: int | None = None) -> Covers:
    """Say where a picture would be covered, and so what that costs.

    Args:
        frame: the picture as the backbone sees it.
        patch: side in pixels of what the network sees; a fifth of its shorter side where left out.
        stride: from patch to patch; half a patch where left out.

    Raises:
        InputError: the patch is larger than the picture, or no whole multiple of the stride.
    """
    height, width = frame.content.shape[:2]
    shorter = min(height, width)
    if patch is None:
        step = stride if stride is not None and 1 <= stride <= shorter else 2
        patch = min(max(1, round(shorter / PATCH / step)) * step, shorter)
    if stride is None:
        stride = patch // 2 if patch % 2 == 0 else patch
    if not 1 <= patch <= shorter:
        raise InputError(
            f"a patch of {patch} pixels was asked for; the network sees {width} x {height}, so 1 "
            f"to {shorter} can be"
        )
    if stride < 1 or patch % stride:
        allowed = ", ".join(str(n) for n in range(1, patch + 1) if patch % n == 0)
        raise InputError(
            f"a stride of {stride} pixels does not divide a patch of {patch}; {allowed} do"
        )
    return Covers(patch, stride, height, width)


def occlude(
    decision: Decision,
    frame: Frame,
    covers: Covers,
    *,
    behind: Pixels | None = None,
    progress: OnProgress | None = None,
) -> Occlusion:
    """Cover a picture place by place and see how far the answer falls.

    A patch shows the picture itself, so blurred that nothing in it can be made out: unlike grey or
    a mean colour it brings no edge of its own, and it found most marks (`docs/explanations.md`).

    Args:
        decision: on the picture.
        frame: the picture as the backbone sees it.
        covers: where; embeds `covers.pictures` pictures.
        behind: (h, w, c) uint8; what shows where the picture is covered, if not itself, blurred.
        progress: called after every batch.
    """
    content, batch = frame.content, frame.backbone.card.batch
    under = blurred(content, covers.patch / 2) if behind is None else behind
    places = list(covers.places())
    before = float(decision.log_odds(frame.embed(content[None]))[0])
    falls = np.empty(len(places))
    for start in range(0, len(places), batch):
        some = places[start : start + batch]
        covered = np.stack([_covered(content, under, place, covers.stride) for place in some])
        falls[start : start + len(some)] = before - decision.log_odds(frame.embed(covered))
        if progress is not None:
            done = start + len(some)
            progress(Progress(STAGE, done, len(places), done, 0))
    total, times = np.zeros(covers.grid), np.zeros(covers.grid)
    for place, fall in zip(places, falls.tolist(), strict=True):
        total[place] += fall
        times[place] += 1
    return Occlusion(
        decision.answer, decision.against, before, covers, total / times, float(falls.max())
    )


def blurred(content: Pixels, radius: float) -> Pixels:
    """Return (h, w, c) uint8 after a Gaussian blur, its radius in pixels."""
    blur = ImageFilter.GaussianBlur(radius)
    channels = [np.asarray(Image.fromarray(one).filter(blur)) for one in np.moveaxis(content, 2, 0)]
    return np.stack(channels, axis=2)


def _covered(content: Pixels, under: Pixels, place: tuple[slice, slice], stride: int) -> Pixels:
    made = content.copy()
    rows, columns = (slice(part.start * stride, part.stop * stride) for part in place)
    made[rows, columns] = under[rows, columns]
    return made
