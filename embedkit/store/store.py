"""Reading a store: nothing is believed before its checksum fits."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit

import numpy as np
import pyarrow as pa

from embedkit.errors import EmbedkitError, InputError, StoreError, StoreSchemaError
from embedkit.files import READ, content, open_plain, read_plain, sha256, sha256_of_file
from embedkit.items import GIVEN, ItemTable, Unreadable
from embedkit.matrices import Matrix, large
from embedkit.results import Result
from embedkit.rows import Rows
from embedkit.store.augmented import Augmented, augmented_faults, read_augmented
from embedkit.store.columns import Columns
from embedkit.store.index import NeighbourIndex
from embedkit.store.index_files import IndexRecord, has_index, index_faults
from embedkit.store.index_files import read_record as read_index_record
from embedkit.store.index_search import StoredIndex, open_index
from embedkit.store.scan import Scan
from embedkit.store.schema import (
    AGAIN,
    ITEMS,
    JOURNAL,
    NEXT,
    SPACE,
    STORE,
    UNREADABLE,
    SpaceRecord,
    StoreRecord,
    as_sealed,
    decoding,
    npy_rows,
    parquet_table,
    unsealed,
)
from embedkit.vectors import FloatArray, check_unit_rows

READ_TRIES = 20
HASHES = ("sha256", "pixel_sha256")  # columns that tell pictures apart
HELD = 128  # shards mapped at once, at most; each keeps a file open
OF_FILES = 8  # the part of the files that a process may have open; a store may have several spaces


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An image of the store near another one.

    Attributes:
        id: of the neighbour.
        label: that it carries in the column asked for.
        split: that it belongs to.
        similarity: cosine, -1 to 1.
    """

    id: str
    label: str | None
    split: str | None
    similarity: float


class Space:
    """The vectors of one backbone and preprocessing, a row for each item of the store."""

    def __init__(self, folder: Path, record: SpaceRecord) -> None:
        self.folder = folder
        self.record = record
        self.index_note = ""  # why `stored_index` is not the index that was made, once it is asked

    @property
    def name(self) -> str:
        """What the space is called, as in `--backbone`."""
        return self.record.name

    @property
    def contract_sha256(self) -> str:
        """Hash of everything that two spaces must share for their vectors to be comparable."""
        return self.record.contract_sha256

    @cached_property
    def vectors(self) -> FloatArray:
        """All vectors in item order: (n, d) float32, unit rows, read-only.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        if len(self.record.shards) == 1:
            return self.shard(0)
        rows, start = np.empty((self.record.n, self.record.dimension), np.float32), 0
        for part in self.shards():
            rows[start : start + len(part)] = part
            start += len(part)
        rows.flags.writeable = False
        return rows

    @cached_property
    def rows(self) -> Rows:
        """The same vectors, shard by shard as they are asked for; mapped where they are many.

        Each shard is checked when it is first asked for, and again if it is another file when it
        has been let go since.

        Raises:
            StoreError: on use: a shard is missing or damaged.
        """
        checked: dict[int, tuple[int, int, int]] = {}

        def mapped(place: int) -> FloatArray:
            path = self.folder / self.record.shards[place].file
            with self._as_opened(path):
                with open_plain(path) as file:
                    found = os.fstat(file.fileno())
                    data = content(file, 0)
                now = found.st_ino, found.st_size, found.st_mtime_ns
                if checked.get(place) == now:
                    return self._rows(place, data)
                rows = self._checked(place, data)
            checked[place] = now
            return rows

        few = 4 * self.record.n * self.record.dimension <= READ
        held = lru_cache(_held())(self.shard if few else mapped)
        return Rows(held, [shard.n for shard in self.record.shards], self.record.dimension)

    @property
    def matrix(self) -> Matrix:
        """The same as `vectors`, but read from the shards row by row where they are too many."""
        return self.rows if large(self.record.n) else self.vectors

    @property
    def vectors_sha256(self) -> str:
        """Hash over the hashes of all shards."""
        return sha256("\n".join(shard.sha256 for shard in self.record.shards).encode())

    @cached_property
    def index(self) -> NeighbourIndex:
        """Exact nearest neighbours, from the vectors: its file is for others than embedkit."""
        return NeighbourIndex(self.vectors)

    @cached_property
    def stored_index(self) -> StoredIndex | NeighbourIndex | Scan:
        """What a search goes by: the index that was made for this space, or else all vectors.

        Audits, maps and heads go by `index`, which leaves nothing out.
        """
        try:
            stored = open_index(self.folder, self.rows, self.vectors_sha256)
        except StoreError as error:
            self.index_note = f"{error}; every image is compared instead"
            stored = None
        if stored is not None:
            return stored
        return Scan(self.rows) if large(self.record.n) else self.index

    @property
    def index_record(self) -> IndexRecord | None:
        """What is known of the index of these vectors; its files are not looked at."""
        record = read_index_record(self.folder)
        return record if record and record.vectors_sha256 == self.vectors_sha256 else None

    @cached_property
    def augmented(self) -> Augmented | None:
        """Vectors of altered copies of training images, if there are any.

        Raises:
            StoreError: they are damaged.
        """
        return read_augmented(self.folder, self.contract_sha256)

    def has_index(self) -> bool:
        """Say whether the index file is there, whole and of these vectors."""
        return has_index(self.folder, self.vectors_sha256)

    def shards(self) -> Iterator[FloatArray]:
        """Yield the vectors shard by shard, each checked.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        for place in range(len(self.record.shards)):
            yield self.shard(place)

    def shard_fits(self, place: int) -> bool:
        """Say whether a shard is there and has the bytes that were committed."""
        shard = self.record.shards[place]
        try:
            return sha256_of_file(self.folder / shard.file) == shard.sha256
        except OSError:
            return False

    def shard(self, place: int) -> FloatArray:
        """Return the vectors of one shard; see `shards`."""
        path = self.folder / self.record.shards[place].file
        with self._as_opened(path), open_plain(path) as file:
            return self._checked(place, content(file))

    def _checked(self, place: int, data: memoryview) -> FloatArray:
        """Return a shard's vectors from its bytes, the same that are checked."""
        shard = self.record.shards[place]
        path = self.folder / shard.file
        if sha256(data) != shard.sha256:
            raise StoreError(_unfit(path))
        rows = self._rows(place, data)
        try:
            return check_unit_rows(rows, self.record.dimension)
        except EmbedkitError as error:
            raise StoreError(f"{path}: {error}; {AGAIN}") from None

    def _rows(self, place: int, data: memoryview) -> FloatArray:
        shard = self.record.shards[place]
        with decoding(str(self.folder / shard.file)):
            return npy_rows(data, shard.n, self.record.dimension)

    @contextmanager
    def _as_opened(self, path: Path) -> Iterator[None]:
        """Say what is wrong with a file: the store may be another one since it was opened."""
        try:
            with _told(path):
                yield
        except StoreError:
            with suppress(OSError):
                if read_plain(self.folder / SPACE) != self.record.to_bytes():
                    raise StoreError(
                        f"{self.folder.parent} was changed by another process since it was "
                        "opened; run it again"
                    ) from None
            raise


def _held() -> int:
    """Return how many shards are mapped at once."""
    most, _ = getrlimit(RLIMIT_NOFILE)
    return HELD if most == RLIM_INFINITY else max(1, min(HELD, most // OF_FILES))


class Store(Result):
    """A built store, opened for reading; any number of readers may do so beside one writer.

    Attributes:
        path: its folder.
        record: the content of `store.json`.
        items: its images, with labels, splits, attributes and facts.
        unreadable: the images of the source that could not be read, and why.
    """

    def __init__(
        self,
        path: Path,
        record: StoreRecord,
        items: ItemTable,
        unreadable: tuple[Unreadable, ...],
        spaces: dict[str, Space],
    ) -> None:
        self.path = path
        self.record = record
        self.items = items
        self.unreadable = unreadable
        self.spaces = spaces

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open a store and check the hash of everything but the shards, checked when first used.

        Raises:
            StoreSchemaError: there is no store, or one of another schema.
            StoreError: a file is missing or damaged.
        """
        folder = Path(path)
        for _ in range(READ_TRIES):
            record = read_record(folder)
            try:
                return cls._read(folder, record)
            except StoreError:
                # A writer may have replaced the files between two looks; then so has store.json.
                time.sleep(0.01)
                if read_record(folder) == record:
                    raise
        raise StoreError(f"{folder} changed {READ_TRIES} times while it was being opened")

    @classmethod
    def _read(cls, folder: Path, record: StoreRecord) -> "Store":
        rows = Columns(map_checked(folder / ITEMS, record.items["sha256"]))
        if rows.num_rows != record.items["n"] or not {*GIVEN, *HASHES} <= {*rows.column_names}:
            raise StoreError(f"{folder / ITEMS} does not go with {STORE}; {AGAIN}")
        missing = read_checked(folder / UNREADABLE, record.unreadable["sha256"])
        with decoding(str(folder / UNREADABLE)):
            unreadable = tuple(Unreadable(**row) for row in parquet_table(missing).to_pylist())
        lengths = [n for _, n in record.blocks]
        spaces = {}
        for name, expected in record.spaces.items():
            path = folder / name / SPACE
            space = SpaceRecord.from_bytes(read_checked(path, expected), path)
            if space.name != name or [shard.n for shard in space.shards] != lengths:
                raise StoreError(f"{path} does not go with {STORE}; {AGAIN}")
            spaces[name] = Space(folder / name, space)
        items = ItemTable(Path(record.source["path"]), rows, layout=record.source["layout"])
        return cls(folder, record, items, unreadable, spaces)

    @property
    def name(self) -> str:
        """What to call it: its data set's folder; of a store made from others, its own."""
        made = "made_from" in self.record.source
        return self.path.resolve().name if made else self.items.root.name

    def space(self, name: str | None = None) -> Space:
        """Return one space; the name can be left out where there is only one.

        Raises:
            InputError: no such space, or several and no name.
        """
        known = ", ".join(self.spaces)
        if name is None and len(self.spaces) > 1:
            raise InputError(
                f"{self.path} holds several spaces ({known}); name one with --backbone"
            )
        if name is None:
            return next(iter(self.spaces.values()))
        meant = [
            space
            for space in self.spaces.values()
            if name in (space.name, full := space.record.backbone["name"])
            or full.startswith(f"{name}:")
        ]
        exact = [space for space in meant if space.name == name]
        if len(exact or meant) > 1:
            raise InputError(
                f"{self.path} holds several spaces of {name!r}: "
                f"{', '.join(space.name for space in meant)}; name one with --backbone"
            )
        if not meant:
            raise InputError(
                f"{self.path} holds no space {name!r}, only {known}; 'embedkit embed "
                f"{self.record.source['given']} -o {self.path} -b {name}' adds it"
            )
        return (exact or meant)[0]

    @property
    def index_notes(self) -> list[str]:
        """Why indexes that were made are not searched, of the spaces that were searched so far."""
        return [space.index_note for space in self.spaces.values() if space.index_note]

    def verify(self) -> list[str]:
        """Check records, vectors, indexes and altered copies; return what is wrong, [] if nothing.

        `embedkit.wholeness.faults_of` checks everything that lies in the folder.
        """
        faults = []
        path = self.path / STORE
        with suppress(OSError):
            if not as_sealed(data := read_plain(path), unsealed(data, path)):
                faults.append(f"{path} has other bytes than embedkit wrote; {AGAIN}")
        for space in self.spaces.values():
            for place in range(len(space.record.shards)):
                try:
                    space.shard(place)
                except StoreError as error:
                    faults.append(str(error))
            faults += index_faults(space.folder, space.vectors_sha256)
            faults += augmented_faults(space.folder)
        return faults


def _unfit(path: Path) -> str:
    why = "its checksum does not fit; 'embedkit embed' makes it anew"
    return f"{path} is missing or damaged: {why}"


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise StoreError(_unfit(path)) from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None


def read_record(folder: Path) -> StoreRecord:
    """Read and check `store.json`.

    Raises:
        StoreSchemaError: there is none, or one of another schema.
        StoreError: it is damaged.
    """
    path = folder / STORE
    try:
        data = read_plain(path)
    except (FileNotFoundError, NotADirectoryError):
        if (folder / JOURNAL).exists():
            reason = "is an unfinished store; run the same 'embedkit embed' again to finish it"
        elif folder.exists():
            reason = f"is no store: it has no {STORE}"
        else:
            reason = "does not exist; 'embedkit embed' makes a store"
        raise StoreSchemaError(f"{folder} {reason}") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    return StoreRecord.from_bytes(data, path)


def read_checked(path: Path, expected: str) -> bytes:
    """Read a file of the store whose hash is known.

    A commit names the new files in `store.json` before it gives them their final names, so the
    bytes may still be under the name with `.next`.

    Raises:
        StoreError: neither name holds the expected bytes.
    """
    return bytes(map_checked(path, expected).to_pybytes())


def map_checked(path: Path, expected: str) -> pa.Buffer:
    """Read a file whose hash is known, or map it where it is large; see `read_checked`."""
    reason = "is missing"
    for name in (path, path.with_name(path.name + NEXT), path):
        try:
            with open_plain(name) as file:
                # What is mapped stays as it is when a writer gives its name to another file.
                data = content(file)
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
            continue
        if sha256(data) == expected:
            return pa.py_buffer(data)
        reason = (
            f"is damaged: its checksum does not fit, or {STORE} is of another time; bring both "
            "back from a copy, or delete the store and run 'embedkit embed' again"
        )
    raise StoreError(f"{path} {reason}")
