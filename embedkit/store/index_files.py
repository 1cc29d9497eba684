"""The files of an index and their record: none is believed before its checksum fits."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedkit.errors import StoreError
from embedkit.files import remove, sha256, sha256_of_file, write_whole
from embedkit.store.schema import INDEX, INDEX_RECORD, SCHEMA, sealed, unsealed


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
        write_whole(folder / INDEX_RECORD, sealed(asdict(self) | {"schema": SCHEMA}))
        named = {one.file for one in self.files}
        for path in folder.glob("index*.faiss"):
            if path.name not in named:
                remove(path)


def index_name(place: int, files: int) -> str:
    """Return the name of a file of an index."""
    return INDEX if files == 1 else f"index-{place:05d}.faiss"


def read_record(folder: Path) -> IndexRecord | None:
    """Return the record of a space's index, also of other vectors; None where there is none."""
    try:
        fields = unsealed((folder / INDEX_RECORD).read_bytes(), folder / INDEX_RECORD)
        return _record(fields)
    except (OSError, StoreError, KeyError, TypeError):
        return None


def _record(fields: dict[str, Any]) -> IndexRecord:
    fields = {name: value for name, value in fields.items() if name != "schema"}
    if "files" not in fields:  # as written before there was more than one kind
        hash_ = fields.pop("sha256")
        return IndexRecord(files=(IndexFile(INDEX, -1, hash_),), **fields)
    files = tuple(IndexFile(**one) for one in fields.pop("files"))
    return IndexRecord(files=files, **fields)


def whole_record(folder: Path, vectors_sha256: str) -> IndexRecord | None:
    """Return the record of an index of these vectors whose files are all whole, else None.

    Every file is read once, from one end to the other.
    """
    record = read_record(folder)
    try:
        whole = (
            record is not None
            and record.vectors_sha256 == vectors_sha256
            and all(sha256_of_file(folder / one.file) == one.sha256 for one in record.files)
        )
    except OSError:
        return None
    return record if whole else None


def read_index(folder: Path, vectors_sha256: str) -> bytes | None:
    """Return the bytes of a space's exact index, or None if there is none, whole and of one file.

    FAISS files carry no checksum, and a third of damaged ones load and answer wrongly, so the
    bytes are checked before FAISS sees them.
    """
    record = read_record(folder)
    if record is None or record.vectors_sha256 != vectors_sha256 or record.type != "flat":
        return None
    if len(record.files) > 1:
        return None
    try:
        data = (folder / record.files[0].file).read_bytes()
    except OSError:
        return None
    return data if sha256(data) == record.files[0].sha256 else None


def has_index(folder: Path, vectors_sha256: str) -> bool:
    """Say whether a space's index is there, whole and of these vectors."""
    return whole_record(folder, vectors_sha256) is not None
