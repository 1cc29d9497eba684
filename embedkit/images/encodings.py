"""How a JPEG file is written: its tables and its sampling of colour, without its pixels."""

import io
from dataclasses import dataclass

from PIL import Image, JpegImagePlugin

from embedkit.errors import UnreadableImageError
from embedkit.images.limits import plain


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a JPEG file is written.

    Attributes:
        tables: of 64 divisors each; of brightness first.
        subsampling: of colour: 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0.
    """

    tables: tuple[tuple[int, ...], ...]
    subsampling: int


def encoding(data: bytes) -> Encoding:
    """Return how a JPEG file is written, without decoding it.

    Args:
        data: of a file.

    Raises:
        UnreadableImageError: it is none.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            tables: dict[int, list[int]] = getattr(image, "quantization", {})
            sampling = JpegImagePlugin.get_sampling(image)
    except Exception as error:  # noqa: BLE001 (as in `opened`)
        raise UnreadableImageError(plain(error)) from None
    # What cannot be asked for when a file is written is taken for the usual.
    return Encoding(
        tuple(tuple(tables[key]) for key in sorted(tables)), sampling if sampling >= 0 else 2
    )
