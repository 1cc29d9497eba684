"""The only way embedkit changes files: whole or not at all, and durable before it is announced."""

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embedkit.errors import OutputError

Buffer = bytes | memoryview


def write_whole(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, so that a reader sees the old bytes or the new, never a part.

    The bytes are on disk before the name is: a temporary file is written, flushed, renamed, and
    the folder is flushed after it.

    Raises:
        OSError: no space, no permission, a broken disk; `path` is then what it was before.
    """
    write_parts(path, [data])


def write_beside_others(path: Path, data: bytes) -> None:
    """Do the same where another process, perhaps of another machine, may be writing `path` too.

    The temporary file is this call's alone; what a kill leaves of it has to be swept by its owner.

    Raises:
        OSError: as `write_whole`.
    """
    _write_parts(path, [data], path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp"))


def write_parts(path: Path, parts: Iterable[Buffer]) -> str:
    """Do the same as `write_whole` for bytes in parts, and return the SHA-256 of them all.

    Raises:
        OSError: as `write_whole`.
    """
    return _write_parts(path, parts, path.with_name(f".{path.name}.tmp"))


def _write_parts(path: Path, parts: Iterable[Buffer], temporary: Path) -> str:
    digest = hashlib.sha256()

    def counted() -> Iterator[Buffer]:
        for part in parts:
            digest.update(part)
            yield part

    try:
        write_durably(temporary, counted())
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return digest.hexdigest()


def make_folder(path: Path) -> None:
    """Make a folder and those above it; below one that only its owner may enter, they are such too.

    Raises:
        OSError: one cannot be made, or is a file.
    """
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(0o700 if _is_private(path.parent) else 0o777, exist_ok=True)


def _is_private(folder: Path) -> bool:
    """Say whether only the owner of a folder may enter it, as of every store."""
    return not folder.stat().st_mode & 0o077


def check_place(path: Path) -> None:
    """Refuse a file that cannot be written where it is asked for, before the work.

    Raises:
        OutputError: it is a folder, or what should be a folder above it is none.
    """
    if not path.name or path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    above = next((one for one in path.parents if one.exists()), None)
    if above is not None and not above.is_dir():
        raise OutputError(f"{path} cannot be written: {above} is a file")
    effective = os.access in os.supports_effective_ids
    if above is not None and not os.access(above, os.W_OK, effective_ids=effective):
        raise OutputError(f"{path} cannot be written: Permission denied")


def write_output(path: Path, data: bytes) -> Path:
    """Write a file that the user asked for, making its folder, and return its path.

    Raises:
        OutputError: it cannot be written.
    """
    check_place(path)
    try:
        make_folder(path.parent)
        write_whole(path, data)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    return path


@contextmanager
def growing(path: Path) -> Iterator[Path]:
    """Give a name to write a long file to; it becomes `path` when the block ends well.

    After an exception, an interruption among them, nothing is left of it.

    Raises:
        OutputError: the folder cannot be made, or the file cannot be renamed.
    """
    if not path.name or path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # of a run that was killed, or a link to elsewhere
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    try:
        yield temporary
        try:
            _sync(temporary)
            rename(temporary, path)
            sync_folder(path.parent)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_durably(path: Path, parts: Iterable[Buffer]) -> None:
    """Write `parts` to `path` and wait until they are on disk."""
    _write(path, parts, os.O_TRUNC)


def append_durably(path: Path, data: bytes) -> None:
    """Add `data` at the end of `path` and wait until it is on disk."""
    _write(path, [data], os.O_APPEND)


def _write(path: Path, parts: Iterable[Buffer], how: int) -> None:
    # A link that somebody put there would lead the bytes into another file.
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | how
    # A copy of a private folder may lose its own rights on the way; its files then keep theirs.
    descriptor = os.open(path, flags, 0o600 if _is_private(path.parent) else 0o666)
    try:
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(old: Path, new: Path) -> None:
    """Give a file its final name."""
    os.replace(old, new)  # noqa: PTH105 (one seam for the fault tests)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on disk."""
    _sync(folder, os.O_DIRECTORY)


def _sync(path: Path, how: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | how)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(data: Buffer) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal, without loading it whole."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
