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
        blur_faces: whether faces on small pictures are made unrecognisable.
    """

    store: Store
    space: Space
    known: Columns
    images: bool
    seed: int
    progress: OnProgress | None
    blur_faces: bool = False

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


def column_of(vectors: FloatArray) -> pa.FixedSizeListArray:
    """Return vectors as a column of lists of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def in_python(code: str) -> str:
    """Return the command that runs a line of Python."""
    return shlex.join(["python", "-c", code])


def quoted(path: str | Path) -> str:
    """Return a path as Python's code, in double quotes: a shell's are single ones."""
    return json.dumps(str(path))
