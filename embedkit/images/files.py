"""Pictures' files: read whole or not at all, from a disk, a shard or the web."""

import errno
import os
import stat
from pathlib import Path

from embedkit.errors import EmbedkitError, InputError, SourceGoneError, UnreadableImageError
from embedkit.images.limits import CHANGED, EMPTY, MAX_BYTES, plain
from embedkit.remote import is_url, read_url, url_of
from embedkit.shards import read_member, shard_above
from embedkit.trust import check_url

# What a share says whose server is away; a bad sector (EIO) may be one picture's alone.
GONE = frozenset(
    getattr(errno, name)
    for name in ("ENOTCONN", "ESTALE", "ESHUTDOWN", "EHOSTDOWN", "EHOSTUNREACH", "ETIMEDOUT")
)


def read_bytes(path: Path) -> bytes:
    """Read a picture's file, refusing what is no regular file or too large.

    Args:
        path: of it, or its URL, or one that leads into a shard; see `embedkit.remote` and
            `embedkit.shards`.

    Raises:
        UnreadableImageError: with the reason.
        FetchError: it lies behind a URL that does not answer as it should.
        SourceGoneError: the disk or share that it lies on does not answer.
    """
    if is_url(path):
        try:
            check_url(url_of(path))
        except InputError as error:
            raise UnreadableImageError(str(error)) from None
        shard = shard_above(path)
        return _read_url(path) if shard is None else _read_member(shard, path)
    try:
        # O_NONBLOCK: opening a pipe that is called x.jpg must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except NotADirectoryError as error:  # there is a file where a folder should be
        shard = shard_above(path)
        if shard is None:
            raise UnreadableImageError(plain(error)) from None
        return _read_member(shard, path)
    except OSError as error:
        raise _refused(path, error) from None
    except ValueError:  # a zero byte in it
        raise UnreadableImageError("a name that no file can have") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError("not a regular file")
        if status.st_size == 0:
            raise UnreadableImageError(EMPTY)
        if status.st_size > MAX_BYTES:
            raise UnreadableImageError(
                f"too large ({status.st_size / 2**20:.0f} MiB, at most "
                f"{MAX_BYTES // 2**20} are read)"
            )
        with open(descriptor, "rb", closefd=False) as stream:
            data = stream.read(MAX_BYTES + 1)
        after = os.fstat(descriptor)
        same = (after.st_size, after.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
        if len(data) != status.st_size or not same:
            raise UnreadableImageError(CHANGED)
        return data
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        os.close(descriptor)


def _refused(path: Path, error: OSError) -> EmbedkitError:
    """Return what a failed read means: the picture is unreadable, or its disk or share is gone."""
    if error.errno not in GONE:
        return UnreadableImageError(plain(error))
    return SourceGoneError(
        f"{path} cannot be read: {error.strerror}; the disk or share that it lies on is gone. Run "
        "the same command again once it is back"
    )


def _read_url(path: Path) -> bytes:
    try:
        data = read_url(path, MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableImageError(plain(error)) from None
    return _of_allowed_size(data)


def _read_member(shard: Path, path: Path) -> bytes:
    return _of_allowed_size(read_member(shard, path, MAX_BYTES + 1))


def _of_allowed_size(data: bytes) -> bytes:
    if not data:
        raise UnreadableImageError(EMPTY)
    if len(data) > MAX_BYTES:
        raise UnreadableImageError(f"too large (at most {MAX_BYTES // 2**20} MiB are read)")
    return data
