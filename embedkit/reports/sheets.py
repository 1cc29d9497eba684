"""Contact sheets: of a search, and of one image with what its answer rests on."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from embedkit.audits.cards import RELATIONS, Card
from embedkit.files import write_output
from embedkit.inputs import Input, read_input
from embedkit.reports.pictures import Pictures, Tile, contact_sheet, load_pixels
from embedkit.store import Neighbour, Store

MOST_MORE = 12  # relatives beside the neighbours


def search_sheet(
    store: Store,
    image: Input | None,
    found: Sequence[Neighbour],
    path: Path,
    *,
    blur_faces: bool = False,
) -> Path:
    """Write the picture that was searched for, if it was one, and what was found as one PNG.

    Where faces are blurred, all of the picture that was searched for is.

    Raises:
        OutputError: the file cannot be written.
    """
    pictures = Pictures(store.items, blur_faces=blur_faces)
    tiles = []
    if image is not None:
        tiles.append(Tile(pictures.shown(read_input(image), None), ("searched for", str(image))))
    tiles += [
        Tile(
            pictures.pixels(one.id),
            (f"{one.similarity:.3f}  {one.label or '-'}  {one.split or '-'}", one.id),
        )
        for one in found
    ]
    return _write(contact_sheet(tiles), path)


def card_sheet(store: Store, card: Card, path: Path, *, blur_faces: bool = False) -> Path:
    """Write an image, its nearest training images and its other relatives in train as one PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    pictures = Pictures(store.items, blur_faces=blur_faces)

    def tile(id_: str, *lines: str) -> Tile:
        # Only the picture that the card is of may be from outside the store.
        from_outside = id_ == card.id and not card.known
        seen = load_pixels(store.items.path(id_)) if from_outside else pictures.pixels(id_)
        if from_outside and seen is not None:
            seen = pictures.shown(seen, None)
        return Tile(seen, (*lines, id_))

    label = f"label {card.label}" if card.label is not None else "no label"
    tiles = [tile(card.id, f"{card.answer} {card.probability:.0%}; {label}")]
    tiles += [
        tile(
            one.neighbour.id,
            f"{one.neighbour.similarity:.3f}  {one.neighbour.label}"
            + (f"  {RELATIONS[one.relation]}" if one.relation else ""),
        )
        for one in card.neighbours
    ]
    shown = {one.neighbour.id for one in card.neighbours}
    more = [one for one in card.in_train if one.id not in shown]
    tiles += [
        tile(one.id, f"{RELATIONS[one.relation]}  {one.label or '-'}") for one in more[:MOST_MORE]
    ]
    return _write(contact_sheet(tiles, heading=card.sentence), path)


def chosen_sheet(
    store: Store, chosen: Sequence[tuple[str, str]], path: Path, *, blur_faces: bool = False
) -> Path:
    """Write pictures that were chosen, each with its id and the reason, as one PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    pictures = Pictures(store.items, blur_faces=blur_faces)
    tiles = [Tile(pictures.pixels(id_), (why, id_)) for id_, why in chosen]
    return _write(contact_sheet(tiles), path)


def _write(sheet: Image.Image, path: Path) -> Path:
    path = path if path.suffix.lower() == ".png" else path.with_name(path.name + ".png")
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return write_output(path, stream.getvalue())
