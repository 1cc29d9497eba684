"""Samples of shards: which pictures a tar or Parquet file holds, and what it says of each."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from embedkit.errors import InputError
from embedkit.images import MAX_BYTES
from embedkit.images import SUFFIXES as PICTURES
from embedkit.readers.splits import canonical_split, is_split_word
from embedkit.readers.walk import walk
from embedkit.remote import absolute, is_url
from embedkit.shards import is_shard, tables, tars

LABELS = ("label", "cls", "class", "labels")
BATCH = 256  # rows of a Parquet file, without their pictures, that are held at once


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of a shard and what is known of it.

    Attributes:
        name: that it gets where it is unpacked, '/'-separated, without a suffix.
        place: path of the picture within the shard; "" where there is none.
        read: reads at most so many bytes of the picture; None where there is none.
        row: its label, split and attributes, by column.
        reason: why there is no picture.
    """

    name: str
    place: str
    read: Callable[[int], bytes] | None
    row: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


def shards_of(source: Path) -> tuple[Path, list[str]]:
    """Return the shards that a source is, or that are below a folder, relative to a folder.

    Raises:
        FetchError: it is a URL that could not be listed.
    """
    if is_shard(source) and not source.is_dir():
        return source.parent, [source.name]
    return source, [one for one in walk(source).other if is_shard(one)]


def read_samples(shard: Path) -> Iterator[Sample]:
    """Read what a shard says of its pictures, in order, without reading those.

    Raises:
        InputError: it is damaged, or holds no pictures.
        FetchError: it lies behind a URL that does not answer as it should.
    """
    read = _tar if shard.suffix.lower() == ".tar" else _parquet
    with readable(shard):
        yield from read(shard)


@contextmanager
def readable(shard: Path) -> Iterator[None]:
    """Turn what a damaged file raises into one line.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        yield
    except (*tars.DAMAGE, pa.ArrowException, csv.Error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{_named(shard)} cannot be read: {reason}") from None


def _named(shard: Path) -> str:
    return absolute(shard) if is_url(shard) else str(shard)


def _split_of(shard: Path) -> str | None:
    """Return the split that a shard's name, or its folder's, begins with."""
    for name in (shard.name, shard.parent.name):
        word = re.match(r"[A-Za-z]*", name)
        if word and is_split_word(word[0]):
            return canonical_split(word[0])
    return None


def _parquet(shard: Path) -> Iterator[Sample]:
    """Read the columns beside the pictures, by Hugging Face's names of classes where they are."""
    with tables.open_table(shard) as opened:
        schema = opened.schema_arrow
        pictures = tables.picture_column(schema)
        if pictures is None:
            raise InputError(f"{_named(shard)} has no column of pictures")
        names = _class_names(schema)
        label = next(iter(names)) if len(names) == 1 else None
        columns = [
            one.name
            for one in schema
            if one.name != pictures
            and not (pa.types.is_nested(one.type) or tables.holds_bytes(one.type))
        ]
        split, number = _split_of(shard), 0
        for batch in opened.iter_batches(BATCH, columns=columns, use_threads=False):
            rows = (
                batch.select(columns).to_pylist()
                if columns
                else [{} for _ in range(batch.num_rows)]
            )
            for cells in rows:
                number += 1
                place = tables.name_of(number)
                row = {
                    name: names[name].get(one) if name in names else one
                    for name, one in cells.items()
                }
                yield Sample(
                    f"{shard.stem}/{place}",
                    place,
                    partial(tables.read_row, shard, number),
                    _labelled(row, split, label),
                )


def _class_names(schema: pa.Schema) -> dict[str, dict[int, str]]:
    """Return the names of classes that Hugging Face's metadata give for numbers, by column."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        columns: dict[str, Any] = features["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {
        name: dict(enumerate(map(str, one["names"])))
        for name, one in columns.items()
        if isinstance(one, dict) and isinstance(one.get("names"), list)
    }


def _tar(shard: Path) -> Iterator[Sample]:
    """Read samples of WebDataset: files of one name up to its first point, with one picture."""
    split = _split_of(shard)
    picture: tars.Member | None = None
    key, row, reason = "", dict[str, Any](), ""

    def sample() -> Sample:
        known = _labelled(row, split)
        if picture is None:
            return Sample(key, "", None, known, reason or "no picture of that name")
        read = partial(tars.read_at, shard, picture.start, picture.size)
        return Sample(key, str(picture.path), read, known)

    for member, stream in tars.members(shard):
        stem, _, kind = member.path.name.lower().partition(".")
        pictured = f".{kind.rpartition('.')[2]}" in PICTURES
        if not stem or (member.odd and not pictured):  # hidden, as what macOS adds; a device
            continue
        if member.path.is_absolute() or ".." in member.path.parts:
            raise InputError(f"{_named(shard)} holds {member.name!r}, which is no name of a sample")
        now = str(member.path.parent / member.path.name.partition(".")[0])
        if now != key:
            if key:
                yield sample()
            key, picture, row, reason = now, None, {}, ""
        if member.odd:
            reason = member.odd
            continue
        row |= _said(shard, member, kind, stream)
        # a.jpg goes before a.seg.png
        if pictured and (picture is None or "." not in kind):
            picture = member
    if key:
        yield sample()


def _said(shard: Path, member: tars.Member, kind: str, stream: BinaryIO) -> dict[str, Any]:
    """Return what a file of a sample says of it: `.cls` and `.txt` a word, `.json` several."""
    if kind not in ("json", "cls", "txt"):
        return {}
    if member.size > MAX_BYTES:
        raise InputError(f"{_named(shard)} holds {member.name!r} of {member.size:,} bytes")
    stream.seek(member.start)
    data = stream.read(member.size)
    try:
        if kind == "json":
            said = json.loads(data)
            plain = said.items() if isinstance(said, dict) else ()
            return {k: v for k, v in plain if not isinstance(v, list | dict)}
        return {kind: data.decode().strip()}
    except (ValueError, RecursionError):
        raise InputError(f"{_named(shard)} holds {member.name!r}, which cannot be read") from None


def _labelled(row: dict[str, Any], split: str | None, label: str | None = None) -> dict[str, Any]:
    """Return a row with its class as `label`, and the shard's split where it has none.

    Args:
        row: of a sample.
        split: of its shard.
        label: column with the class, besides the usual names.
    """
    folded = {key.lower(): value for key, value in row.items()}
    if label is not None:
        folded.setdefault("label", row[label])
    classes = [folded[name] for name in LABELS if folded.get(name) not in (None, -1)]
    said = next((one for one in classes if one == one), None)  # NaN is none
    kept = {k: v for k, v in row.items() if k.lower() not in (*LABELS, "file_name", "split")}
    # Written where there is none too, or folders would be taken for classes.
    kept["label"] = None if said is None else str(said)
    kept["split"] = folded.get("split") or split
    return kept


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    """Write rows as JSON lines, a column of one type each: text where it is not all numbers."""
    kinds: dict[str, set[type]] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                kinds.setdefault(name, set()).add(type(value))
    numbers = ({bool}, {int}, {float}, {int, float})
    text = {name for name, some in kinds.items() if some not in numbers}
    lines = (
        {k: str(v) if k in text and v is not None else v for k, v in row.items()} for row in rows
    )
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode(
        "utf-8", "replace"
    )
