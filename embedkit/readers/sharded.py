"""Shards read where they lie: tar and Parquet files become items, each with a path into one."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import json as arrow_json

from embedkit.errors import InputError
from embedkit.items import ItemTable, Unreadable, id_of_path, item_table
from embedkit.readers.manifest import understood
from embedkit.readers.samples import json_lines, read_samples


def read_shards(
    root: Path,
    shards: list[str],
    *,
    label: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> ItemTable:
    """Read what shards hold, without their pictures: as of the folder that `unpack` makes of them.

    Args:
        root: folder, or its URL, that the ids are relative to.
        shards: of WebDataset's or Hugging Face's form, relative to it.
        label: column with the class; the usual ones where left out.
        split: column with the split, likewise.
        group: column with the person, video or patient, likewise.

    Raises:
        InputError: a shard is damaged or holds no pictures, or two of its pictures have one name.
        FetchError: one lies behind a URL that does not answer as it should.
    """
    rows: list[dict[str, Any]] = []
    ids: dict[str, None] = {}  # in order
    unreadable = []
    for shard in shards:
        for sample in read_samples(root / shard):
            id_ = id_of_path(f"{shard}/{sample.place or sample.name}")
            if not sample.place:
                unreadable.append(Unreadable(id_, sample.reason))
                continue
            if id_ in ids:
                raise InputError(
                    f"{shard} holds {sample.place!r} twice, and the name leads to one of them; "
                    "'embedkit unpack' makes a file of each"
                )
            ids[id_] = None
            rows.append(sample.row)
    if not ids:
        raise InputError(f"{root / shards[0]} holds no picture")
    name = shards[0] if len(shards) == 1 else f"{len(shards)} shards"
    table = _table(rows)
    columns = understood(name, table, list(ids), label=label, split=split, group=group)
    return item_table(
        root,
        columns.ids,
        labels=columns.labels,
        splits=columns.splits,
        groups=columns.groups,
        attributes=columns.attributes,
        layout=f"{name}: {columns.mapping}",
        notes=columns.notes,
        unreadable=tuple(unreadable),
    )


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows with the types that they would have in the file that `unpack` writes."""
    options = arrow_json.ReadOptions(use_threads=False)
    return arrow_json.read_json(io.BytesIO(json_lines(rows)), read_options=options)
