"""The store on disk: its files, its records and their checks. `indexes/README.md` describes it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from embedkit.errors import StoreError, StoreSchemaError
from embedkit.files import Buffer, sha256
from embedkit.vectors import FloatArray

SCHEMA = 3
STORE = "store.json"
ITEMS = "items.parquet"
UNREADABLE = "unreadable.parquet"
SPACE = "space.json"
INDEX = "index.faiss"
INDEX_RECORD = "index.json"
JOURNAL = "journal.jsonl"
FORGETTING = "forgetting.json"
LOCK = ".lock"
HEADS = "heads"
NEXT = ".next"
NPY_HEAD = 4096  # bytes; what embedkit writes before the numbers has 128

AGAIN = "make the store again with 'embedkit embed', or bring it back from a copy"

# What records must hold at the least; see `check_form`.
_SPACE = {
    "name": str,
    "contract": dict,
    "contract_sha256": str,
    "dimension": int,
    "n": int,
    "shards": [{"file": str, "n": int, "sha256": str}],
    "backbone": {str: str},
    "made_with": dict,
}
_STORE = {
    "source": {"path": str, "given": str, "layout": str, "split": {"made_by": str}},
    "items": {"n": int, "sha256": str},
    "unreadable": {"sha256": str},
    "blocks": [[int]],
    "spaces": {str: str},
    "embedkit": str,
}

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
        check_form(record, _SPACE, path)
        shards = tuple(Shard(one["file"], one["n"], one["sha256"]) for one in record["shards"])
        holds = record["dimension"] > 0 and plain_name(record["name"])
        holds &= all(shard.n > 0 and plain_name(shard.file) for shard in shards)
        if not holds or sum(shard.n for shard in shards) != record["n"]:
            raise StoreError(f"{path} contradicts itself; {AGAIN}")
        return cls(**{name: record[name] for name in _SPACE if name != "shards"}, shards=shards)


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
        check_form(record, _STORE, path)
        holds = all(len(block) == 2 and block[1] > 0 for block in record["blocks"])
        holds &= all(plain_name(name) for name in record["spaces"])
        if not holds or sum(n for _, n in record["blocks"]) != record["items"]["n"]:
            raise StoreError(f"{path} contradicts itself; {AGAIN}")
        blocks = tuple((number, n) for number, n in record["blocks"])
        return cls(**{name: record[name] for name in _STORE} | {"blocks": blocks})


def sealed(record: dict[str, Any], *, indent: int | None = 1, sort: bool = True) -> bytes:
    """Return a record as JSON with its own checksum in it; without an indent on one line."""
    text = json.dumps(record | {"seal": _seal(record)}, sort_keys=sort, indent=indent)
    return f"{text}\n".encode()


def unsealed(data: bytes, path: Path, schema: int | str = SCHEMA) -> dict[str, Any]:
    """Read a record that carries its own checksum.

    Args:
        data: its bytes.
        path: of its file.
        schema: that it must have.

    Raises:
        StoreError: it is no such record, or its checksum does not fit.
        StoreSchemaError: it was written by another version of the format.
    """
    try:
        record = json.loads(data)
        seal, fits = record.pop("seal", None), _seal(record)
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise StoreError(f"{path} is damaged: it is no record of embedkit") from None
    found = record.get("schema")
    if found != schema:
        newer = isinstance(found, int) and isinstance(schema, int) and found > schema
        hint = "update embedkit" if newer else "make the store again with 'embedkit embed'"
        raise StoreSchemaError(
            f"{path} has schema {found!r:.40}, this embedkit reads schema {schema}: {hint}"
        )
    if seal != fits:
        raise StoreError(f"{path} is damaged: its checksum does not fit")
    return dict(record)


def as_sealed(data: bytes, record: dict[str, Any]) -> bool:
    """Say whether bytes are those that an unsealed record was written as, blanks and all."""
    ways: tuple[dict[str, Any], ...] = ({}, {"indent": None}, {"sort": False})
    return any(data == sealed(record, **way) for way in ways)


def check_form(record: Any, form: Any, path: Path) -> None:
    """Refuse a record whose checksum fits and whose content is not what it should be.

    Args:
        record: JSON.
        form: a type; a list of one form; named fields with a form each, or `{str: form}` for any.
        path: of its file.

    Raises:
        StoreError: it lacks a field, or one is of another type.
    """
    if not has_form(record, form):
        raise StoreError(f"{path} is no record as embedkit writes it; {AGAIN}")


def has_form(value: Any, form: Any) -> bool:
    """Say whether JSON has a form; see `check_form`."""
    if isinstance(form, list):
        return isinstance(value, list) and all(has_form(one, form[0]) for one in value)
    if not isinstance(form, dict):
        return type(value) is form  # a truth value is no number
    if not isinstance(value, dict):
        return False
    if str in form:
        return all(has_form(one, form[str]) for one in value.values())
    return all(name in value and has_form(value[name], form[name]) for name in form)


def plain_name(name: str) -> bool:
    """Say whether a record may name a file or folder so: in its own folder, nowhere else."""
    return name.isprintable() and "/" not in name and name not in ("", ".", "..")


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


def npy_rows(data: Buffer, n: int, dimension: int) -> FloatArray:
    """Return the array of an .npy file's bytes, which it shares: (n, dimension) float32.

    Raises:
        ValueError: they hold something else.
    """
    head = BytesIO(data[:NPY_HEAD])
    if np.lib.format.read_magic(head) != (1, 0):
        raise ValueError("a version of .npy that embedkit does not write")
    shape, by_column, kind = np.lib.format.read_array_header_1_0(head)
    if (shape, by_column, kind) != ((n, dimension), False, np.dtype("<f4")):
        raise ValueError(f"{kind} {shape}, float32 ({n}, {dimension}) expected")
    if len(data) != head.tell() + 4 * n * dimension:
        raise ValueError(f"{len(data)} bytes, {head.tell() + 4 * n * dimension} expected")
    return np.frombuffer(data, "<f4", offset=head.tell()).reshape(n, dimension)


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


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turn what decoders raise into one error: bytes whose checksum fits may be no such file.

    Raises:
        StoreError: it cannot be decoded.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
        first = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise StoreError(f"{what} is no file as embedkit writes it ({first}); {AGAIN}") from None
