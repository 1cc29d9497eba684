"""Vectors of altered copies of training images: kept beside a space, never rows of it.

`augmented.json` names the files and their hashes, `augmented.parquet` the image that each row was
made from, by id and bytes. A copy whose original is gone or has changed is not returned.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedkit import files
from embedkit.errors import StoreError
from embedkit.files import sha256
from embedkit.store.journal import told
from embedkit.store.schema import (
    SCHEMA,
    npy_bytes,
    parquet_bytes,
    parquet_table,
    sealed,
    unsealed,
)
from embedkit.vectors import FloatArray, IntArray, check_unit_rows

RECORD = "augmented.json"
ORIGINALS = "augmented.parquet"


@dataclass(frozen=True, slots=True)
class Augmented:
    """The altered copies of a space.

    Attributes:
        policy: what was done, and how often: `changes`, `copies` and `seed`.
        ids: of the original of each row.
        originals: SHA-256 of the bytes of each row's original.
        vectors: (n, d) float32, unit rows.
        sha256: over all of that.
    """

    policy: dict[str, Any]
    ids: tuple[str, ...]
    originals: tuple[str, ...]
    vectors: FloatArray
    sha256: str

    def of(self, images: Sequence[tuple[str, str]]) -> tuple[FloatArray, IntArray]:
        """Return the copies of some images.

        Args:
            images: id and SHA-256 of each.

        Returns:
            (m, d) vectors and (m,) the place in `images` that each was made from.
        """
        place = {image: number for number, image in enumerate(images)}
        pairs = zip(self.ids, self.originals, strict=True)
        found = np.array([place.get(pair, -1) for pair in pairs], np.int64)
        return self.vectors[found >= 0], found[found >= 0]


def chunk_key(contract_sha256: str, policy: Mapping[str, Any], images: Sequence[Any]) -> str:
    """Return what names the file of some images' copies: another key for whatever could differ."""
    content = json.dumps([contract_sha256, dict(policy), list(images)], sort_keys=True)
    return sha256(content.encode())[:16]


def find_chunk(folder: Path, key: str) -> str | None:
    """Return the file of some images' copies if it is there and whole.

    Its name ends in the hash of its bytes, so that a damaged one is none.
    """
    for path in sorted(folder.glob(f"augmented-{key}-*.npy")):
        if path.stem.endswith(files.sha256_of_file(path)[:16]):
            return path.name
    return None


def write_chunk(folder: Path, key: str, vectors: FloatArray) -> str:
    """Write the copies of some images and return the file's name.

    Raises:
        StoreError: it cannot be written.
    """
    data = npy_bytes(np.asarray(vectors, "<f4"))
    path = folder / f"augmented-{key}-{sha256(data)[:16]}.npy"
    with told(path):
        files.write_whole(path, data)
    return path.name


def write_record(
    folder: Path,
    names: Sequence[str],
    ids: Sequence[str],
    originals: Sequence[str],
    policy: Mapping[str, Any],
    contract_sha256: str,
) -> None:
    """Make the chunks that were written the copies of a space, and remove others.

    Args:
        folder: of the space.
        names: of the chunks, in order.
        ids: of the original of each row.
        originals: SHA-256 of each row's original.
        policy: as in `Augmented`.
        contract_sha256: of the space.

    Raises:
        StoreError: something cannot be written.
    """
    table = parquet_bytes(pa.table({"id": list(ids), "sha256": list(originals)}))
    record = {
        "schema": SCHEMA,
        "policy": dict(policy),
        "contract_sha256": contract_sha256,
        "originals": sha256(table),
        "chunks": [[name, files.sha256_of_file(folder / name)] for name in names],
    }
    with told(folder / RECORD):
        files.remove(folder / RECORD)
        files.write_whole(folder / ORIGINALS, table)
        files.write_whole(folder / RECORD, sealed(record))
        for path in folder.glob("augmented-*.npy"):
            if path.name not in names:
                files.remove(path)


def read_augmented(folder: Path, contract_sha256: str) -> Augmented | None:
    """Return the copies of a space, or None where there are none of its kind.

    Raises:
        StoreError: they are damaged.
    """
    try:
        record = unsealed((folder / RECORD).read_bytes(), folder / RECORD)
    except FileNotFoundError:
        return None
    if record["contract_sha256"] != contract_sha256:
        return None
    wanted = [(ORIGINALS, record["originals"]), *map(tuple, record["chunks"])]
    for name, hash_ in wanted:
        path = folder / name
        if not path.exists() or files.sha256_of_file(path) != hash_:
            raise StoreError(
                f"{path} is missing or damaged: its checksum does not fit; 'embedkit embed "
                "--augment' makes it anew"
            )
    table = parquet_table((folder / ORIGINALS).read_bytes())
    parts = [np.load(folder / name, allow_pickle=False) for name, _ in record["chunks"]]
    vectors = np.concatenate(parts)
    return Augmented(
        record["policy"],
        tuple(table.column("id").to_pylist()),
        tuple(table.column("sha256").to_pylist()),
        check_unit_rows(vectors, vectors.shape[1]),
        sha256(json.dumps(record, sort_keys=True).encode()),
    )
