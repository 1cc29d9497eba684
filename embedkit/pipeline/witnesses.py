"""Witnesses: files by which a worker on another machine knows that it sees what the command sees.

Without them a worker whose machine lacks the pictures would list all of its own as unreadable, or
take them out of a store, and one with another folder in the store's place would write there.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from embedkit.errors import InputError, SourceGoneError
from embedkit.files import open_plain
from embedkit.items import path_of_id
from embedkit.remote import is_url
from embedkit.shards import shard_above
from embedkit.store.schema import JOURNAL, STORE
from embedkit.trust import trust, urls

MOST = 2**16  # bytes of a file that are compared


@dataclass(frozen=True, slots=True)
class Witness:
    """A file that has to be there.

    Attributes:
        path: of it.
        beginning: its first bytes; none where it is enough that it can be opened.
    """

    path: Path
    beginning: bytes = b""

    def check(self) -> None:
        """Look for it.

        Raises:
            InputError: it is not there, or is another.
        """
        try:
            with open_plain(self.path) as file:
                same = file.read(len(self.beginning)) == self.beginning
            why = "" if same else "it is another file"
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            raise InputError(
                f"{self.path} is not what the command sees there ({why}); every machine has to see "
                "the pictures and the store's folder at the same paths"
            )


class Source:
    """The folder of the pictures, and other disks below it: are they still there as at the start?

    Without it a disk that is taken away in the middle of a run would have every picture after that
    listed as unreadable, and those that the store has taken out of it.
    """

    def __init__(self, root: Path, ids: Iterable[str]) -> None:
        """Look at a folder of each disk that holds pictures, and at the root.

        Args:
            root: of the pictures.
            ids: of them.
        """
        self._disks: dict[int, tuple[Path, tuple[int, int]]] = {}
        if not is_url(root):
            for above in ("", *sorted({id_.rpartition("/")[0] for id_ in ids})):
                folder = root / path_of_id(above)
                with suppress(OSError):
                    status = folder.stat()
                    if S_ISDIR(status.st_mode):  # and no shard
                        self._disks.setdefault(status.st_dev, (folder, _identity(status)))

    def check(self) -> None:
        """Look at them; called where a picture could not be read.

        Raises:
            SourceGoneError: one is gone, or another folder is in its place.
        """
        for folder, before in self._disks.values():
            now = None
            with suppress(OSError), os.scandir(folder) as entries:
                next(entries, None)  # a disk that is gone may still be in the cache
                now = _identity(folder.stat())
            if now != before:
                raise SourceGoneError(
                    f"{folder} went away while it was being read. What was embedded before is "
                    "safe; run the same command again once it is back"
                )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


@dataclass(frozen=True, slots=True)
class Named:
    """A URL that the user has named to the command, so that workers may fetch from there too."""

    url: str

    def check(self) -> None:
        """Let this process fetch from there."""
        trust(self.url, keep=False)


Witnesses = tuple[Witness | Named, ...]


def of_pictures(root: Path, ids: Iterable[str]) -> Witnesses:
    """Return the first picture that is there, or its shard; and what URLs were named."""
    named = tuple(map(Named, urls()))
    if is_url(root):
        return named
    for id_ in ids:
        path = root / path_of_id(id_)
        found = path if path.is_file() else shard_above(path)
        if found is not None:
            return (Witness(found), *named)
    return named


def of_store(folder: Path) -> Witnesses:
    """Return the journal of a store that is being written, or the record of one that was."""
    for path in (folder / JOURNAL, folder / STORE):
        if path.exists():
            with open_plain(path) as file:
                return (Witness(path, file.read(MOST)),)
    return ()
