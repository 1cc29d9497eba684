"""What is to be forgotten, and what was: for people, and as JSON."""

from collections.abc import Sequence
from pathlib import Path

from embedkit.audits.people import Alike
from embedkit.reports.documents import Document
from embedkit.store import Store
from embedkit.store.forgetting import Forgotten
from embedkit.store.forgotten import SHORT

MANY = 40  # pictures that are listed
NOT_COVERED = (
    "the pictures themselves, where the data set is",
    "reports, maps, exports, sheets and heads that were written outside the store",
    "stores that were made of this one by merge or subset, and copies and backups of it",
    "what a disk keeps of files after they are deleted",
)


def chosen(store: Store, pictures: Sequence[Alike], sheet: Path | None, command: str) -> str:
    """Say what would be forgotten, before anything is."""
    lines = [f"{len(pictures)} of {len(store.items)} images of {store.path} would be forgotten:"]
    lines += [f"  {one.id}  ({one.why})" for one in pictures[:MANY]]
    if len(pictures) > MANY:
        lines.append(f"  … and {len(pictures) - MANY} more; --json lists all")
    if sheet is not None:
        lines.append(f"wrote {sheet}: look whether these are the ones, and all of them")
    lines.append(f"nothing was changed; to do it: {command} --yes")
    return "\n".join(lines)


def done(path: Path, made: Forgotten) -> str:
    """Say what was forgotten, and what a search of every file found afterwards."""
    n = len(made.ids)
    lines = [f"{n} {'image is' if n == 1 else 'images are'} gone from {path}; {made.left} are left"]
    if made.heads:
        lines.append(f"heads that had learned from them, removed: {', '.join(made.heads)}")
    if made.removed:
        lines.append(f"made of them, removed: {', '.join(made.removed)}")
    searched = (
        f"searched {made.files} files ({made.bytes / 1e6:.1f} MB) for {made.traces} traces: ids, "
        "hashes, thumbnails, vectors"
    )
    lines.append(searched + (": nothing was found" if not made.found else ""))
    lines += [f"  STILL FOUND in {name}: {', '.join(what)}" for name, what in made.found.items()]
    if made.shared or made.plain:
        lines.append(
            f"thumbnails and vectors not looked for: {made.shared} that other pictures have too, "
            f"{made.plain} of so few different bytes that they stand anywhere"
        )
    lines += [f"still there, the picture itself: {one}" for one in made.pictures[:MANY]]
    lines.append("not covered: " + "; ".join(NOT_COVERED))
    return "\n".join(lines)


def tombstones(path: Path, kept: Sequence[str], lifted: Sequence[str] | None = None) -> str:
    """Say which tombstones a store has, and which were removed just now."""
    lines = [] if lifted is None else [f"lifted: {len(lifted)}"]
    lines.append(f"tombstones in {path}: {len(kept)}")
    lines += [f"  {one[:SHORT]}" for one in kept]
    if kept:
        lines.append(
            "each is a hash that a picture's file can be compared with; --lift FILE (or the "
            "characters above, or all) lets 'embedkit embed' take it again"
        )
    return "\n".join(lines)


def chosen_document(
    store: Store, pictures: Sequence[Alike], sheet: Path | None, notes: Sequence[str]
) -> Document:
    """Return what would be forgotten, and what was not looked for."""
    return {
        "schema": "embedkit.forget/1",
        "done": False,
        "store": str(store.path),
        "images": len(store.items),
        "chosen": [{"id": one.id, "why": one.why} for one in pictures],
        "notes": list(notes),
        "sheet": None if sheet is None else str(sheet),
    }


def done_document(path: Path, made: Forgotten) -> Document:
    """Return what was forgotten, and what a search of every file found afterwards."""
    return {
        "schema": "embedkit.forget/1",
        "done": True,
        "store": str(path),
        **made.to_dict(),
        "not_covered": list(NOT_COVERED),
    }


def tombstones_document(path: Path, kept: Sequence[str], lifted: Sequence[str]) -> Document:
    """Return the tombstones of a store, and those that were removed just now."""
    return {
        "schema": "embedkit.tombstones/1",
        "store": str(path),
        "tombstones": list(kept),
        "lifted": list(lifted),
    }
