"""What was written for another tool, for people and as JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.results import Result

SCHEMA = "embedkit.export/1"


@dataclass(frozen=True, slots=True)
class Exported(Result):
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


def _size(n: int) -> str:
    """Return a number of bytes for people."""
    size, unit = float(n), "B"
    for larger in ("KB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.1f} {unit}" if unit != "B" else f"{n} B"
