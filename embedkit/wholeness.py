"""Whether a store is whole: every file in its folder, and nothing beside them."""

from pathlib import Path

from embedkit.audits.kept import FOLDER as AUDITS
from embedkit.audits.kept import kept_faults
from embedkit.audits.ticks import FILE as REVIEWS
from embedkit.audits.ticks import ticks_faults
from embedkit.errors import StoreError
from embedkit.files import read_plain, sha256_of_file
from embedkit.heads.saving import SUFFIX, head_faults
from embedkit.store import Store
from embedkit.store.augmented import ORIGINALS, VIEWS, augmented_faults
from embedkit.store.augmented import RECORD as AUGMENTED
from embedkit.store.index_files import read_record
from embedkit.store.schema import (
    HEADS,
    INDEX_RECORD,
    ITEMS,
    JOURNAL,
    LOCK,
    NEXT,
    SPACE,
    STORE,
    UNREADABLE,
    as_sealed,
    check_form,
    unsealed,
)

FINETUNED = "finetune.json"
FINETUNED_SCHEMA = "embedkit.finetune/1"
MOVE = "move it elsewhere, or delete it"
# What a run that has not ended names in its journal.
UNFINISHED = ("block-*.parquet", "faces-*.parquet", "vectors-*.npy")


def faults_of(store: Store) -> list[str]:
    """Check everything in a store's folder and return what is wrong with it; [] if nothing is.

    What stands beside a head and is never read again (its card, figures, guesses) has no checksum
    and is not checked. A head, a finding or an answer that is gone as a whole leaves no trace.
    """
    faults, folder = store.verify(), _Folder(store)
    # A record that could be read before and cannot be now.
    unread = [one for one in folder.unread if not any(str(one) in fault for fault in faults)]
    return [*faults, *(f"{one} cannot be read" for one in unread), *folder.faults()]


class _Folder:
    """What a store and what is kept beside it account for in its folder."""

    def __init__(self, store: Store) -> None:
        self._root = store.path
        self._spaces = {space.folder for space in store.spaces.values()}
        self._unfinished = (store.path / JOURNAL).exists()
        named = (STORE, ITEMS, UNREADABLE, JOURNAL, LOCK)
        self._named = {store.path / name for name in named}  # those that `verify` checks
        self.unread: list[Path] = []
        for space in store.spaces.values():
            index = read_record(space.folder)
            names = {SPACE, INDEX_RECORD, AUGMENTED, ORIGINALS}
            names |= {shard.file for shard in space.record.shards}
            if index is not None:
                names |= {one.file for one in index.files}
            elif (space.folder / INDEX_RECORD).exists():
                self.unread.append(space.folder / INDEX_RECORD)
                names |= {one.name for one in space.folder.glob("index*")}
            self._named |= {space.folder / name for name in names}

    def faults(self, folder: Path | None = None) -> list[str]:
        """Check what is in a folder, and in those in it."""
        faults, folder = list[str](), folder or self._root
        try:
            inside = sorted(folder.iterdir())
        except OSError as error:
            return [f"{folder} cannot be read: {error.strerror}"]
        for path in inside:
            if path.is_symlink():
                faults.append(f"{path} is a link; a copy of the store would not hold the file")
            elif path.is_file():
                faults += self._of_file(path)
            elif not path.is_dir():
                faults.append(f"{path} is no plain file")
            elif self._expected(path):
                faults += self._of_folder(path)
            elif path.parent == self._root / HEADS:
                faults.append(f"{path} is of no head there, and has no {FINETUNED}; {MOVE}")
            else:
                faults.append(_foreign(path))
        return faults

    def _expected(self, folder: Path) -> bool:
        parts = folder.relative_to(self._root).parts
        if len(parts) == 1:
            return folder in self._spaces or parts[0] in (AUDITS, HEADS, VIEWS)
        if parts[0] == HEADS:
            return self._of_head(parts[1]) or (self._root / HEADS / parts[1] / FINETUNED).exists()
        return parts[0] in (AUDITS, VIEWS) and len(parts) == 2

    def _of_folder(self, folder: Path) -> list[str]:
        faults = self.faults(folder)
        if folder.parent == self._root / VIEWS:
            faults += augmented_faults(folder)
        if folder.parent == self._root / HEADS and (folder / FINETUNED).exists():
            faults += _finetuned_faults(folder)
        return faults

    def _of_file(self, path: Path) -> list[str]:
        if path in self._named or self._left_over(path):
            return []
        if path == self._root / REVIEWS:
            return ticks_faults(path)
        first, *rest = path.relative_to(self._root).parts
        if first == AUDITS and len(rest) == 2 and path.suffix == ".json":
            return kept_faults(path)
        if first == HEADS and len(rest) == 1 and path.suffix == SUFFIX:
            return head_faults(path)
        copies = path.match("augmented-*.npy") or path.name in (AUGMENTED, ORIGINALS)
        if copies and (path.parent in self._spaces or (first == VIEWS and len(rest) == 2)):
            return []  # checked with their folder
        if first == HEADS and (self._of_head(rest[0]) or (path.parent / FINETUNED).exists()):
            return []  # likewise, or beside a head and not read again
        return [_foreign(path)]

    def _of_head(self, name: str) -> bool:
        """Say whether a head has the name of something that stands beside it."""
        own = self._root / HEADS / name
        return any(one.is_file() for one in (own.with_suffix(SUFFIX), own.parent / (name + SUFFIX)))

    def _left_over(self, path: Path) -> bool:
        """Say whether a run that was cut off left a file; the next one goes on or removes it."""
        waiting = self._unfinished and any(path.match(pattern) for pattern in UNFINISHED)
        return waiting or path.suffix in (NEXT, ".tmp")


def _foreign(path: Path) -> str:
    return f"{path} is not of this store: nothing in it names that; {MOVE}"


def _finetuned_faults(folder: Path) -> list[str]:
    """Check a network that was trained on the pictures, and what was written with it."""
    path, again = folder / FINETUNED, "'embedkit finetune' makes it anew"
    try:
        data = read_plain(path)
        record = unsealed(data, path, FINETUNED_SCHEMA)
        check_form(record, {"files": {str: str}}, path)
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}; {again}"]
    except StoreError as error:
        return [str(error)]
    faults = []
    if not as_sealed(data, record):
        faults.append(f"{path} has other bytes than embedkit wrote; {again}")
    for name, hash_ in record["files"].items():
        try:
            if sha256_of_file(folder / name) != hash_:
                faults.append(f"{folder / name} is damaged: its checksum does not fit; {again}")
        except OSError as error:
            faults.append(f"{folder / name} cannot be read: {error.strerror}; {again}")
    known = {FINETUNED, *record["files"]}
    return faults + [_foreign(one) for one in sorted(folder.iterdir()) if one.name not in known]
