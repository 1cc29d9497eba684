"""Faces in pictures: found by facenet-pytorch's MTCNN, and cut out as its authors do."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from facenet_pytorch import MTCNN
from facenet_pytorch.models import mtcnn
from PIL import Image

from embedkit.backbones.threads import one_thread
from embedkit.files import sha256, sha256_of_file
from embedkit.vectors import DoubleArray, Pixels

# What its authors evaluate InceptionResnetV1 with on LFW (examples/lfw_evaluate.ipynb).
SIZE, MARGIN = 160, 14
SMALLEST = 20  # side of the smallest face that is looked for, and so of the smallest picture
LOOKED_AT = 640  # pixels; the long side of what the detector gets to see


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture.

    Attributes:
        box: left, top, right, bottom in pixels of the picture; may reach beyond it.
        landmarks: x, y of the eyes, the nose and the corners of the mouth, left to right as seen;
            (5, 2) pixels.
        confidence: of the detector, 0 to 1.
    """

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    confidence: float

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    def distance(self, width: int, height: int) -> float:
        """Return how far its middle is from the middle of the picture, in pixels."""
        left, top, right, bottom = self.box
        return float(np.hypot(left + right - width, top + bottom - height)) / 2


class FaceFinder:
    """MTCNN with the weights in facenet-pytorch's wheel.

    A picture is looked at alone, so that what is found in it never depends on others: the library's
    batches shift every picture's boxes by rounding, and are no faster on a CPU
    (`docs/performance.md`). Pictures above `LOOKED_AT` pixels are looked at in a smaller copy.
    """

    def __init__(self) -> None:
        folder = Path(mtcnn.__file__).parent.parent / "data"
        parts = [sha256_of_file(folder / f"{net}.pt") for net in ("pnet", "rnet", "onet")]
        self.weights_sha256 = sha256("".join(parts).encode())
        self._mtcnn = MTCNN(min_face_size=SMALLEST, keep_all=True)
        # In torch's default layout the pooling layers alone take a third of the time.
        self._mtcnn.eval().to(memory_format=torch.channels_last)
        self._threads = torch.get_num_threads()

    def find(self, pixels: Pixels) -> tuple[Face, ...]:
        """Return the faces in a picture, the largest first.

        Args:
            pixels: (h, w, 3) uint8 RGB.
        """
        image = Image.fromarray(pixels)
        longest = max(image.size)
        if longest > LOOKED_AT:
            small = [max(1, round(side * LOOKED_AT / longest)) for side in image.size]
            image = image.resize((small[0], small[1]), Image.Resampling.BILINEAR)
        if min(image.size) < SMALLEST:
            return ()
        with one_thread(self._threads), torch.inference_mode():
            boxes, confidences, points = self._mtcnn.detect(image, landmarks=True)
        if boxes is None:
            return ()
        scale = np.array([pixels.shape[1] / image.width, pixels.shape[0] / image.height])
        found = [
            Face(
                _four(box * np.tile(scale, 2)),
                tuple((float(x), float(y)) for x, y in marks * scale),
                float(confidence),
            )
            for box, confidence, marks in zip(boxes, confidences, points, strict=True)
        ]
        return tuple(sorted(found, key=lambda face: -face.area))


@lru_cache(maxsize=1)
def face_finder() -> FaceFinder:
    """Return the one detector of this process."""
    return FaceFinder()


def cut_out(pixels: Pixels, face: Face) -> Pixels:
    """Return a face's box with a margin, as facenet-pytorch's `extract_face` cuts it.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        face: in it.

    Returns:
        (h', w', 3) uint8.
    """
    left, top, right, bottom = face.box
    wide, high = (MARGIN * side / (SIZE - MARGIN) / 2 for side in (right - left, bottom - top))
    height, width = pixels.shape[:2]
    x, y = int(max(left - wide, 0)), int(max(top - high, 0))
    end, low = int(min(right + wide, width)), int(min(bottom + high, height))
    return pixels[y : max(low, y + 1), x : max(end, x + 1)]


def warp(pixels: Pixels, face: Face, onto: Sequence[float], size: tuple[int, int]) -> Pixels:
    """Turn, scale and shift a picture so that a face's landmarks come to lie where a network wants.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        face: in it.
        onto: x, y of five points in the result.
        size: (height, width) of the result.

    Returns:
        (height, width, 3) uint8; black where the picture does not reach.
    """
    image, marks = Image.fromarray(pixels), np.array(face.landmarks)
    wanted = np.array(onto).reshape(5, 2)
    shrink = int(_spread(marks) / _spread(wanted) / 2)
    if shrink > 1:  # the transform below looks at few pixels, and would skip others
        image, marks = image.reduce(shrink), marks / shrink
    matrix = similarity(wanted, marks)
    back = image.transform(
        (size[1], size[0]),
        Image.Transform.AFFINE,
        data=tuple(matrix.ravel()),
        resample=Image.Resampling.BILINEAR,
    )
    return np.asarray(back)


def similarity(given: DoubleArray, wanted: DoubleArray) -> DoubleArray:
    """Return the turn, scale and shift, (2, 3), that takes points nearest to others.

    Least squares over x' = a x - b y + c, y' = b x + a y + d.

    Args:
        given: (n, 2) points.
        wanted: (n, 2) where they should come to lie.
    """
    x, y = given.T
    one, none = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, one, none], 1), np.stack([y, x, none, one], 1)])
    a, b, c, d = np.linalg.lstsq(rows, wanted.T.ravel(), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]])


def _spread(points: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum()))


def _four(box: DoubleArray) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(side) for side in box)
    return left, top, right, bottom
