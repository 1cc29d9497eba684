"""The contact sheet of a search."""

import io
from collections.abc import Sequence
from pathlib import Path

from embedkit.files import write_output
from embedkit.inputs import Input, read_input
from embedkit.reports.pictures import Tile, contact_sheet, load_pixels
from embedkit.store import Neighbour, Store


def search_sheet(store: Store, image: Input | None, found: Sequence[Neighbour], path: Path) -> Path:
    """Write the picture that was searched for, if it was one, and what was found as one PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    tiles = [] if image is None else [Tile(read_input(image), ("searched for", str(image)))]
    tiles += [
        Tile(
            load_pixels(store.items.path(one.id)),
            (f"{one.similarity:.3f}  {one.label or '-'}  {one.split or '-'}", one.id),
        )
        for one in found
    ]
    path = path if path.suffix.lower() == ".png" else path.with_name(path.name + ".png")
    stream = io.BytesIO()
    contact_sheet(tiles).save(stream, "PNG")
    return write_output(path, stream.getvalue())
