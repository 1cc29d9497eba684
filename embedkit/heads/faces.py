"""Every face in pictures and frames of videos, judged by every head."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedkit.backbones import Backbone, FaceBackbone, embed_prepared
from embedkit.backbones.faces import Face, cut_out, face_finder
from embedkit.heads.framings import Framing, framing_of
from embedkit.heads.head import Head
from embedkit.heads.predict import Panel, Prediction, classify
from embedkit.items import Unreadable
from embedkit.vectors import Pixels
from embedkit.videos.frames import Frame
from embedkit.workers import usable_cores, workers

HELD = 32_000_000  # pixels of the frames that are looked at together; 96 MB

Sight = tuple[str, Path]  # the contract of a head's space, and its store
Seen = tuple[Face, dict[Sight, npt.NDArray[Any]]]  # and the input of each network


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face and what each head says of it, in the order of the heads."""

    face: Face
    answers: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """A picture or frame and the faces in it.

    Attributes:
        frame: what was looked at, or was not.
        sightings: the faces, the largest first; None for a frame that was passed over.
    """

    frame: Frame
    sightings: tuple[Sighting, ...] | None


@dataclass(frozen=True, slots=True)
class Eye:
    """What heads of one space and store see of a face.

    Attributes:
        backbone: of the space.
        framing: of the store's pictures; None in a space of faces, and where it is not known.
    """

    backbone: Backbone
    framing: Framing | None

    @property
    def guesses(self) -> bool:
        """Whether it takes the usual margin because the training pictures' framing is not known."""
        return self.framing is None and not isinstance(self.backbone, FaceBackbone)

    def prepare(self, pixels: Pixels, face: Face) -> npt.NDArray[Any]:
        """Return the network's input for a face in a picture; see `look_at_faces`."""
        if isinstance(self.backbone, FaceBackbone):
            return self.backbone.prepare_cut(self.backbone.cut(pixels, face))
        cut = self.framing.cut if self.framing else cut_out
        return self.backbone.prepare(cut(pixels, face))


def eyes_of(panel: Panel) -> dict[Sight, Eye]:
    """Return what the heads of a panel see with; searches a few of the training pictures."""
    eyes: dict[Sight, Eye] = {}
    for head in panel.heads:
        if _sight(head) not in eyes:
            backbone = panel.backbones[head.training.contract_sha256]
            aligned = isinstance(backbone, FaceBackbone)
            eyes[_sight(head)] = Eye(backbone, None if aligned else framing_of(head.training))
    return eyes


def look_at_faces(
    panel: Panel,
    frames: Iterable[Frame | Unreadable],
    *,
    eyes: dict[Sight, Eye] | None = None,
    every: int = 1,
    gather: int | None = None,
    k: int = 0,
) -> Iterator[Look | Unreadable]:
    """Find every face and let every head judge it.

    A face's pixels are what the head's space was made of. In one made with `--align mtcnn` each
    face is cut out, or turned onto its landmarks, as the largest of a training picture was. In any
    other space it is cut as the training pictures frame theirs (`framing_of`); where that is not
    known, it is the box with a margin, as `cut_out` cuts it.

    Faces of several frames go through a network together, and the next frames are searched while
    the caller has these. Memory does not grow with the number of frames: twice `HELD` pixels are
    held, or less.

    Args:
        panel: the heads.
        frames: pictures and frames, or why there is none; passed through in order.
        eyes: what the heads see with; by default `eyes_of` the panel.
        every: look at each n-th frame of a video only, from the first on.
        gather: frames to look at together; by default what fills a pass with one face a frame. 1
            answers each frame before the next one is asked for.
        k: nearest training images to return as evidence.
    """
    eyes = eyes_of(panel) if eyes is None else eyes
    many = gather or max(panel.batch, usable_cores())
    with workers() as pool:
        before: Iterator[Look | Unreadable] = iter(())
        for group in _groups(frames, every, many):
            found = [pool.submit(_seen, eyes, one.pixels) for one in _looked_at(group)]
            yield from before
            before = _judged(panel, eyes, group, [one.result() for one in found], pool, k)
            if many == 1:
                yield from before
        yield from before


Group = list[tuple[Frame, bool] | Unreadable]  # a frame, and whether it is to be looked at


def _groups(frames: Iterable[Frame | Unreadable], every: int, gather: int) -> Iterator[Group]:
    """Yield frames in groups that are worth a pass, or too large to wait for more."""
    group: Group = []
    wanted = pixels = 0
    for one in frames:
        if isinstance(one, Unreadable):
            group.append(one)
            continue
        looked = (one.number or 0) % every == 0
        group.append((one, looked))
        wanted += looked
        pixels += one.pixels[:, :, 0].size
        if wanted >= gather or pixels >= HELD:
            yield group
            group, wanted, pixels = [], 0, 0
    yield group


def _judged(
    panel: Panel,
    eyes: dict[Sight, Eye],
    group: Group,
    found: list[list[Seen]],
    pool: Executor,
    k: int,
) -> Iterator[Look | Unreadable]:
    """Begin to embed the faces of a group; the rest is done when the first result is taken."""
    faces = [one for seen in found for one in seen]
    names = [one.source for one, seen in zip(_looked_at(group), found, strict=True) for _ in seen]
    passes = {
        sight: [
            pool.submit(embed_prepared, eye.backbone, [inputs[sight] for _, inputs in some])
            for some in _parts(faces, eye.backbone.card.batch)
        ]
        for sight, eye in eyes.items()
    }

    def results() -> Iterator[Look | Unreadable]:
        vectors = {
            sight: np.concatenate([one.result() for one in several])
            for sight, several in passes.items()
            if several
        }
        answers = [classify(head, names, vectors[_sight(head)], k) for head in panel.heads if faces]
        judged = (
            Sighting(face, tuple(said)) for (face, _), *said in zip(faces, *answers, strict=True)
        )
        counts = iter([len(seen) for seen in found])
        for one in group:
            if isinstance(one, Unreadable):
                yield one
            else:
                frame, looked = one
                yield Look(frame, tuple(islice(judged, next(counts))) if looked else None)

    return results()


def _looked_at(group: Group) -> list[Frame]:
    return [one[0] for one in group if not isinstance(one, Unreadable) and one[1]]


def _parts(faces: list[Seen], size: int) -> Iterator[list[Seen]]:
    return (faces[start : start + size] for start in range(0, len(faces), size))


def _sight(head: Head) -> Sight:
    return head.training.contract_sha256, head.training.store


def _seen(eyes: dict[Sight, Eye], pixels: Pixels) -> list[Seen]:
    return [
        (face, {sight: eye.prepare(pixels, face) for sight, eye in eyes.items()})
        for face in face_finder().find(pixels)
    ]
