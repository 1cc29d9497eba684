"""FiftyOne's own format on disk (`fiftyone.types.FiftyOneDataset`), written without FiftyOne.

Two files in MongoDB's extended JSON: `metadata.json` names the fields, `samples.json` holds a
document an image. Source: fiftyone 1.22, `utils/data/importers.py` and `core/odm`.
"""

import base64
import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedkit.exports.base import Subject, Written, quoted
from embedkit.exports.columns import text_columns
from embedkit.exports.fiftyone_fields import (
    EMBEDDING,
    METADATA,
    SUGGESTED,
    TRUTH,
    describe,
    fields_of,
)
from embedkit.files import sha256
from embedkit.items import path_of_id
from embedkit.store.schema import npy_bytes
from embedkit.vectors import FloatArray

SAMPLES = "samples.json"
Document = dict[str, Any]


def write_fiftyone(subject: Subject, folder: Path, name: str) -> Written:
    """Write the data set with its labels, tags, findings and vectors; pictures stay where they are.

    Paths are relative to the source of the store, which FiftyOne is told as `rel_dir`.

    Args:
        subject: to write.
        folder: to write to.
        name: that the folder will have.
    """
    table = text_columns(subject.known)
    fields = fields_of(table, subject.known.label)
    n = 0
    with (folder / SAMPLES).open("w", encoding="ascii") as stream:
        stream.write('{"samples": [')
        for sample in _samples(subject, table, fields):
            stream.write(("," if n else "") + "\n" + json.dumps(sample, allow_nan=False))
            n += 1
        stream.write("\n]}\n")
    description = json.dumps(describe(subject, table, fields), indent=1)
    (folder / METADATA).write_text(f"{description}\n", encoding="ascii")
    notes: tuple[str, ...] = ()
    if missing := len(table) - n:
        notes = (f"{missing} images are left out: FiftyOne takes no path that is no Unicode",)
    opens = (
        "import fiftyone as fo\n"
        f"data = fo.Dataset.from_dir({quoted(name)}, fo.types.FiftyOneDataset, "
        f"rel_dir={quoted(subject.store.items.root)})\n"
        "fo.launch_app(data).wait()"
    )
    return Written(opens=opens, notes=notes, n=n)


def _samples(subject: Subject, table: pa.Table, fields: dict[str, str]) -> Iterator[Document]:
    for first, vectors in subject.vectors():
        for row, vector in zip(table.slice(first, len(vectors)).to_pylist(), vectors, strict=True):
            path = path_of_id(row["id"])
            try:
                path.encode()
            except UnicodeEncodeError:
                continue
            yield _sample(row, path, vector, subject, fields)


def _sample(
    row: dict[str, Any], path: str, vector: FloatArray, subject: Subject, fields: dict[str, str]
) -> Document:
    own = sha256(f"{subject.space.contract_sha256}/{row['id']}".encode())
    values = {field: _plain(row[column]) for column, field in fields.items()}
    return {
        "_id": {"$oid": own[:24]},
        "_media_type": "image",
        "_rand": int(own[24:36], 16) / 16**12,
        "filepath": path,
        "tags": _tags(row),
        "metadata": {
            "_cls": "ImageMetadata",
            "size_bytes": row["bytes"],
            "mime_type": f"image/{row['format'].lower()}",
            "width": row["width"],
            "height": row["height"],
        },
        TRUTH: _classification(row[subject.known.label], f"{own}/{TRUTH}"),
        SUGGESTED: _classification(row.get("label_suggested"), f"{own}/{SUGGESTED}"),
        EMBEDDING: _binary(vector),
        **values,
    }


def _tags(row: dict[str, Any]) -> list[str]:
    """Return the split of an image and what the last audit found of it."""
    tags = [row["split"]] if row["split"] else []
    if row.get("twin_cluster") is not None:
        tags.append("copy in another split" if row["twin_across_splits"] else "copy")
    if row.get("label_suggested") is not None:
        tags.append("label in doubt")
    return tags + (row.get("quality_flags") or "").split("; ") * bool(row.get("quality_flags"))


def _classification(label: object, key: str) -> Document | None:
    if label is None:
        return None
    own = {"$oid": sha256(key.encode())[:24]}
    return {"_id": own, "_cls": "Classification", "tags": [], "label": str(label)}


def _binary(vector: FloatArray) -> Document:
    """Return a vector as FiftyOne keeps it: NumPy's file format, compressed by zlib."""
    packed = base64.b64encode(zlib.compress(npy_bytes(vector))).decode()
    return {"$binary": {"base64": packed, "subType": "00"}}


def _plain(value: object) -> object:
    """Return a value as JSON; what JSON has no word for as text, or as none."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)
