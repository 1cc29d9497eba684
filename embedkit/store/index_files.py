"""The files of an index and their record: none is believed before its checksum fits."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedkit.errors import StoreError
from embedkit.files import read_plain, remove, sha256_of_file, sync_folder, write_whole
from embedkit.store.made_here import remember
from embedkit.store.schema import (
    INDEX,
    INDEX_RECORD,
    SCHEMA,
    as_sealed,
    check_form,
    plain_name,
    sealed,
    unsealed,
)

# What a record must hold at the least; see `check_form`.
_FORM = {
    "faiss": str,
    "vectors_sha256": str,
    "files": [{"file": str, "n": int, "sha256": str}],
    "type": str,
    "asked": str,
    "memory": int,
    "seed": int,
    "effort": int,
}


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A file of an index, over some rows of the space, and what its bytes must hash to."""

    file: str
    n: int
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """The content of `index.json`.

    Attributes:
        faiss: version that wrote the files.
        vectors_sha256: stands for the vectors that they were made from.
        files: in the order of the rows.
        type: of the index; see `IndexPlan`.
        asked: type asked for, which the next one of this space will have.
        memory: bytes allowed for making it.
        seed: of the sample that lists were learned from.
        effort: lists looked through for a query (ivf, ivfpq), or rows held (hnsw).
        recall: share of the nearest rows that it finds, measured; None where it is exact.
        measured: the sample: `rows` that were asked for their `k` nearest.
    """

    faiss: str
    vectors_sha256: str
    files: tuple[IndexFile, ...]
    type: str = "flat"
    asked: str = "flat"
    memory: int = 0
    seed: int = 0
    effort: int = 0
    recall: float | None = None
    measured: dict[str, int] | None = None

    def write(self, folder: Path) -> None:
        """Write it beside its files, and remove those of an index that was there before."""
        data = sealed(asdict(self) | {"schema": SCHEMA})
        write_whole(folder / INDEX_RECORD, data)
        if self.type != "flat":
            remember(data)
        named = {one.file for one in self.files}
        for path in folder.glob("index*.faiss"):
            if path.name not in named:
                remove(path)
                sync_folder(folder)


def index_name(place: int, files: int) -> str:
    """Return the name of a file of an index."""
    return INDEX if files == 1 else f"index-{place:05d}.faiss"


def read_record(folder: Path) -> IndexRecord | None:
    """Return the record of a space's index, also of other vectors; None where there is none."""
    try:
        return parsed(read_plain(folder / INDEX_RECORD), folder)
    except (OSError, StoreError):
        return None


def parsed(data: bytes, folder: Path) -> IndexRecord:
    """Return the record that `index.json` holds.

    Raises:
        StoreError: it is damaged.
    """
    path = folder / INDEX_RECORD
    fields = unsealed(data, path)
    del fields["schema"]
    if "files" not in fields:  # as written before there was more than one kind
        flat: dict[str, Any] = dict.fromkeys(("type", "asked"), "flat")
        flat |= dict.fromkeys(("memory", "seed", "effort"), 0)
        file = {"file": INDEX, "n": -1, "sha256": fields.pop("sha256", None)}
        fields = flat | fields | {"files": [file]}
    check_form(fields, _FORM, path)
    files = tuple(IndexFile(one["file"], one["n"], one["sha256"]) for one in fields["files"])
    if not files or not all(plain_name(one.file) for one in files):
        raise StoreError(f"{path} contradicts itself")
    known = {name: fields[name] for name in IndexRecord.__slots__ if name in fields}
    return IndexRecord(**known | {"files": files})


def has_index(folder: Path, vectors_sha256: str) -> bool:
    """Say whether a space's index is there, whole and of these vectors."""
    return not index_faults(folder, vectors_sha256)


def index_faults(folder: Path, vectors_sha256: str) -> list[str]:
    """Check a space's index and return what is wrong with it; [] if it is whole.

    Every file is read once, from one end to the other.
    """
    path, again = folder / INDEX_RECORD, "the next 'embedkit embed' makes the index again"
    try:
        data = read_plain(path)
        record = parsed(data, folder)
        if not as_sealed(data, unsealed(data, path)):
            return [f"{path} has other bytes than embedkit wrote; {again}"]
    except FileNotFoundError:
        return [f"{path} is missing; {again}"]
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}; {again}"]
    except StoreError as error:
        return [f"{error}; {again}"]
    if record.vectors_sha256 != vectors_sha256:
        return [f"{path} is of other vectors; {again}"]
    faults = []
    for one in record.files:
        try:
            if sha256_of_file(folder / one.file) != one.sha256:
                faults.append(f"{folder / one.file} is damaged: its checksum does not fit; {again}")
        except FileNotFoundError:
            faults.append(f"{folder / one.file} is missing; {again}")
        except OSError as error:
            faults.append(f"{folder / one.file} cannot be read: {error.strerror}; {again}")
    return faults
