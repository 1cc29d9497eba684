"""Preprocessing: what is done to a picture before a network sees it, as data and as code.

The arithmetic of sizes and crops is torchvision's (`transforms.functional`), which open_clip and
timm use too, so that the pixels are those that the networks' authors feed them.
"""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from embedkit.errors import InputError
from embedkit.vectors import Pixels

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
# Decoded pictures are read-only, and are only read here.
warnings.filterwarnings("ignore", "The given NumPy array is not writable")

# A strip of 16,000 x 1 pixels, a PNG of 129 bytes, would be enlarged to gigabytes, then cut. What
# would become larger than this is cut first: at 224 pixels, pictures 334 times as long as wide.
MOST_PIXELS = 2**24
RESIZE_RULES = ("shortest", "longest", "squash")
CHANNELS = ("RGB", "BGR", "L")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What turns a picture into a network's input.

    Attributes:
        size: (height, width) of the input in pixels.
        resize: `shortest` edge or `longest` edge to `to`, or `squash` to `to` by `to`; what is then
            larger than `size` is cut around the centre, what is smaller is filled up.
        to: pixels; 0 is the size itself.
        interpolation: bilinear, bicubic, lanczos or nearest, antialiased.
        channels: RGB, BGR or L (grey).
        range: largest value before normalisation: 1 or 255.
        mean: of each channel, in that range.
        std: of each channel, in that range.
        fill: grey level of what is filled up.
        landmarks: where the eyes, the nose and the corners of the mouth have to lie in the input,
            x1, y1, x2, … in pixels, left to right as seen; for face networks that want that.
    """

    size: tuple[int, int] = (224, 224)
    resize: str = "shortest"
    to: int = 0
    interpolation: str = "bilinear"
    channels: str = "RGB"
    range: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    fill: int = 0
    landmarks: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as the part of a space's contract."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], where: str) -> "Preprocessing":
        """Read it from JSON.

        Args:
            record: keys as the attributes; those left out have their defaults.
            where: the file's name, for messages.

        Raises:
            InputError: a key or value that has no meaning; the message says which are allowed.
        """
        known = [field for field in cls.__dataclass_fields__ if not field.startswith("_")]
        for key in record:
            if key not in known:
                raise InputError(f"{where} has a key {key!r}; known are {', '.join(known)}")
        values: dict[str, Any] = dict(record)
        try:
            size = values.get("size", (224, 224))
            height, width = (size, size) if isinstance(size, int) else size
            values["size"] = (int(height), int(width))
            channels = values.setdefault("channels", "RGB")
            n = 1 if channels == "L" else 3
            for key, default in (("mean", 0.0), ("std", 1.0)):
                given = values.get(key, default)
                one = (given,) if isinstance(given, int | float) else tuple(given)
                values[key] = tuple(float(value) for value in (one * n if len(one) == 1 else one))
            points = values.get("landmarks", ())
            values["landmarks"] = tuple(float(x) for x in np.ravel(points))
            made = cls(**values)
        except (TypeError, ValueError) as error:
            raise InputError(f"{where} cannot be understood: {error}") from None
        for key, allowed in (
            ("resize", RESIZE_RULES),
            ("interpolation", tuple(FILTERS)),
            ("channels", CHANNELS),
            ("range", (1, 255)),
        ):
            if getattr(made, key) not in allowed:
                raise InputError(
                    f"{where} has {key} {getattr(made, key)!r}; allowed are "
                    f"{', '.join(str(one) for one in allowed)}"
                )
        if len(made.landmarks) not in (0, 10):
            raise InputError(f"{where}: landmarks needs five points, x and y of each")
        if min(made.size) < 1 or made.to < 0 or min(made.std) <= 0:
            raise InputError(f"{where}: size and std must be positive, to not negative")
        if {len(made.mean), len(made.std)} != {n}:
            raise InputError(f"{where}: mean and std need {n} numbers for channels {channels}")
        return made

    def prepare(self, pixels: Pixels) -> Pixels:
        """Return the network's input before normalisation.

        Args:
            pixels: (h, w, 3) uint8 RGB.

        Returns:
            (height, width, c) uint8.
        """
        image = Image.fromarray(pixels)
        wanted = self.resized(image.width, image.height)
        if wanted[0] * wanted[1] > MOST_PIXELS:
            image = self._cut(image, wanted)
        elif wanted != image.size:
            image = image.resize(wanted, FILTERS[self.interpolation])
        if self.channels == "L":
            return _centre(np.asarray(image.convert("L"))[:, :, None], self.size, self.fill)
        return self._placed(np.asarray(image))

    def prepare_fast(self, pixels: Pixels) -> Pixels:
        """Do the same with torch's resampling, several times as fast.

        On photographs its results differ from Pillow's by one grey level at most (two where bicubic
        enlarges), on white noise by up to four; where it has no such filter, Pillow's is taken.

        Args:
            pixels: (h, w, 3) uint8 RGB.

        Returns:
            (height, width, c) uint8.
        """
        height, width = pixels.shape[:2]
        wanted = self.resized(width, height)
        filtered = self.interpolation in ("bilinear", "bicubic") and self.channels != "L"
        if not filtered or wanted[0] * wanted[1] > MOST_PIXELS:
            return self.prepare(pixels)
        if wanted == (width, height):
            return self._placed(pixels)
        picture = torch.from_numpy(pixels).permute(2, 0, 1)
        small = functional.interpolate(
            picture[None], (wanted[1], wanted[0]), mode=self.interpolation, antialias=True
        )
        return self._placed(small[0].permute(1, 2, 0).numpy())

    def _cut(self, image: Image.Image, wanted: tuple[int, int]) -> Image.Image:
        """Return of a picture, resized to `wanted`, no more than is left once it is cut."""
        left, top, right, bottom = self.box(image.width, image.height)
        part = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
        size = (min(wanted[0], self.size[1]), min(wanted[1], self.size[0]))
        return image.resize(size, FILTERS[self.interpolation], box=part)

    def _placed(self, array: Pixels) -> Pixels:
        array = _centre(array, self.size, self.fill)
        return array[:, :, ::-1].copy() if self.channels == "BGR" else array

    def normalise(self, batch: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Turn prepared pictures into the network's input.

        Args:
            batch: (n, height, width, c) uint8.

        Returns:
            (n, c, height, width) float32, channels last in memory.
        """
        return self.scale(torch.from_numpy(batch))

    def scale(self, batch: torch.Tensor) -> torch.Tensor:
        """Do the same with a tensor, on the device that it is on."""
        x = batch.permute(0, 3, 1, 2).float()
        if self.range == 1:
            x = x.div_(255)
        mean, std = (
            torch.tensor(one, device=x.device).view(1, -1, 1, 1) for one in (self.mean, self.std)
        )
        return x.sub_(mean).div_(std)

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) that a picture gets before it is cut or filled up."""
        to = self.to or min(self.size)
        if self.resize == "squash":
            return (to, to) if self.to else (self.size[1], self.size[0])
        if self.resize == "longest":
            scale = max(width / self.size[1], height / self.size[0])
            return max(1, round(width / scale)), max(1, round(height / scale))
        short, long = min(width, height), max(width, height)
        other = int(to * long / short)
        return (to, other) if width <= height else (other, to)

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return which part of a picture becomes the input.

        Args:
            width: of the picture, in pixels.
            height: of the picture, in pixels.

        Returns:
            Left, top, right, bottom in pixels of the picture; beyond it where it is filled up.
        """
        sides = []
        for full, have, wanted in zip(
            (width, height), self.resized(width, height), self.size[::-1], strict=True
        ):
            start = -((wanted - have) // 2) if have < wanted else round((have - wanted) / 2)
            sides.append((start * full / have, (start + wanted) * full / have))
        (left, right), (top, bottom) = sides
        return left, top, right, bottom


def _centre(array: Pixels, size: tuple[int, int], fill: int) -> Pixels:
    """Cut around the centre, or fill up around it, to (height, width)."""
    for axis, wanted in enumerate(size):
        have = array.shape[axis]
        if have < wanted:
            before = (wanted - have) // 2
            around = [(0, 0)] * 3
            around[axis] = (before, wanted - have - before)
            array = np.pad(array, around, constant_values=fill)
        elif have > wanted:
            start = round((have - wanted) / 2)
            array = array[start : start + wanted] if axis == 0 else array[:, start : start + wanted]
    return array
