"""The store on disk: its files, its records and their checks. `indexes/README.md` describes it."""

import json
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from embedkit.errors import StoreError, StoreSchemaError
from embedkit.files import sha256

SCHEMA = 3
STORE = "store.json"
ITEMS = "items.parquet"
UNREADABLE = "unreadable.parquet"
SPACE = "space.json"
INDEX = "index.faiss"
INDEX_RECORD = "index.json"
JOURNAL = "journal.jsonl"
LOCK = ".lock"
HEADS = "heads"
NEXT = ".next"

UNREADABLE_SCHEMA = pa.schema([("id", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of vectors, (n, d) float32, and what its bytes must hash to."""

    file: str
    n: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    """The content of `space.json`: one backbone and preprocessing, and its shards in item order.

    Attributes:
        name: of the space, and of its folder.
        contract: everything that two spaces must share for their vectors to be comparable.
        contract_sha256: its hash.
        dimension: width of a vector.
        n: rows.
        shards: the files of vectors.
        backbone: how to load what made it: `name` in full, and `weights`, a file or empty.
        made_with: versions.
    """

    name: str
    contract: dict[str, Any]
    contract_sha256: str
    dimension: int
    n: int
    shards: tuple[Shard, ...]
    backbone: dict[str, str]
    made_with: dict[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the file."""
        return sealed(asdict(self) | {"schema": SCHEMA, "dtype": "float32"})

    @classmethod
    def from_bytes(cls, data: bytes, path: Path) -> "SpaceRecord":
        """Read the file.

        Raises:
            StoreError: damaged, or of another schema.
        """
        record = unsealed(data, path)
        try:
            shards = tuple(Shard(**shard) for shard in record["shards"])
            names = (
                "name",
                "contract",
                "contract_sha256",
                "dimension",
                "n",
                "backbone",
                "made_with",
            )
            return cls(**{name: record[name] for name in names}, shards=shards)
        except (KeyError, TypeError) as error:
            raise StoreError(f"{path} lacks a field: {error}") from None


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """The content of `store.json`, the one file that says what the store is.

    Attributes:
        source: where the images are and how they were read.
        items: number of images and the hash of `items.parquet`.
        unreadable: the same for `unreadable.parquet`.
        blocks: number and length of each block of rows, in item order.
        spaces: hash of each space's `space.json`.
        embedkit: version that wrote it.
    """

    source: dict[str, Any]
    items: dict[str, Any]
    unreadable: dict[str, Any]
    blocks: tuple[tuple[int, int], ...]
    spaces: dict[str, str]
    embedkit: str

    def to_bytes(self) -> bytes:
        """Return the file."""
        return sealed(asdict(self) | {"schema": SCHEMA})

    @classmethod
    def from_bytes(cls, data: bytes, path: Path) -> "StoreRecord":
        """Read the file.

        Raises:
            StoreError: damaged, or of another schema.
        """
        record = unsealed(data, path)
        try:
            return cls(
                source=record["source"],
                items=record["items"],
                unreadable=record["unreadable"],
                blocks=tuple((number, n) for number, n in record["blocks"]),
                spaces=record["spaces"],
                embedkit=record["embedkit"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{path} lacks a field: {error}") from None


def sealed(record: dict[str, Any], *, indent: int | None = 1) -> bytes:
    """Return a record as JSON with its own checksum in it; without an indent on one line."""
    text = json.dumps(record | {"seal": _seal(record)}, sort_keys=True, indent=indent)
    return f"{text}\n".encode()


def unsealed(data: bytes, path: Path) -> dict[str, Any]:
    """Read a record that carries its own checksum.

    Raises:
        StoreError: it is no such record, or its checksum does not fit.
        StoreSchemaError: it was written by another version of the format.
    """
    try:
        record = json.loads(data)
        seal = record.pop("seal", None)
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise StoreError(f"{path} is damaged: it is no record of embedkit") from None
    schema = record.get("schema")
    if schema != SCHEMA:
        newer = isinstance(schema, int) and schema > SCHEMA
        hint = "update embedkit" if newer else "make the store again with 'embedkit embed'"
        raise StoreSchemaError(
            f"{path} has schema {schema!r}, this embedkit reads schema {SCHEMA}: {hint}"
        )
    if seal != _seal(record):
        raise StoreError(f"{path} is damaged: its checksum does not fit")
    return dict(record)


def _seal(record: dict[str, Any]) -> str:
    # Through JSON once, so that a tuple seals like the list that it is read back as.
    record = json.loads(json.dumps(record))
    return sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())


def shard_name(number: int) -> str:
    """Return the file name of a block's vectors."""
    return f"vectors-{number:05d}.npy"


def npy_bytes(rows: npt.NDArray[Any]) -> bytes:
    """Return an array as the bytes of an .npy file."""
    stream = BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(rows), allow_pickle=False)
    return stream.getvalue()


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file; equal tables give equal bytes."""
    stream = BytesIO()
    parquet.write_table(table.combine_chunks(), stream, compression="zstd", store_schema=True)
    return stream.getvalue()


def parquet_table(data: bytes) -> pa.Table:
    """Read a table from the bytes of a Parquet file.

    Without pyarrow's threads: when they outlive the last statement of the program, it ends with
    SIGABRT instead of its exit status (pyarrow 26, about one run in five).
    """
    return parquet.read_table(BytesIO(data), use_threads=False, pre_buffer=False)
