"""Pictures from anywhere: a path, a folder, an address, bytes, an array, a Pillow image."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from embedkit.errors import FetchError, InputError, UnreadableImageError
from embedkit.fetch import fetch, is_address
from embedkit.images import array_pixels, decode, read_bytes, rgb_image, strict_pillow
from embedkit.items import Unreadable, name_of_path
from embedkit.readers.walk import walk
from embedkit.vectors import Pixels

Input: TypeAlias = str | Path | bytes | npt.NDArray[Any] | Image.Image


def read_inputs(
    inputs: Iterable[Input], *, max_pixels: int | None = None
) -> Iterator[tuple[str, Pixels | Unreadable]]:
    """Read pictures one by one; a folder stands for all pictures below it.

    Args:
        inputs: paths, folders, http(s) addresses, bytes of a file, (h, w[, 3 or 4]) arrays or
            Pillow images.
        max_pixels: that a file's picture may have; None for the usual.

    Yields:
        The name of a picture and its (h, w, 3) uint8 RGB pixels, or why there are none.
    """
    for place, one in enumerate(inputs):
        if isinstance(one, str | Path) and not _is_web(one) and Path(one).is_dir():
            found = walk(Path(one)).images
            if not found:
                name = name_of_path(str(one))
                yield name, Unreadable(name, "a folder without images")
            for path in found:
                yield _read(name_of_path(str(Path(one) / path)), Path(one) / path, max_pixels)
        else:
            is_path = isinstance(one, str | Path)
            name = name_of_path(str(one)) if is_path else f"picture {place + 1}"
            yield _read(name, one, max_pixels)


def read_input(one: Input, *, max_pixels: int | None = None) -> Pixels:
    """Read one picture.

    Args:
        one: see `read_inputs`.
        max_pixels: see there.

    Returns:
        (h, w, 3) uint8 RGB, upright.

    Raises:
        UnreadableImageError: with the reason.
        FetchError: an address cannot be fetched.
    """
    with strict_pillow():
        if isinstance(one, str | Path):
            return decode(_bytes(one), max_pixels=max_pixels).pixels
        if isinstance(one, bytes):
            return decode(one, max_pixels=max_pixels).pixels
        if isinstance(one, Image.Image):
            return np.asarray(rgb_image(ImageOps.exif_transpose(one)))
        if isinstance(one, np.ndarray):
            return array_pixels(one)
    raise InputError(
        f"{type(one).__name__} is no picture; paths, addresses, bytes, NumPy arrays and Pillow "
        "images are"
    )


def _read(name: str, one: Input, max_pixels: int | None) -> tuple[str, Pixels | Unreadable]:
    try:
        return name, read_input(one, max_pixels=max_pixels)
    except (UnreadableImageError, FetchError) as error:
        return name, Unreadable(name, str(error))


def _bytes(one: str | Path) -> bytes:
    return fetch(one) if isinstance(one, str) and is_address(one) else read_bytes(Path(one))


def _is_web(one: str | Path) -> bool:
    return isinstance(one, str) and is_address(one)
