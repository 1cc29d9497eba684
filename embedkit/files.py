"""The only way embedkit changes files: whole or not at all, and durable before it is announced.

Every change goes through `os` of this module, which tests replace to fail, kill, or forget what was
not yet on disk.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from mmap import ACCESS_READ, mmap
from pathlib import Path

from embedkit.errors import OutputError

Buffer = bytes | memoryview
READ = 256 * 2**20  # bytes; what is larger is mapped, not read


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
        with suppress(OSError):  # what went wrong first is what is told
            remove(temporary)
        raise
    sync_folder(path.parent)
    return digest.hexdigest()


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
        read_only = os.statvfs(above).f_flag & os.ST_RDONLY
        reason = os.strerror(errno.EROFS if read_only else errno.EACCES)
        raise OutputError(f"{path} cannot be written: {reason}")


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
        make_folder(path.parent)
        remove(temporary)  # of a run that was killed, or a link to elsewhere
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
        with suppress(OSError):
            remove(temporary)


def write_durably(path: Path, parts: Iterable[Buffer]) -> None:
    """Write `parts` to `path` and wait until they are on disk."""
    _write(path, parts, os.O_TRUNC)


def append_durably(path: Path, data: bytes) -> None:
    """Add `data` at the end of `path` and wait until it is on disk."""
    _write(path, [data], os.O_APPEND)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until nobody else, in this process or another, is in such a block over a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
    os.replace(old, new)  # noqa: PTH105 (as the module says)


def remove(path: Path) -> None:
    """Remove a file, if it is there; `sync_folder` makes that last."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 (as the module says)


def remove_folder(path: Path) -> None:
    """Remove an empty folder; `sync_folder` of the one above makes that last."""
    os.rmdir(path)  # noqa: PTH106 (as the module says)


def make_folder(path: Path, *, private: bool = False) -> None:
    """Make a folder and those above it, and wait until their names are on disk.

    Args:
        path: of it; what is there already stays as it is.
        private: only its owner may enter it, as everything below such a folder.

    Raises:
        OSError: one cannot be made, or is a file.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        os.mkdir(path, 0o700 if private or _is_private(path.parent) else 0o777)  # noqa: PTH102
    except FileExistsError:  # somebody else made it just now
        if not path.is_dir():
            raise
    sync_folder(path.parent)


def open_lock(path: Path) -> int:
    """Open a file that processes lock, making it if it is not there; return its descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def write_lock(descriptor: int, data: bytes) -> None:
    """Put a few bytes in the place of what an open file holds; they need not outlive a crash."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)


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


def open_plain(path: Path) -> BufferedReader:
    """Open a file for reading; a pipe or a device of that name is not waited for.

    Raises:
        OSError: it cannot be opened, or is no plain file.
    """
    return open(path, "rb", opener=_plain)


def read_plain(path: Path) -> bytes:
    """Return the content of a file; see `open_plain`."""
    with open_plain(path) as stream:
        return stream.read()


def content(stream: BufferedReader, limit: int = READ) -> memoryview:
    """Return all bytes of an open file: read, or mapped where they are more than `limit`.

    A program that cuts a mapped file short ends the processes that look at it (SIGBUS). embedkit
    never does: it replaces files.
    """
    size = os.fstat(stream.fileno()).st_size
    if size <= limit:
        return memoryview(stream.read())
    return memoryview(mmap(stream.fileno(), size, access=ACCESS_READ))


def _plain(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "Not a plain file", path)


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal, without loading it whole.

    Raises:
        OSError: as `open_plain`.
    """
    with open_plain(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
