"""A block's files: written by any process that sees the store's folder, named by none.

They exist only once the one writer has committed the entry that is returned here to its journal.
So a process can die while it writes, or two can make the same block: their names and bytes are
the same, and each writes to a temporary file of its own.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedkit import files
from embedkit.items import Unreadable
from embedkit.store.journal import Entry, told
from embedkit.store.schema import Shard, npy_bytes, parquet_bytes, shard_name
from embedkit.vectors import FloatArray


def write_rows(
    folder: Path,
    number: int,
    facts: pa.Table,
    vectors: Mapping[str, FloatArray],
    *,
    refused: Mapping[Unreadable, str | None] | None = None,
    in_place_of: int | None = None,
) -> Entry:
    """Write a block of new rows.

    Args:
        folder: of the store.
        number: that no block of the store has had since its last commit.
        facts: id and facts of each row, `FACT_SCHEMA`.
        vectors: (n, d) by space.
        refused: images of the block that could not be read, with the SHA-256 of their bytes.
        in_place_of: number of a block that this one replaces.

    Returns:
        What `StoreWriter.add` commits.

    Raises:
        StoreError: a file cannot be written.
    """
    shards = _write_shards(folder, number, vectors) if facts.num_rows else {}
    return {
        "number": number,
        "shards": shards,
        "facts": _write_table(folder / facts_name(number), facts),
        "refused": [asdict(one) | {"sha256": hash_} for one, hash_ in (refused or {}).items()],
        "in_place_of": in_place_of,
    }


def write_vectors(
    folder: Path, number: int, vectors: Mapping[str, FloatArray], faces: pa.Table | None = None
) -> Entry:
    """Write vectors of further spaces for a block that is there already.

    Args:
        folder: of the store.
        number: of the block.
        vectors: (n, d) by space.
        faces: columns `FACES` of its rows, if a backbone looked for faces.

    Returns:
        What `StoreWriter.add` commits.

    Raises:
        StoreError: a file cannot be written.
    """
    entry: Entry = {"number": number, "shards": _write_shards(folder, number, vectors)}
    if faces is not None:
        entry["faces"] = _write_table(folder / faces_name(number), faces)
    return entry


def facts_name(number: int) -> str:
    """Return the file name of a block's table of facts."""
    return f"block-{number:05d}.parquet"


def faces_name(number: int) -> str:
    """Return the file name of the faces that were looked for in a block later on."""
    return f"faces-{number:05d}.parquet"


def _write_shards(
    folder: Path, number: int, vectors: Mapping[str, FloatArray]
) -> dict[str, dict[str, Any]]:
    shards = {}
    for space, rows in vectors.items():
        data = npy_bytes(np.asarray(rows, "<f4"))
        with told(folder / space):
            files.make_folder(folder / space)
        _write(folder / space / shard_name(number), data)
        shards[space] = asdict(Shard(shard_name(number), len(rows), files.sha256(data)))
    return shards


def _write_table(path: Path, table: pa.Table) -> dict[str, str]:
    data = parquet_bytes(table)
    _write(path, data)
    return {"file": path.name, "sha256": files.sha256(data)}


def _write(path: Path, data: bytes) -> None:
    with told(path):
        files.write_beside_others(path, data)
