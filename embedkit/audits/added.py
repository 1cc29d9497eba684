"""A data set with one picture more: how a picture from outside meets the rules of the audits."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from embedkit.backbones import embed_pictures, load_again
from embedkit.errors import InputError, UnreadableImageError
from embedkit.images import decode, read_bytes, strict_pillow
from embedkit.items import id_of_path
from embedkit.store import Space, Store
from embedkit.store.index import NeighbourIndex, build_index


def with_picture(store: Store, path: Path, *, backbone: str | None = None) -> Store:
    """Return a store in memory that also holds a picture, as its last row, in one space.

    The picture has neither label nor split; its vector is made alone, as `predict` makes it.

    Args:
        store: to add to; it is not changed.
        path: of the picture.
        backbone: which space; can be left out where there is only one.

    Raises:
        InputError: the picture cannot be read.
        SpaceMismatchError: this embedkit's backbone makes other vectors than the space holds.
    """
    space = store.space(backbone)
    try:
        with strict_pillow():
            picture = decode(read_bytes(path))
    except UnreadableImageError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    network = load_again(
        **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
    )
    vectors = np.concatenate([space.vectors, embed_pictures(network, [picture.pixels])])
    # Below any root an absolute path stands for itself.
    row = asdict(picture.facts) | {"id": id_of_path(str(path.resolve()))}
    schema = store.items.rows.schema
    added = pa.Table.from_pylist([{name: row.get(name) for name in schema.names}], schema=schema)
    items = replace(store.items, rows=pa.concat_tables([store.items.rows, added]))
    longer = Space(space.folder, space.record)
    longer.vectors = vectors
    longer.index = NeighbourIndex(build_index(vectors), vectors)
    return Store(store.path, store.record, items, store.unreadable, {space.name: longer})
