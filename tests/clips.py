"""Videos assembled for tests: drawn people side by side, moving; and videos that are damaged."""

from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from embedkit.heads.faces import look_at_faces
from embedkit.synthetic.drawing import draw_face, draw_person, draw_photograph
from embedkit.videos.frames import read_frames

SEEDS = (0, 1, 3, 4, 5, 6)  # people whose face MTCNN finds
LABEL = {seed: "ab"[place % 2] for place, seed in enumerate(SEEDS)}
PEOPLE = SEEDS[:3]  # in the clip
SIDE, WIDTH, HEIGHT = 160, 640, 240
GREEN = (90, 140, 90)


def portrait(seed: int) -> np.ndarray:
    """Return one person in the middle of a plain ground, (240, 240, 3)."""
    return scene([(seed, 40, 40)], 240)


def scene(people: list[tuple[int, int, int]], width: int = WIDTH) -> np.ndarray:
    """Put people, (seed, x, y) each, on a plain ground."""
    picture = np.full((HEIGHT, width, 3), GREEN, np.uint8)
    for seed, x, y in people:
        picture[y : y + SIDE, x : x + SIDE] = drawn(seed)
    return picture


@lru_cache
def drawn(seed: int) -> np.ndarray:
    """Return a drawn person, (160, 160, 3)."""
    generator = np.random.default_rng(seed)
    person = draw_person(generator, smiles=0.2)
    return draw_face(person, draw_photograph(generator, person), SIDE)


def moving(n: int, people: tuple[int, ...]) -> list[list[tuple[int, int, int]]]:
    """Return where people stand in each of n frames: side by side, each on its own way."""
    return [
        [(seed, 20 + 210 * place + t % 12, 20 + 3 * (t % 10)) for place, seed in enumerate(people)]
        for t in range(n)
    ]


def write_clip(path: Path, pictures: list[np.ndarray], *, codec: str = "libx264") -> Path:
    """Write pictures as a video of 24 frames a second, a key frame every eight."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=24, options={"g": "8", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Return where each packet of a video begins in the file, and its length."""
    with av.open(str(path)) as video:
        return [(one.pos, one.size) for one in video.demux(video=0) if one.size]


def spoil(path: Path, number: int) -> None:
    """Fill one packet of a video with noise."""
    data = bytearray(path.read_bytes())
    start, length = packets(path)[number]
    data[start : start + length] = np.random.default_rng(0).bytes(length)
    path.write_bytes(data)


def frames_of(path: Path) -> list[tuple[float, np.ndarray]]:
    """Return a video's frames, each with its time, as PyAV itself decodes them."""
    with av.open(str(path)) as video:
        return [(one.time, one.to_ndarray(format="rgb24")) for one in video.decode(video=0)]


def looks_at(panel, *inputs, **options) -> list:
    """Return all that is seen in pictures and videos."""
    return list(look_at_faces(panel, read_frames(inputs), **options))
