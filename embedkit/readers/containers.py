"""Containers: files that hold pictures themselves, unpacked into a folder that embedkit reads."""

import csv
import io
import json
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from embedkit.errors import InputError
from embedkit.images import SUFFIXES as PICTURES
from embedkit.images import sniff
from embedkit.readers.manifest import holds_bytes
from embedkit.readers.splits import canonical_split, is_split_word

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
USAGES = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
METADATA = "metadata.jsonl"
SIDE = 48  # pixels a side of FER2013's pictures
SUFFIXES = frozenset({".csv", ".parquet", ".tar"})
ENDINGS = {"JPEG": "jpg", "JPEG2000": "jp2"}  # of other formats their name
PICTURE_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "bytes")
LABELS = ("label", "cls", "class", "labels")
BATCH = 256  # rows of a Parquet file that are held at once


@dataclass(frozen=True, slots=True)
class Packed:
    """One picture of a container.

    Attributes:
        name: path that it gets, '/'-separated, without the suffix that its format asks for.
        data: of the file; None where the container holds no picture there.
        row: its label, split and attributes, by column.
    """

    name: str
    data: bytes | None
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of a container.

    Attributes:
        folder: with the pictures and `metadata.jsonl`.
        pictures: how many.
        without: names of rows without a picture, which `scan` and `embed` list as unreadable.
    """

    folder: Path
    pictures: int
    without: tuple[str, ...]


def unpack(source: Path, folder: Path) -> Unpacked:
    """Write the pictures of a container as files, and what is known of them as `metadata.jsonl`.

    Containers are FER2013's table (`emotion,pixels,Usage`), Parquet files with pictures in a column
    (Hugging Face's form), tar files of WebDataset's form, and folders of such shards. A shard whose
    name begins with the word for a split is of that split.

    Args:
        source: file or folder.
        folder: new or empty.

    Raises:
        InputError: it is no container or damaged, or the folder holds something already.
    """
    shards = _shards(source)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; the pictures need a folder of their own")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _written(shards, folder)
    except BaseException:  # half of it would be taken for the whole
        shutil.rmtree(folder)
        raise


def _written(shards: Sequence[Path], folder: Path) -> Unpacked:
    rows: list[dict[str, Any]] = []
    without, used, times = [], set[str](), Counter[str]()
    for one in (picture for shard in shards for picture in _pictures(shard)):
        name = plain = one.name.encode("utf-8", "replace").decode()
        while name in used:
            times[plain] += 1
            name = f"{plain}-{times[plain] + 1}"
        used.add(name)
        format_ = None if one.data is None else sniff(one.data[:64])
        if one.data is None or format_ is None:
            without.append(name)
        else:
            name = f"{name}.{ENDINGS.get(format_, format_.lower())}"
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(one.data)
        rows.append({"file_name": name} | one.row)
    if len(rows) == len(without):
        raise InputError(f"{shards[0]} holds no picture")
    with (folder / METADATA).open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in _alike(rows))
    return Unpacked(folder, len(rows) - len(without), tuple(without))


def _alike(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with columns of one type each: text, where they are neither that nor numbers."""
    kinds: dict[str, set[type]] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                kinds.setdefault(name, set()).add(type(value))
    numbers = ({bool}, {int}, {float}, {int, float})
    text = {name for name, some in kinds.items() if some not in numbers}
    return [
        {k: str(v) if k in text and v is not None else v for k, v in row.items()} for row in rows
    ]


def _shards(source: Path) -> list[Path]:
    if not source.exists():
        raise InputError(f"{source} does not exist")
    if source.is_dir():
        shards = sorted(one for one in source.rglob("*") if one.suffix in (".tar", ".parquet"))
        if not shards:
            raise InputError(f"{source} holds no .tar or .parquet file")
        return shards
    if source.suffix.lower() not in SUFFIXES:
        raise InputError(f"{source} holds no pictures; {', '.join(sorted(SUFFIXES))} files may")
    return [source]


def _pictures(shard: Path) -> Iterator[Packed]:
    read = {".csv": _fer2013, ".parquet": _parquet, ".tar": _tar}[shard.suffix.lower()]
    try:
        yield from read(shard)
    except (
        OSError,
        EOFError,
        tarfile.TarError,
        pa.ArrowException,
        csv.Error,
        UnicodeDecodeError,
    ) as error:
        raise InputError(f"{shard} cannot be read: {str(error).splitlines()[0]}") from None


def _split_of(shard: Path) -> str | None:
    """Return the split that a shard's name, or its folder's, begins with."""
    for name in (shard.name, shard.parent.name):
        word = re.match(r"[A-Za-z]*", name)
        if word and is_split_word(word[0]):
            return canonical_split(word[0])
    return None


def _fer2013(table: Path) -> Iterator[Packed]:
    """Read `emotion,pixels,Usage`: a number, 48 x 48 grey values joined by blanks, and a word."""
    csv.field_size_limit(2**20)
    with table.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        names = {name.strip().lower(): name for name in reader.fieldnames or ()}
        if not {"emotion", "pixels"} <= names.keys():
            raise InputError(
                f"{table} holds no pictures; FER2013's table has columns emotion, pixels and Usage"
            )
        for number, cells in enumerate(reader, 1):
            usage = (cells.get(names.get("usage", "")) or "").strip()
            emotion = (cells[names["emotion"]] or "").strip()
            known = emotion.isdecimal() and int(emotion) < len(EMOTIONS)
            row = {
                "label": EMOTIONS[int(emotion)] if known else None,
                "split": USAGES.get(usage, canonical_split(usage) or None),
            }
            yield Packed(f"{number:05}", _grey(cells[names["pixels"]] or ""), row)


def _grey(pixels: str) -> bytes | None:
    try:
        values = np.array(pixels.split(), np.uint8)
    except (ValueError, OverflowError):
        return None
    if values.size != SIDE * SIDE:
        return None
    stream = io.BytesIO()
    Image.fromarray(values.reshape(SIDE, SIDE)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _parquet(shard: Path) -> Iterator[Packed]:
    """Read pictures from a column of bytes, or of `{bytes, path}` as Hugging Face writes it."""
    with parquet.ParquetFile(shard, pre_buffer=False) as opened:
        schema = opened.schema_arrow
        columns = sorted((one for one in schema if holds_bytes(one.type)), key=_likely)
        if not columns:
            raise InputError(f"{shard} has no column of pictures")
        column, names = columns[0].name, _class_names(schema)
        label = next(iter(names)) if len(names) == 1 else None
        split, number = _split_of(shard), 0
        for batch in opened.iter_batches(BATCH, use_threads=False):
            for cells in batch.to_pylist():
                number += 1
                value = cells.pop(column)
                data = value.get("bytes") if isinstance(value, dict) else value
                row = {
                    name: names[name].get(one) if name in names else one
                    for name, one in cells.items()
                    if not isinstance(one, bytes | list | dict)
                }
                yield Packed(
                    f"{shard.stem}/{number:06}", data or None, _labelled(row, split, label)
                )


def _likely(column: pa.Field) -> tuple[bool, bool]:
    """Return what sorts the columns that hold files by how likely they are the pictures."""
    return not pa.types.is_struct(column.type), column.name.lower() not in PICTURE_NAMES


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


def _tar(shard: Path) -> Iterator[Packed]:
    """Read samples of WebDataset: files of one name up to its first point, with one picture."""
    split = _split_of(shard)
    with tarfile.open(shard) as opened:
        key, picture, row = "", None, dict[str, Any]()
        for member in opened:
            if not member.isfile():
                continue
            path = PurePosixPath(member.name)
            stem, _, kind = path.name.partition(".")
            if not stem:  # hidden, as what macOS adds
                continue
            if path.is_absolute() or ".." in path.parts:
                raise InputError(f"{shard} holds {member.name!r}, which is no name of a sample")
            stream = opened.extractfile(member)
            data = b"" if stream is None else stream.read()
            if str(path.parent / stem) != key:
                if key:
                    yield Packed(key, picture, _labelled(row, split))
                key, picture, row = str(path.parent / stem), None, {}
            row |= _said(shard, member.name, kind.lower(), data)
            if f".{kind.lower().rpartition('.')[2]}" in PICTURES and (
                picture is None or "." not in kind  # a.jpg goes before a.seg.png
            ):
                picture = data
        if key:
            yield Packed(key, picture, _labelled(row, split))


def _said(shard: Path, name: str, kind: str, data: bytes) -> dict[str, Any]:
    """Return what a file of a sample says of it: `.cls` and `.txt` a word, `.json` several."""
    try:
        if kind == "json":
            said = json.loads(data)
            plain = said.items() if isinstance(said, dict) else ()
            return {k: v for k, v in plain if not isinstance(v, list | dict)}
        return {kind: data.decode().strip()} if kind in ("cls", "txt") else {}
    except ValueError:
        raise InputError(f"{shard} holds {name!r}, which cannot be read") from None


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
