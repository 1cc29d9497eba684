"""Writing a store: blocks are committed one by one to a journal, the whole by one rename.

A block's files are written, flushed and renamed before the journal line that names them with
their checksums; a file that no line names does not exist. The new `items.parquet`, `space.json`
and so on lie beside the old ones as `*.next` when `store.json` is replaced, which is the moment of
commit; only then do they take their final names. So a kill at any point leaves either the old
store or the new one, and the blocks that were done are found again.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from embedkit import files
from embedkit.errors import SpaceMismatchError, StoreError
from embedkit.items import FACES, FACTS, Unreadable
from embedkit.store.blocks import faces_name, facts_name, write_rows
from embedkit.store.index_again import build_again
from embedkit.store.journal import Entry, Journal, told
from embedkit.store.lock import writer_lock
from embedkit.store.schema import (
    ITEMS,
    JOURNAL,
    LOCK,
    NEXT,
    SPACE,
    STORE,
    UNREADABLE,
    UNREADABLE_SCHEMA,
    Shard,
    SpaceRecord,
    StoreRecord,
    parquet_bytes,
    parquet_table,
    plain_name,
)
from embedkit.store.store import Store, read_checked, read_record

FACT_SCHEMA = pa.schema([("id", pa.string()), *FACTS.items()])


@dataclass(frozen=True)
class StoredBlock:
    """Rows that are on disk already, by this run or an earlier one.

    Attributes:
        number: names its files.
        facts: id and facts of its rows.
        shards: its vectors, by space.
    """

    number: int
    facts: pa.Table
    shards: dict[str, Shard]

    @property
    def ids(self) -> list[str]:
        """The images of the block, in order."""
        ids: list[str] = self.facts.column("id").to_pylist()
        return ids


class StoreWriter:
    """The one writer of a store; use it as a context.

    Attributes:
        path: the store's folder, made if it is not there.
        store: the store as it was committed last, or None.
        blocks: what is on disk already, in item order.
        refused: images that a block of the unfinished run found unreadable.
        begun: how the vectors of the unfinished run are made, by space; see `begin`.
        refused_sha256: what the bytes of those were, by id; None where there were none to read.
    """

    def __init__(self, path: Path, *, forgets: bool = False) -> None:
        """Name the store.

        Args:
            path: its folder.
            forgets: whether it finishes a forgetting that was cut off; others are refused then.
        """
        self.path = path
        self._forgets = forgets
        self.store: Store | None = None
        self.blocks: list[StoredBlock] = []
        self.refused: list[Unreadable] = []
        self.refused_sha256: dict[str, str | None] = {}
        self.begun: dict[str, dict[str, Any]] = {}
        self._journaled: set[int] = set()
        self._faces: set[int] = set()
        self._next_number = 0
        self._journal = Journal(path)

    def __enter__(self) -> Self:
        """Take the lock and find what is there.

        Raises:
            StoreError: another process is writing, or the folder holds something else.
        """
        try:
            files.make_folder(self.path, private=True)  # what it says of people is its owner's
            ours = any((self.path / name).exists() for name in (STORE, JOURNAL, LOCK))
            foreign = not ours and any(self.path.iterdir())
            if not ours:  # whoever made it may have died before its name was on disk
                files.sync_folder(self.path.parent)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror}") from None
        if foreign:
            raise StoreError(
                f"{self.path} is a folder with other files in it; a store needs its own"
            )
        for path in self.path.rglob("*"):
            # What is swept or forgotten there would be gone from a folder of somebody else.
            if path.is_symlink() and path.is_dir():
                raise StoreError(
                    f"{path} is a link to a folder; embedkit changes nothing in a store that has "
                    "one. Put the folder itself there, or remove the link"
                )
        with ExitStack() as stack:
            stack.enter_context(writer_lock(self.path, forgets=self._forgets))
            with told(self.path, "read"):
                self._recover()
            self._held = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the lock."""
        self._held.close()

    def next_number(self) -> int:
        """Return a number that no block of this store has or had since its last commit."""
        return self._next_number

    def begin(self, spaces: dict[str, dict[str, Any]]) -> None:
        """Commit to the journal how the vectors that follow are made.

        Args:
            spaces: `contract_sha256`, `backbone` and `made_with` of each; see `SpaceRecord`.

        Raises:
            SpaceMismatchError: the unfinished run that is taken up made some by another contract.
            StoreError: it cannot be written.
        """
        for name, space in spaces.items():
            before = self.begun.get(name, space)
            if before["contract_sha256"] != space["contract_sha256"]:
                raise SpaceMismatchError(
                    f"{self.path} is unfinished, and its vectors of {name} were made with another "
                    "preprocessing or other weights; run it with those again, or delete the folder"
                )
        every = self.begun | spaces
        if every != self.begun:
            self._journal.append({"begun": every})
            self.begun = every

    def add(self, entry: Entry) -> None:
        """Commit a block to the journal, or further vectors of one.

        Args:
            entry: of `write_rows` or `write_vectors`, whichever process called it; the blocks of
                a run come in the order of their numbers.

        Raises:
            StoreError: it cannot be committed; the blocks before it are safe.
        """
        table = self._table(entry)
        self._journal.append(entry)
        self._take(entry, table)

    def keep(self, block: StoredBlock, rows: Sequence[bool]) -> None:
        """Put a block of some rows in the place of a block.

        Args:
            block: that is on disk.
            rows: for each of its rows whether it stays.

        Raises:
            StoreError: it cannot be written.
        """
        mask = np.array(rows)
        vectors = {
            space: np.load(self.path / space / shard.file, allow_pickle=False)[mask]
            for space, shard in block.shards.items()
        }
        facts = block.facts.filter(pa.array(mask))
        number = self.next_number()
        self.add(write_rows(self.path, number, facts, vectors, in_place_of=block.number))

    def commit(
        self,
        items: pa.Table,
        unreadable: Iterable[Unreadable],
        spaces: dict[str, SpaceRecord],
        source: dict[str, Any],
        version: str,
    ) -> Store:
        """Make the blocks the store, drop what it no longer needs, and build the indexes.

        Args:
            items: all columns, a row for each row of the blocks, in order.
            unreadable: images of the source that could not be read.
            spaces: what to keep, by name; shards and n are filled in here.
            source: where the images are and how they were read.
            version: of embedkit.

        Raises:
            StoreError: something cannot be written; the store is what it was, or the new one.
        """
        blocks = [block for block in self.blocks if block.facts.num_rows]
        changed = {
            self.path / ITEMS: parquet_bytes(items),
            self.path / UNREADABLE: parquet_bytes(
                pa.Table.from_pylist([asdict(one) for one in unreadable], UNREADABLE_SCHEMA)
            ),
        }
        records = {
            name: replace(
                record,
                n=items.num_rows,
                shards=tuple(block.shards[name] for block in blocks),
            ).to_bytes()
            for name, record in spaces.items()
        }
        changed |= {self.path / name / SPACE: data for name, data in records.items()}
        record = StoreRecord(
            source=source,
            items={"n": items.num_rows, "sha256": files.sha256(changed[self.path / ITEMS])},
            unreadable={"sha256": files.sha256(changed[self.path / UNREADABLE])},
            blocks=tuple((block.number, block.facts.num_rows) for block in blocks),
            spaces={name: files.sha256(data) for name, data in records.items()},
            embedkit=version,
        )
        if self.store is None or record != self.store.record:
            for path, data in changed.items():
                self._write(path.with_name(path.name + NEXT), data)
            self._write(self.path / STORE, record.to_bytes())
        store = self._settle(record)
        for space in store.spaces.values():
            if not space.has_index():
                with told(space.folder):
                    build_again(space)
        return store

    def abandon(self) -> None:
        """Forget the unfinished run, so that the next one begins anew.

        Raises:
            StoreError: its journal cannot be removed.
        """
        self._journal.clear()

    def _recover(self) -> None:
        """Finish a commit that was cut off, read the journal, remove what nothing names."""
        if (self.path / STORE).exists():
            record = read_record(self.path)
            self._finish_renames(record)
            self.store = Store.open(self.path)
            self.blocks = self._committed_blocks(self.store)
            self._next_number = 1 + max((block.number for block in self.blocks), default=-1)
        self._journal.replay(self._replay)
        self._sweep()

    def _committed_blocks(self, store: Store) -> list[StoredBlock]:
        facts = store.items.rows.select(FACT_SCHEMA.names)
        blocks, start = [], 0
        for place, (number, n) in enumerate(store.record.blocks):
            # A damaged shard counts as missing, so that it is made anew.
            shards = {
                name: space.record.shards[place]
                for name, space in store.spaces.items()
                if space.shard_fits(place)
            }
            blocks.append(StoredBlock(number, facts.slice(start, n), shards))
            start += n
        return blocks

    def _replay(self, entry: Entry) -> bool:
        """Take over what a journal line says, if its files are there and whole."""
        try:
            if "begun" in entry:
                self.begun = {name: dict(made) for name, made in entry["begun"].items()}
                return True
            for space, shard in entry["shards"].items():
                if not (plain_name(space) and plain_name(shard["file"])):
                    return False
                if files.sha256_of_file(self.path / space / shard["file"]) != shard["sha256"]:
                    return False
            self._take(entry, self._table(entry))
        except (FileNotFoundError, StoreError, StopIteration):
            return False
        except (KeyError, TypeError, ValueError, AttributeError):  # no entry as embedkit writes it
            return False  # but what cannot be read now may be read by the next run
        return True

    def _table(self, entry: Entry) -> pa.Table | None:
        """Read the facts, or the faces, of a block from the file that was written for it."""
        given = entry.get("facts", entry.get("faces"))
        if given is None:
            return None
        return parquet_table(read_checked(self.path / given["file"], given["sha256"]))

    def _take(self, entry: Entry, table: pa.Table | None) -> None:
        number = entry["number"]
        shards = {space: Shard(**shard) for space, shard in entry["shards"].items()}
        if "facts" not in entry:
            self._extend(number, shards, table)
            return
        self._place(StoredBlock(number, table, shards), entry["in_place_of"])
        self._journaled.add(number)
        self._refuse(
            {Unreadable(one["id"], one["reason"]): one["sha256"] for one in entry["refused"]}
        )

    def _refuse(self, refused: Mapping[Unreadable, str | None]) -> None:
        self.refused += refused
        self.refused_sha256 |= {one.id: hash_ for one, hash_ in refused.items()}

    def _place(self, block: StoredBlock, in_place_of: int | None) -> None:
        self._next_number = max(self._next_number, block.number + 1)
        if in_place_of is None:
            self.blocks.append(block)
        else:
            self.blocks[self._position(in_place_of)] = block

    def _extend(self, number: int, shards: dict[str, Shard], faces: pa.Table | None) -> None:
        place = self._position(number)
        block = self.blocks[place]
        facts = block.facts
        if faces is not None:
            self._faces.add(number)
            for name in FACES:
                at = facts.schema.get_field_index(name)
                facts = facts.set_column(at, FACT_SCHEMA.field(name), faces.column(name))
        self.blocks[place] = replace(block, facts=facts, shards=block.shards | shards)

    def _position(self, number: int) -> int:
        return next(i for i, block in enumerate(self.blocks) if block.number == number)

    def _write(self, path: Path, data: bytes) -> None:
        with told(path):
            files.write_whole(path, data)

    def _finish_renames(self, record: StoreRecord) -> None:
        expected = {
            self.path / ITEMS: record.items["sha256"],
            self.path / UNREADABLE: record.unreadable["sha256"],
        } | {self.path / name / SPACE: sha for name, sha in record.spaces.items()}
        for path, sha in expected.items():
            waiting = path.with_name(path.name + NEXT)
            with told(path):
                if waiting.exists() and files.sha256_of_file(waiting) == sha:
                    files.rename(waiting, path)
                    files.sync_folder(path.parent)

    def _settle(self, record: StoreRecord) -> Store:
        """Give a commit's files their names and remove what belongs to no store any more."""
        self._finish_renames(record)
        self._journal.clear()
        self.store = Store.open(self.path)
        self.blocks = self._committed_blocks(self.store)
        self.refused, self.refused_sha256, self.begun = [], {}, {}
        self._journaled, self._faces = set(), set()
        self._sweep()
        return self.store

    def _sweep(self) -> None:
        """Remove files that neither `store.json` nor the journal names."""
        named = {
            self.path / space / shard.file
            for block in self.blocks
            for space, shard in block.shards.items()
        }
        named |= {self.path / facts_name(number) for number in self._journaled}
        named |= {self.path / faces_name(number) for number in self._faces}
        if self.store is not None:
            named |= {
                space.folder / shard.file
                for space in self.store.spaces.values()
                for shard in space.record.shards
            }
        patterns = ("vectors-*.npy", f"*{NEXT}", ".*.tmp", "block-*.parquet", "faces-*.parquet")
        with told(self.path):
            folders = [self.path, *(path for path in self.path.iterdir() if path.is_dir())]
            for folder in folders:
                found = {path for pattern in patterns for path in folder.glob(pattern)}
                for path in sorted(found - named):
                    files.remove(path)
                if found - named:
                    files.sync_folder(folder)  # or what was forgotten may come back
