"""Exports: a store or a head in the form that other tools read; nothing comes back from there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedkit.errors import InputError
from embedkit.exports.arrays import write_arrays
from embedkit.exports.atlas import KIND as ATLAS
from embedkit.exports.atlas import is_atlas, write_atlas
from embedkit.exports.base import Subject, Written
from embedkit.exports.columns import columns
from embedkit.exports.fiftyone import write_fiftyone
from embedkit.exports.heads import ONNX, export_head
from embedkit.exports.places import new_file, new_folder, with_suffix, write_record
from embedkit.exports.projector import write_projector
from embedkit.exports.tables import KIND as PARQUET
from embedkit.exports.tables import is_table, write_table
from embedkit.heads import Head, load_head
from embedkit.pipeline.progress import OnProgress
from embedkit.reports.exported import Exported
from embedkit.store import Store

__all__ = ["TARGETS", "Exported", "export"]

Write = Callable[[Subject, Path, str], Written]


@dataclass(frozen=True, slots=True)
class Target:
    """A form in which a store can be exported.

    Attributes:
        write: what is given to a file, or into a folder.
        suffix: of the file; empty for a folder.
        is_ours: says whether a file is an earlier export.
    """

    write: Write
    suffix: str = ""
    is_ours: Callable[[Path], bool] = Path.is_dir


TARGETS = {
    PARQUET: Target(write_table, ".parquet", is_table),
    "npy": Target(write_arrays),
    "fiftyone": Target(write_fiftyone),
    ATLAS: Target(write_atlas, ".parquet", is_atlas),
    "projector": Target(write_projector),
}
KINDS = (*TARGETS, ONNX)


def export(
    what: Store | Head | str | Path,
    path: str | Path,
    *,
    to: str,
    backbone: str | None = None,
    label: str = "label",
    images: bool = True,
    blur_faces: bool = False,
    store: str | Path | None = None,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Exported:
    """Write a store, or a head, in the form that another tool reads.

    An earlier export of the same kind is replaced, nothing else is; what is interrupted leaves
    nothing.

    Args:
        what: a store, or a head for `onnx`; or the path of one.
        path: file or folder to write; a file gets the suffix that its tool asks for.
        to: `parquet`, `npy`, `fiftyone`, `atlas`, `projector` or `onnx`.
        backbone: which space of a store; can be left out where there is only one.
        label: column with the class; what an audit by it found goes along.
        images: whether small pictures go along, where the tool can show them.
        blur_faces: whether faces on those are made unrecognisable.
        store: where the store of a head that is given by its path is now.
        seed: of a layout, and of what is drawn where a tool cannot take all.
        progress: is told of long work.

    Raises:
        InputError: no such form, a head where a store is needed or the other way round, or
            something else is at `path` already.
        OutputError: it cannot be written.
    """
    if to not in KINDS:
        raise InputError(f"nothing can be exported to {to!r}; known are {', '.join(KINDS)}")
    path = Path(path)
    if isinstance(what, str | Path):
        what = Path(what)
        what = load_head(what, store=store) if what.is_file() else Store.open(what)
    if isinstance(what, Head):
        if to != ONNX:
            raise InputError(f"{to} takes a store, not a head; a head can be exported to {ONNX}")
        return export_head(what, path)
    if to == ONNX:
        raise InputError(
            f"{ONNX} takes a head, not a store; 'embedkit train {what.path}' makes one and says "
            "where it is"
        )
    space = what.space(backbone)
    known = columns(what, space, label=label)
    return _write(Subject(what, space, known, images, seed, progress, blur_faces), path, to)


def _write(subject: Subject, path: Path, to: str) -> Exported:
    target = TARGETS[to]
    facts = subject.facts()
    if target.suffix:
        path = with_suffix(path, target.suffix)
        with new_file(path, target.is_ours) as file:
            written = target.write(subject, file, str(path))
        paths: tuple[Path, ...] = (path,)
    else:
        with new_folder(path, to) as folder:
            written = target.write(subject, folder, str(path))
            write_record(folder, {"kind": to, **facts})
        paths = tuple(sorted(path.iterdir()))
    n = len(subject.store.items) if written.n is None else written.n
    notes = (*written.notes, *subject.known.notes, written.personal)
    holds = f"{n:,} images in {subject.space.name} ({facts['dimension']})"
    return Exported(to, paths, holds, n, facts, written.opens, notes)
