"""Containers: files that hold pictures themselves, unpacked into a folder that embedkit reads."""

import csv
import io
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from embedkit.errors import InputError, UnreadableImageError
from embedkit.files import open_plain
from embedkit.images import MAX_BYTES, sniff
from embedkit.readers.samples import json_lines, read_samples, readable, shards_of
from embedkit.readers.splits import canonical_split
from embedkit.shards import SUFFIXES as SHARDS
from embedkit.shards import is_shard

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
USAGES = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
METADATA = "metadata.jsonl"
SIDE = 48  # pixels a side of FER2013's pictures
ENDINGS = {"JPEG": "jpg", "JPEG2000": "jp2"}  # of other formats their name


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
    (folder / METADATA).write_bytes(json_lines(rows))
    return Unpacked(folder, len(rows) - len(without), tuple(without))


def _shards(source: Path) -> list[Path]:
    if not source.exists():
        raise InputError(f"{source} does not exist")
    if source.is_dir():
        root, shards = shards_of(source)
        if not shards:
            raise InputError(f"{source} holds no .tar or .parquet file")
        return [root / one for one in shards]
    if source.suffix.lower() not in (".csv", *SHARDS):
        raise InputError(f"{source} holds no pictures; .csv, {', '.join(SHARDS)} files may")
    return [source]


def _pictures(shard: Path) -> Iterator[Packed]:
    if not is_shard(shard):
        with readable(shard):
            yield from _fer2013(shard)
        return
    for sample in read_samples(shard):
        try:
            data = None if sample.read is None else sample.read(MAX_BYTES + 1)
        except UnreadableImageError:
            data = None
        whole = data is not None and len(data) <= MAX_BYTES
        yield Packed(sample.name, data if whole else None, sample.row)


def _fer2013(table: Path) -> Iterator[Packed]:
    """Read `emotion,pixels,Usage`: a number, 48 x 48 grey values joined by blanks, and a word."""
    csv.field_size_limit(2**20)
    with io.TextIOWrapper(open_plain(table), encoding="utf-8-sig", newline="") as stream:
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
