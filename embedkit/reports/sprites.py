"""Sprite sheets: thousands of thumbnails as a few pictures inside a page."""

import base64
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from embedkit.reports.pictures import thumbnail
from embedkit.vectors import Pixels

COLUMNS = 32
PER_SHEET = COLUMNS * COLUMNS
MOST = 10_000  # thumbnails in a page
AREA = 23_000_000  # pixels of all thumbnails together
SMALLEST, LARGEST = 48, 96  # pixels a side
BUDGET = 7_000_000  # bytes of all sheets; base64 adds a third
QUALITIES = (72, 60, 45, 30)

Load = Callable[[int], Pixels | None]


def sprites(load: Load, points: Sequence[int], n: int) -> dict[str, Any] | None:
    """Return thumbnails as `map.js` wants them; None where no picture can be read.

    Args:
        load: returns the pixels of a point, None where they cannot be read.
        points: that get a thumbnail, at most `MOST`.
        n: all points.
    """
    side = int(np.sqrt(AREA / max(len(points), 1))) // 8 * 8
    side = min(max(side, SMALLEST), LARGEST)
    with ThreadPoolExecutor() as pool:
        tiles = list(pool.map(lambda point: _tile(load(point), side), points))
    shown = [(point, tile) for point, tile in zip(points, tiles, strict=True) if tile is not None]
    if not shown:
        return None
    places = np.full(n, -1, np.int32)
    places[[point for point, _ in shown]] = np.arange(len(shown))
    sheets = [
        _sheet([tile for _, tile in shown[start : start + PER_SHEET]], side)
        for start in range(0, len(shown), PER_SHEET)
    ]
    return {
        "n": len(shown),
        "side": side,
        "columns": COLUMNS,
        "rows": COLUMNS,
        "sheets": [_address(data) for data in _encoded(sheets)],
        "tiles": base64.b64encode(places.astype("<i4").tobytes()).decode(),
    }


def _tile(pixels: Pixels | None, side: int) -> Image.Image | None:
    """Return a picture in the middle of a square, so that nothing of it is cut off."""
    if pixels is None:
        return None
    small = thumbnail(pixels, side)
    tile = Image.new("RGB", (side, side), (128, 128, 128))
    tile.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    return tile


def _sheet(tiles: Sequence[Image.Image], side: int) -> Image.Image:
    sheet = Image.new("RGB", (COLUMNS * side, -(-len(tiles) // COLUMNS) * side))
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % COLUMNS * side, place // COLUMNS * side))
    return sheet


def _encoded(sheets: Sequence[Image.Image]) -> list[bytes]:
    """Return the sheets as WebP, of the best quality that fits into the budget."""
    for quality in QUALITIES:
        made = [_webp(sheet, quality) for sheet in sheets]
        if sum(map(len, made)) <= BUDGET:
            break
    return made


def _webp(sheet: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    sheet.save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def _address(data: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(data).decode()
