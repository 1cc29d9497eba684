"""Frames of whatever is given: a picture is one, a video file many, a folder those of its files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from embedkit.inputs import Input, read_inputs
from embedkit.items import Unreadable, name_of_path
from embedkit.readers.walk import walk
from embedkit.vectors import Pixels
from embedkit.videos.files import is_video, video_stills


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture to be looked at.

    Attributes:
        source: path or address of the picture or video; `camera N` of a camera.
        within: the source as the output calls it: relative to the folder that was given, else the
            name alone.
        pixels: (h, w, 3) uint8 RGB, upright.
        number: of the frame in its video, from 0; None for a picture.
        seconds: from the first frame; None for a picture.
    """

    source: str
    within: str
    pixels: Pixels
    number: int | None = None
    seconds: float | None = None


def read_frames(
    inputs: Iterable[Input], *, max_pixels: int | None = None
) -> Iterator[Frame | Unreadable]:
    """Read pictures and videos frame by frame; only one frame is held at a time.

    Args:
        inputs: as for `read_inputs`; a path may be a video's, and a folder may hold videos too.
        max_pixels: that a picture, not a video, may have; None for the usual.

    Yields:
        A frame, or why a picture, a video or a part of one could not be read.

    Raises:
        InputError: there is a video, and PyAV is not installed.
    """
    for place, one in enumerate(inputs):
        if isinstance(one, str | Path) and Path(one).is_dir():
            found = walk(Path(one))
            videos = [name for name in found.other if is_video(Path(one) / name)]
            names = sorted([*found.images, *videos])
            if not names:
                yield Unreadable(name_of_path(str(one)), "a folder without pictures and videos")
            for name in names:
                yield from _read(Path(one) / name, name, max_pixels)
        elif isinstance(one, str | Path):
            yield from _read(one, Path(one).name, max_pixels)
        else:
            yield from _read(one, f"picture {place + 1}", max_pixels)


def _read(one: Input, within: str, max_pixels: int | None) -> Iterator[Frame | Unreadable]:
    source = name_of_path(str(one)) if isinstance(one, str | Path) else within
    if isinstance(one, str | Path) and is_video(Path(one)):
        for still in video_stills(Path(one)):
            if isinstance(still, Unreadable):
                yield replace(still, id=source)
            else:
                yield Frame(source, within, still.pixels, still.number, still.seconds)
        return
    for _, pixels in read_inputs([one], max_pixels=max_pixels):
        if isinstance(pixels, Unreadable):
            yield Unreadable(source, pixels.reason)
        else:
            yield Frame(source, within, pixels)
