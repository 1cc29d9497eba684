"""Where an export goes: whole or not at all, and never in the place of somebody else's file."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedkit.errors import InputError, OutputError
from embedkit.files import growing, rename, sync_folder
from embedkit.reports.exported import SCHEMA

RECORD = "embedkit.json"


@contextmanager
def new_file(path: Path, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Give a name to write a file to; it becomes `path` when the block ends well.

    Args:
        path: of the file; an earlier export there is replaced.
        is_ours: says whether a file is an earlier export.

    Raises:
        InputError: there is something else already.
        OutputError: it cannot be written.
    """
    if path.exists() and not (path.is_file() and is_ours(path)):
        raise _in_the_way(path)
    with _said_in_one_line(path), growing(path) as temporary:
        yield temporary


@contextmanager
def new_folder(path: Path, kind: str) -> Iterator[Path]:
    """Give a folder to write files to; it becomes `path` when the block ends well.

    Nothing is left of it after an exception. A run that was killed leaves a hidden folder without
    `RECORD`, which the next one removes.

    Args:
        path: of the folder; an earlier export there is replaced, an empty folder too.
        kind: of the export.

    Raises:
        InputError: there is something else already.
        OutputError: it cannot be written.
    """
    _check_name(path)
    if path.is_symlink() or (path.exists() and not (path.is_dir() and _may_go(path, kind))):
        raise _in_the_way(path)
    path = path.absolute()
    temporary, old = (path.with_name(f".{path.name}.{end}") for end in ("tmp", "old"))
    with _said_in_one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left_over in (temporary, old):
            if os.path.lexists(left_over) and not _is_left_over(left_over):
                raise _in_the_way(left_over)
        if old.exists() and not path.exists():  # a run was killed between its two renames
            rename(old, path)
        for left_over in (temporary, old):
            shutil.rmtree(left_over, ignore_errors=True)
        temporary.mkdir()
        write_record(temporary, {"kind": kind})
        try:
            yield temporary
            _sync(temporary)
            if path.exists():
                rename(path, old)
            try:
                rename(temporary, path)
            except OSError:
                if old.exists():
                    rename(old, path)
                raise
            sync_folder(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def with_suffix(path: Path, suffix: str) -> Path:
    """Return the file that is written under a name, with or without its suffix.

    Raises:
        InputError: it is no name of a file.
    """
    _check_name(path)
    return path if path.suffix == suffix else path.with_name(path.name + suffix)


def write_record(folder: Path, document: dict[str, Any]) -> None:
    """Write what an export is into its folder, with the files that are its own."""
    files = sorted(one.name for one in folder.iterdir() if one.name != RECORD)
    text = json.dumps({"schema": SCHEMA, **document, "files": files}, indent=1, allow_nan=False)
    (folder / RECORD).write_text(f"{text}\n")


def _check_name(path: Path) -> None:
    if path.name in ("", ".."):
        raise InputError(
            f"-o {path} names nothing that could be written; give it a name of its own"
        )


def _is_left_over(folder: Path) -> bool:
    """Say whether a hidden folder is what a run that was killed has left, and not somebody's."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        return bool(json.loads((folder / RECORD).read_bytes())["schema"] == SCHEMA)
    except (OSError, ValueError, KeyError, TypeError):
        return not any(folder.iterdir())


def _may_go(folder: Path, kind: str) -> bool:
    """Say whether a folder is empty, or such an export to which nobody has added anything."""
    there = {one.name for one in folder.iterdir()}
    if not there:
        return True
    try:
        record = json.loads((folder / RECORD).read_bytes())
        own = (record["schema"], record["kind"]) == (SCHEMA, kind)
        return own and there <= {RECORD, *record["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _in_the_way(path: Path) -> InputError:
    return InputError(
        f"{path} is there already and is no export of this kind that could be replaced; name "
        "another place with -o, or move it away"
    )


@contextmanager
def _said_in_one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


def _sync(folder: Path) -> None:
    """Wait until the files of a folder are on disk."""
    for one in folder.iterdir():
        descriptor = os.open(one, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_folder(folder)
