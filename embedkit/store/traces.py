"""Traces: what a picture leaves in files, and looking for it in every file below a folder."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedkit.files import open_plain
from embedkit.items import path_of_id
from embedkit.store.journal import told
from embedkit.store.schema import parquet_table
from embedkit.store.store import Store
from embedkit.vectors import FloatArray, IntArray

FLOATS = 16  # of a vector that are looked for, around its largest number
LEAST = 4  # different bytes in what is looked for; plainer ones stand in files by chance
# What stands around a name in JSON, CSV, HTML and text; anything else is a part of a longer name.
_AROUND = rb"\"',;:=|<>&`\t\r\n\x00"


@dataclass(frozen=True, slots=True)
class Trace:
    """Bytes that tell of a picture: `what` they are, and for an id also how files may spell it."""

    what: str
    data: bytes
    is_name: bool = False

    def found_in(self, content: "bytes | mmap") -> bool:
        """Say whether some bytes hold it; a name only where it is not a part of a longer one."""
        if content.find(self.data) < 0:
            return False
        if not self.is_name:
            return True
        alone = rb"(?<![^%b])%b(?![^%b])" % (_AROUND, re.escape(self.data), _AROUND)
        return re.search(alone, content) is not None


@dataclass(frozen=True, slots=True)
class Traces:
    """What some pictures leave.

    Attributes:
        every: that are looked for.
        shared: that other pictures leave too, and which therefore stay: an equal vector, say.
        plain: of so few different bytes that they stand anywhere.
    """

    every: tuple[Trace, ...]
    shared: int
    plain: int


def names_of(ids: Iterable[str], root: Path) -> Iterator[Trace]:
    """Yield the ids of pictures as files may spell them, and their full paths."""
    for id_ in ids:
        spelled = {
            id_.encode("utf-8", "backslashreplace"),
            json.dumps(id_)[1:-1].encode(),
            os.fsencode(path_of_id(id_)),
            os.fsencode(root / path_of_id(id_)),
        }
        for one in sorted(spelled):
            yield Trace("id", one, is_name=True)


def traces_of(store: Store, rows: IntArray) -> Traces:
    """Return what rows of a store leave: vectors, hashes and thumbnails. Ids are `names_of`.

    Raises:
        StoreError: a shard is damaged.
    """
    chosen = store.items.rows.take(pa.array(rows))
    hashes = [
        Trace(name, one.encode())
        for name in ("sha256", "pixel_sha256")
        for one in chosen.column(name).to_pylist()
    ]
    stays = np.ones(len(store.items), bool)
    stays[rows] = False
    small = _thumbnails(store.items.rows.select(["nuisance"]))
    others = {one for one, stay in zip(small, stays, strict=True) if stay}
    own = sorted({small[row] for row in rows} - {b""})
    found = [(Trace("thumbnail", one), one in others) for one in own]
    for name, space in store.spaces.items():
        pieces = {_piece(vector) for vector in space.rows[rows]}
        start, again = 0, set[bytes]()
        for shard in space.shards():
            rest = shard[stays[start : start + len(shard)]].tobytes()
            start += len(shard)
            again |= {piece for piece in pieces - again if rest.find(piece) >= 0}
        found += [(Trace(f"vector of {name}", one), one in again) for one in sorted(pieces)]
    plain = [len(set(trace.data)) < LEAST for trace, _ in found]
    kept = [
        trace
        for (trace, again), too_plain in zip(found, plain, strict=True)
        if not again and not too_plain
    ]
    shared = sum(again and not p for (_, again), p in zip(found, plain, strict=True))
    return Traces((*hashes, *kept), shared, sum(plain))


def search_files(folder: Path, traces: Sequence[Trace]) -> tuple[dict[str, set[str]], int]:
    """Look for traces in every file below a folder, and inside its tables.

    Returns:
        What was found by file, relative to the folder; and the number of bytes looked through.

    Raises:
        StoreError: a file cannot be read.
    """
    found: dict[str, set[str]] = {}
    n = 0
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            what, size = traces_in(path, traces)
            n += size
            if what:
                found[str(path.relative_to(folder))] = what
    return found, n


def traces_in(path: Path, traces: Sequence[Trace]) -> tuple[set[str], int]:
    """Return which traces a file holds, and how many bytes it has.

    Raises:
        StoreError: it cannot be read.
    """
    with told(path, "read"), open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return set(), 0
        with mmap(file.fileno(), size, access=ACCESS_READ) as content:
            found = {one.what for one in traces if one.found_in(content)}
            if path.suffix == ".parquet":
                found |= _in_table(bytes(content), traces)
    return found, size


def _in_table(data: bytes, traces: Sequence[Trace]) -> set[str]:
    """Return the traces that are cells of a table, which is compressed on disk."""
    try:
        table = parquet_table(data)
    except (pa.ArrowException, OSError):
        return set()  # no table; its bytes were looked through
    kinds = {one.data.decode("utf-8", "replace"): one.what for one in traces}
    wanted = pa.array(list(kinds), pa.string())
    found = set()
    for column in table.itercolumns():
        if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type):
            text = column.cast(pa.string())
            there = text.filter(pc.is_in(text, value_set=wanted)).unique().to_pylist()
            found |= {kinds[one] for one in there}
    if "nuisance" in table.column_names:
        small = set(_thumbnails(table))
        found |= {one.what for one in traces if one.data in small}
    return found


def _thumbnails(table: pa.Table) -> list[bytes]:
    """Return each row's thumbnail; empty where there is none."""
    column = pc.struct_field(table.column("nuisance"), "thumbnail").combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    every = column.flatten().to_numpy(zero_copy_only=False).tobytes()
    ends = np.cumsum(lengths)
    return [every[end - n : end] for n, end in zip(lengths.tolist(), ends.tolist(), strict=True)]


def _piece(vector: FloatArray) -> bytes:
    """Return a part of a vector that tells it from others: around its largest number."""
    largest = int(np.abs(vector).argmax())
    start = max(0, min(largest - FLOATS // 2, len(vector) - FLOATS))
    return np.ascontiguousarray(vector[start : start + FLOATS], "<f4").tobytes()
