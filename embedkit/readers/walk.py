"""Which files below a folder are images: nothing lost, nothing twice."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from embedkit.images import SUFFIXES, sniff
from embedkit.items import id_of_path
from embedkit.remote import is_url, list_url, url_of

JUNK_FOLDERS = frozenset({"__MACOSX", "$RECYCLE.BIN", "System Volume Information"})
STORE_FILES = frozenset({"store.json", "journal.jsonl"})
JUNK_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"})


@dataclass
class Walk:
    """The image files below a folder and what was passed over.

    Attributes:
        images: paths relative to the folder, '/'-separated, sorted.
        other: files that are neither images nor called so.
        notes: links that were not followed.
    """

    images: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def walk(root: Path) -> Walk:
    """Find the images below `root`, in sorted order.

    A file counts by its suffix (in any case) or, where that says nothing, by its first bytes.
    Hidden files and the litter of other systems are left out. A folder is read once, under its own
    name before any link to it, so that a loop of links ends and no picture gets two labels.

    Raises:
        InputError: it is a URL with nothing behind it.
        FetchError: it is a URL that could not be listed.
    """
    if is_url(root):
        return _listed(root)
    found = Walk()
    seen: dict[tuple[int, int], str] = {}
    links: list[str] = []
    _read(root, "", seen, links, found)
    while links:  # links last, so that a folder keeps its own name
        link = links.pop(0)
        try:
            status = (root / link).stat()
        except OSError as error:
            said = error.strerror
            found.notes.append(f"link {id_of_path(link)} could not be followed: {said}")
            continue
        known = seen.get((status.st_dev, status.st_ino))
        if known is None:
            _read(root, link, seen, links, found)
        else:
            target = f"{id_of_path(known)}/" if known else "the whole folder"
            found.notes.append(
                f"{id_of_path(link)} is a link to {target} and was not read a second time"
            )
    found.images.sort()
    found.other.sort()
    return found


def _listed(root: Path) -> Walk:
    """Find the images below a URL: by their suffix, so that none has to be fetched for that."""
    found = Walk()
    for path in list_url(root):
        parts = path.split("/")
        if any(part.startswith(".") or part in JUNK_FOLDERS for part in parts):
            continue
        if Path(path).suffix.lower() in SUFFIXES:
            found.images.append(path)
        else:
            found.other.append(path)
    if found.other and found.images:
        found.notes.append(
            f"{len(found.other)} other files were not read; a table of labels is read from a file "
            f"here, with --root {url_of(root)}"
        )
        found.other.clear()
    return found


def _read(
    root: Path, top: str, seen: dict[tuple[int, int], str], links: list[str], found: Walk
) -> None:
    pending = [top]
    while pending:
        relative = pending.pop()
        folder = root / relative
        try:
            status = folder.stat()
            if seen.setdefault((status.st_dev, status.st_ino), relative) != relative:
                continue
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            name = id_of_path(relative) or "."
            found.notes.append(f"folder {name} could not be read: {error.strerror}")
            continue
        if relative and any(entry.name in STORE_FILES for entry in inside):
            name = id_of_path(relative)
            found.notes.append(f"folder {name} is a store of embedkit and was not read")
            continue
        for entry in inside:
            path = f"{relative}/{entry.name}" if relative else entry.name
            if entry.name.startswith(".") or entry.name.lower() in JUNK_FILES:
                continue
            if _is_folder(entry):
                if entry.name not in JUNK_FOLDERS:
                    (links if entry.is_symlink() else pending).append(path)
            elif Path(entry.name).suffix.lower() in SUFFIXES or _looks_like_image(entry):
                found.images.append(path)
            else:
                found.other.append(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _looks_like_image(entry: os.DirEntry[str]) -> bool:
    try:
        if not entry.is_file():
            return False
        descriptor = os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return sniff(os.read(descriptor, 64)) is not None
    finally:
        os.close(descriptor)
