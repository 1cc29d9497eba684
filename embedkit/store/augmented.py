"""Vectors of altered copies of training images: kept beside a space, never rows of it.

`augmented.json` names the files and their hashes, `augmented.parquet` the image that each row was
made from, by id and bytes. A copy whose original is gone or has changed is not returned.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from embedkit import files
from embedkit.errors import StoreError
from embedkit.files import sha256
from embedkit.store.journal import told
from embedkit.store.schema import (
    SCHEMA,
    as_sealed,
    check_form,
    decoding,
    npy_bytes,
    parquet_bytes,
    parquet_table,
    plain_name,
    sealed,
    unsealed,
)
from embedkit.vectors import FloatArray, IntArray, check_unit_rows

if TYPE_CHECKING:
    from embedkit.store.store import Store

RECORD = "augmented.json"
ORIGINALS = "augmented.parquet"
VIEWS = "views"  # the folder of pictures that are changed in one way; see embedkit.pipeline.views

_AGAIN = "what made it ('embedkit embed --augment', 'embedkit audit --views') makes it anew"
# What the record must hold at the least; see `check_form`.
_FORM = {"policy": dict, "contract_sha256": str, "originals": str, "chunks": [[str]]}


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
        if _whole(path):
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
        record = _record(folder)
    except FileNotFoundError:
        return None
    if record["contract_sha256"] != contract_sha256:
        return None
    wanted = [(ORIGINALS, record["originals"]), *map(tuple, record["chunks"])]
    table, *parts = (_content(folder / name, hash_) for name, hash_ in wanted)
    with decoding(str(folder / RECORD)):
        rows = parquet_table(table)
        # Read from the bytes that were checked.
        vectors = np.concatenate([np.load(BytesIO(data), allow_pickle=False) for data in parts])
        return Augmented(
            record["policy"],
            tuple(rows.column("id").to_pylist()),
            tuple(rows.column("sha256").to_pylist()),
            check_unit_rows(vectors, vectors.shape[1]),
            sha256(json.dumps(record, sort_keys=True).encode()),
        )


def augmented_faults(folder: Path) -> list[str]:
    """Check the copies in a folder, of whatever space, and return what is wrong; [] if nothing.

    Files that a run left which has not ended yet are checked too: their names end in their hashes.
    """
    faults, named = [], set[str]()
    try:
        record = _record(folder)
        data = files.read_plain(folder / RECORD)
        if not as_sealed(data, unsealed(data, folder / RECORD)):
            faults.append(f"{folder / RECORD} has other bytes than embedkit wrote; {_AGAIN}")
        for name, hash_ in [(ORIGINALS, record["originals"]), *map(tuple, record["chunks"])]:
            named.add(name)
            try:
                _content(folder / name, hash_)
            except StoreError as error:
                faults.append(str(error))
    except FileNotFoundError:
        if (folder / ORIGINALS).exists():
            faults.append(f"{folder / RECORD} is missing; {_AGAIN}")
    except StoreError as error:
        faults.append(str(error))
    others = (path for path in sorted(folder.glob("augmented-*.npy")) if path.name not in named)
    return faults + [
        f"{path} is damaged: its checksum does not fit; {_AGAIN}"
        for path in others
        if not _whole(path)
    ]


def _record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        data = files.read_plain(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}; {_AGAIN}") from None
    record = unsealed(data, path)
    check_form(record, _FORM, path)
    if not all(len(chunk) == 2 and plain_name(chunk[0]) for chunk in record["chunks"]):
        raise StoreError(f"{path} contradicts itself; {_AGAIN}")
    return record


def _content(path: Path, expected: str) -> bytes:
    try:
        data = files.read_plain(path)
    except OSError:
        data = b""
    if sha256(data) != expected:
        raise StoreError(
            f"{path} is missing or damaged: its checksum is not the one in {path.parent / RECORD}; "
            f"{_AGAIN}"
        )
    return data


def _whole(path: Path) -> bool:
    """Say whether a chunk has the bytes that its name says."""
    try:
        return path.stem.endswith("-" + files.sha256_of_file(path)[:16])
    except OSError:
        return False


def views_in(store: "Store") -> list[tuple[str, int]]:
    """Return the name, such as `mtcnn@grey`, and the number of pictures of each whole view."""
    found = []
    for space in store.spaces.values():
        for folder in sorted((store.path / VIEWS).glob(f"{space.name}@*")):
            with suppress(StoreError):
                kept = read_augmented(folder, space.contract_sha256)
                if kept is not None:
                    found.append((folder.name, len(kept.ids)))
    return found
