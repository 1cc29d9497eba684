"""Search: the images of a store that are nearest to a picture or a text."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np

from embedkit.backbones import (
    Backbone,
    Card,
    TextBackbone,
    embed_pictures,
    find_card,
    load_again,
)
from embedkit.errors import InputError, UnreadableImageError
from embedkit.images import pixel_hash
from embedkit.inputs import Input, read_input
from embedkit.results import Result
from embedkit.store import Neighbour, Space, Store
from embedkit.store.index_files import IndexRecord
from embedkit.store.index_search import StoredIndex
from embedkit.store.outsiders import refuse_outsiders
from embedkit.vectors import FloatArray


class Hits(list[Neighbour], Result):
    """What a search found, closest first.

    Attributes:
        by: index that was searched, with how much of the nearest it was measured to find, where it
            leaves images out; None where every image was compared.
    """

    def __init__(self, found: Iterable[Neighbour] = (), by: IndexRecord | None = None) -> None:
        super().__init__(found)
        self.by = by


def search(
    store: Store,
    image: Input,
    *,
    k: int = 10,
    backbone: str | None = None,
    label: str = "label",
) -> Hits:
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
        InputError: the picture cannot be read, or is not of the store where people are told apart.
        SpaceMismatchError: this embedkit's backbone makes other vectors than the space holds.
    """
    return Searcher(store, backbone=backbone, label=label).picture(image, k)


def search_text(
    store: Store,
    prompt: str,
    *,
    k: int = 10,
    backbone: str | None = None,
    label: str = "label",
) -> Hits:
    """Return the k images of a store that fit a text best, closest first.

    The similarity is the cosine between two towers of one network; it is far below 1 for the best
    fit too, and says which picture fits better, not how well.

    Args:
        store: to search.
        prompt: for example "a photo of a person with glasses".
        k: images wanted.
        backbone: which space; can be left out where only one knows texts.
        label: column to return with each image.

    Raises:
        InputError: no space of the store was made by a backbone that knows texts.
        SpaceMismatchError: this embedkit's backbone makes other vectors than the space holds.
    """
    return Searcher(store, backbone=text_space(store, backbone).name, label=label).text(prompt, k)


class Searcher:
    """One space of a store to be searched many times: its network is loaded once, when needed.

    Arguments and errors of its methods are those of `search` and `search_text`.
    """

    def __init__(self, store: Store, *, backbone: str | None = None, label: str = "label") -> None:
        self.space = store.space(backbone)
        self._store = store
        self._labels = store.items.label_column(label)

    @cached_property
    def _network(self) -> Backbone:
        space = self.space
        return load_again(
            **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
        )

    def row(self, row: int, k: int) -> Hits:
        """Return the images that are nearest to one of the store, which is not among them."""
        return self._nearest(self.space.rows[np.array([row])], k, row)

    def picture(self, image: Input, k: int) -> Hits:
        """Return the images that are nearest to a picture."""
        network = self._network
        try:
            pixels = read_input(image)
        except UnreadableImageError as error:
            name = image if isinstance(image, str | Path) else "the picture"
            raise InputError(f"{name} cannot be read: {error}") from None
        hash_ = pixel_hash(pixels)
        if hash_ not in self._store.items.column("pixel_sha256"):
            refuse_outsiders(self.space.record.contract, "the picture is not in the store")
        own = _row_of(self._store, image, hash_)
        return self._nearest(embed_pictures(network, [pixels]), k, own)

    def text(self, prompt: str, k: int) -> Hits:
        """Return the images that fit a text best; the space must be one of `text_spaces`."""
        return self._nearest(cast(TextBackbone, self._network).embed_text([prompt]), k, -1)

    def _nearest(self, vectors: FloatArray, k: int, own: int) -> Hits:
        index = self.space.stored_index
        found = index.search(vectors, k, exclude=np.array([own]))
        record = index.record if isinstance(index, StoredIndex) else None
        splits, ids = self._store.items.splits, self._store.items.ids
        near = (
            Neighbour(ids[row], self._labels[row], splits[row], float(similarity))
            for row, similarity in zip(found.rows[0], found.similarities[0], strict=True)
            if row >= 0
        )
        return Hits(near, record if record and record.recall is not None else None)


def text_space(store: Store, backbone: str | None) -> Space:
    """Return the space whose vectors can be compared with texts'.

    Args:
        store: of the space.
        backbone: which; can be left out where only one can.

    Raises:
        InputError: there is none, or there are several.
    """
    if backbone is None:
        able = text_spaces(store)
        backbone = able[0] if len(able) == 1 else None
    space = store.space(backbone)
    if not _card(space).text:
        raise InputError(
            f"{space.folder} knows no texts, only pictures; 'embedkit embed "
            f"{store.record.source['given']} -o {store.path} -b clip' adds a space that does"
        )
    return space


def text_spaces(store: Store) -> list[str]:
    """Return the names of the spaces whose vectors can be compared with texts'."""
    return sorted(name for name, one in store.spaces.items() if _card(one).text)


def _card(space: Space) -> Card:
    return find_card(space.record.backbone["name"])


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
