"""What every export is given and what it says of itself."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

import embedkit
from embedkit.exports.columns import Columns
from embedkit.exports.places import SCHEMA
from embedkit.pipeline.progress import OnProgress
from embedkit.store import Space, Store
from embedkit.vectors import FloatArray

PERSONAL = (
    "It holds vectors that can tell people apart: where pictures show faces, these are personal "
    "data as the pictures are."
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is exported of a store.

    Attributes:
        store: of the images.
        space: with their vectors.
        known: of the images.
        images: whether small pictures go along, where the target can show them.
        seed: of everything drawn at random.
        progress: is told of long work.
    """

    store: Store
    space: Space
    known: Columns
    images: bool
    seed: int
    progress: OnProgress | None

    def vectors(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield first row and vectors, (m, d) float32, shard by shard; held one at a time."""
        row = 0
        for shard in self.space.shards():
            yield row, shard
            row += len(shard)

    def facts(self) -> dict[str, Any]:
        """Return what the vectors are, as JSON."""
        return {
            "embedkit": embedkit.__version__,
            "space": self.space.name,
            "backbone": self.space.record.backbone["name"],
            "contract_sha256": self.space.contract_sha256,
            "dimension": self.space.record.dimension,
            "n": self.space.record.n,
            "label": self.known.label,
        }


@dataclass(frozen=True, slots=True)
class Written:
    """What a target says of what it wrote.

    Attributes:
        opens: command or code that opens it in the tool that it is for.
        notes: what a user should know.
        n: images in it, where these are not all.
        personal: what makes it personal data.
    """

    opens: str
    notes: tuple[str, ...] = ()
    n: int | None = None
    personal: str = PERSONAL


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written for another tool.

    Attributes:
        kind: of the export.
        paths: of the files.
        holds: what is in it, for people.
        n: images in it; for a head those that it was trained on.
        facts: about the vectors or the head, as JSON.
        opens: command or code that opens it there.
        notes: what a user should know.
    """

    kind: str
    paths: tuple[Path, ...]
    holds: str
    n: int
    facts: dict[str, Any]
    opens: str
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Length of all files."""
        return sum(path.stat().st_size for path in self.paths)

    def to_dict(self) -> dict[str, Any]:
        """Return the document `embedkit.export/1`."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "paths": [str(path) for path in self.paths],
            "n": self.n,
            "bytes": self.bytes,
            "opens": self.opens,
            "notes": list(self.notes),
            **{name: value for name, value in self.facts.items() if name != "n"},
        }

    @property
    def text(self) -> str:
        """Say what was written and how it is opened."""
        place = self.paths[0] if len(self.paths) == 1 else self.paths[0].parent
        opens = "".join(f"\n    {line}" for line in self.opens.splitlines())
        notes = "".join(f"\n  {note}" for note in self.notes)
        size = _size(self.bytes)
        return f"wrote {place} ({self.kind}, {self.holds}, {size}); open it with:{opens}{notes}"


def column_of(vectors: FloatArray) -> pa.FixedSizeListArray:
    """Return vectors as a column of lists of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def in_python(code: str) -> str:
    """Return the command that runs a line of Python."""
    return shlex.join(["python", "-c", code])


def quoted(path: str | Path) -> str:
    """Return a path as Python's code, in double quotes: a shell's are single ones."""
    return json.dumps(str(path))


def _size(n: int) -> str:
    """Return a number of bytes for people."""
    size, unit = float(n), "B"
    for larger in ("KB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.1f} {unit}" if unit != "B" else f"{n} B"
