"""Search: the images of a store that are nearest to a picture."""

from pathlib import Path

import numpy as np

from embedkit.backbones import embed_pictures, load_again
from embedkit.errors import InputError, UnreadableImageError
from embedkit.images import pixel_hash
from embedkit.inputs import Input, read_input
from embedkit.store import Neighbour, Store


def search(
    store: Store,
    image: Input,
    *,
    k: int = 10,
    backbone: str | None = None,
    label: str = "label",
) -> list[Neighbour]:
    """Return the k images of a store that are nearest to a picture, closest first.

    A picture that is itself a file of the store is not its own neighbour; a copy under another
    name is, with similarity 1.

    Args:
        store: to search.
        image: path, address, bytes, array or Pillow image.
        k: neighbours wanted.
        backbone: which space; can be left out where there is only one.
        label: column to return with each neighbour.

    Raises:
        InputError: the picture cannot be read.
        SpaceMismatchError: this embedkit's backbone makes other vectors than the space holds.
    """
    space = store.space(backbone)
    network = load_again(
        **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
    )
    try:
        pixels = read_input(image)
    except UnreadableImageError as error:
        name = image if isinstance(image, str | Path) else "the picture"
        raise InputError(f"{name} cannot be read: {error}") from None
    own = _row_of(store, image, pixel_hash(pixels))
    vectors = embed_pictures(network, [pixels])
    found = space.index.search(vectors, k, exclude=np.array([own]))
    labels, splits, ids = store.items.label_column(label), store.items.splits, store.items.ids
    return [
        Neighbour(ids[row], labels[row], splits[row], float(similarity))
        for row, similarity in zip(found.rows[0], found.similarities[0], strict=True)
        if row >= 0
    ]


def _row_of(store: Store, image: Input, pixel_sha256: str) -> int:
    """Return the row of a picture that is a file of the store, -1 for any other picture."""
    if not isinstance(image, str | Path):
        return -1
    path = Path(image).resolve()
    for row, (id_, hash_) in enumerate(
        zip(store.items.ids, store.items.column("pixel_sha256"), strict=True)
    ):
        if hash_ == pixel_sha256 and store.items.path(id_).resolve() == path:
            return row
    return -1
