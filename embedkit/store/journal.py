"""The journal of an unfinished run: a line for every block that is safe on disk.

The first line names the store that the run went on from; once that has been committed over, the
journal is done with. Every line carries its own checksum, so a line that a kill tore is none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedkit import files
from embedkit.errors import StoreError
from embedkit.store.schema import JOURNAL, SCHEMA, STORE, sealed, unsealed

Entry = dict[str, Any]


class Journal:
    """The journal of one store's folder."""

    def __init__(self, folder: Path) -> None:
        self._store = folder / STORE
        self._path = folder / JOURNAL

    def append(self, entry: Entry) -> None:
        """Add a line, and wait until it is on disk.

        Raises:
            StoreError: it cannot be written.
        """
        first = [] if self._path.exists() else [{"base": self._base()}]
        with told(self._path):
            for record in (*first, entry):
                files.append_durably(self._path, journal_line(record))
            files.sync_folder(self._path.parent)

    def replay(self, take: Callable[[Entry], bool]) -> None:
        """Hand over the entries in order up to the first that does not hold; cut off the rest.

        Args:
            take: takes an entry over, or says that what it names is not there.

        Raises:
            StoreError: the rest cannot be cut off.
        """
        with told(self._path, "read"):
            try:
                content = files.read_plain(self._path)
            except FileNotFoundError:
                return
        end = 0  # of what holds; joined line by line, the time would grow with their square
        for place, line in enumerate(content.split(b"\n")[:-1]):  # what follows is torn
            try:
                entry = unsealed(line, self._path)
            except StoreError:
                break
            if not (take(entry) if place else entry.get("base") == self._base()):
                break
            end += len(line) + 1
        if not end:
            self.clear()
        elif end != len(content):
            with told(self._path):
                files.write_whole(self._path, content[:end])

    def clear(self) -> None:
        """Remove the journal: what it named is committed, or gone.

        Raises:
            StoreError: it cannot be removed.
        """
        with told(self._path):
            files.remove(self._path)

    def _base(self) -> str | None:
        """Return the hash of the store that the journal goes on from."""
        return files.sha256_of_file(self._store) if self._store.exists() else None


def journal_line(entry: Entry) -> bytes:
    """Return an entry as one sealed line."""
    return sealed({"schema": SCHEMA} | entry, indent=None)


@contextmanager
def told(path: Path, done: str = "written") -> Iterator[None]:
    """Turn the operating system's errors into one that names the file and the way out."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} cannot be {done}: {error.strerror or error}. What was committed before is "
            "safe; run the same command again once that is mended"
        ) from None
