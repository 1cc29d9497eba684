"""Pictures behind a URL that fsspec opens: s3://, gs://, http:// and others.

Such a URL is a `Path` whose first part is the scheme (`Path("s3://bucket/faces")` is
`s3:/bucket/faces`), so that whatever joins and names paths works on both; only who opens or lists
one has to ask `is_url`.

A store names URLs too, and may be somebody else's: only what the user has named is opened; see
`embedkit.trust`.
"""

import io
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from embedkit.errors import FetchError, InputError
from embedkit.trust import check_url

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")
_OF_THIS_MACHINE = ("file", "local")
AHEAD = 4 * 2**20  # bytes that are fetched at once of a file that is read from its begin


def is_url(path: Path) -> bool:
    """Return whether a path is a URL; an absolute one, or an existing folder `s3:`, is none."""
    first = path.parts[0] if path.parts else ""
    return bool(_SCHEME.fullmatch(first)) and not os.path.lexists(first)


def url_of(path: Path) -> str:
    """Return a URL as it is written."""
    scheme, _, rest = str(path).partition(":/")
    return f"{scheme}{':///' if scheme in _OF_THIS_MACHINE else '://'}{rest}"


def absolute(path: Path) -> str:
    """Return a path in full, or a URL as it is written."""
    return url_of(path) if is_url(path) else str(path.resolve())


def read_url(path: Path, most: int) -> bytes:
    """Read what lies behind a URL, at most so many bytes.

    Raises:
        OSError: it is not there, or may not be read.
        FetchError: it could not be fetched this time.
        InputError: nothing here opens such URLs, or the user has not named it.
    """
    system, where = _opened(path)
    try:
        with system.open(where, "rb") as stream:
            data: bytes = stream.read(most)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # noqa: BLE001 (each file system has its own)
        raise _failed(path, error) from None
    return data


def read_range(path: Path, start: int, stop: int) -> bytes:
    """Read the bytes from `start` to before `stop` of what lies behind a URL.

    Raises:
        OSError, FetchError, InputError: as `read_url`.
    """
    system, where = _opened(path)
    try:
        data: bytes = system.cat_file(where, start=start, end=stop)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # noqa: BLE001 (the same)
        raise _failed(path, error) from None
    return data


def open_url(path: Path) -> BinaryIO:
    """Open what lies behind a URL as a file in which one can move about.

    Raises:
        OSError, FetchError, InputError: as `read_url`; reading raises them too.
    """
    system, where = _opened(path)
    try:
        size = int(system.size(where))
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # noqa: BLE001 (the same)
        raise _failed(path, error) from None
    return io.BufferedReader(_Ranges(path, size), AHEAD)


@lru_cache
def url_is_file(path: Path) -> bool:
    """Return whether a file, and no folder, lies behind a URL; each is asked for once.

    Raises:
        FetchError: it could not be asked for this time.
        InputError: nothing here opens such URLs.
    """
    system, where = _opened(path)
    try:
        return bool(system.isfile(where))
    except Exception as error:  # noqa: BLE001 (the same)
        raise _failed(path, error) from None


class _Ranges(io.RawIOBase):
    """A file behind a URL, fetched part by part; each file system's own would be another."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__()
        self._path = path
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        stop = min(self._place + len(buffer), self._size)
        if stop <= self._place:
            return 0
        data = read_range(self._path, self._place, stop)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def list_url(path: Path) -> list[str]:
    """Return the files below a URL, sorted, as paths relative to it.

    Raises:
        InputError: nothing is there, or nothing here opens such URLs.
        FetchError: it could not be listed this time.
    """
    system, where = _opened(path)
    try:
        found = [str(one) for one in system.find(where)]
    except Exception as error:  # noqa: BLE001 (the same)
        raise _failed(path, error) from None
    top = where.rstrip("/") + "/"
    below = sorted(one[len(top) :] for one in found if one.startswith(top))
    if not below:
        raise InputError(f"{url_of(path)} holds no file, or does not exist")
    return below


def _opened(path: Path) -> tuple[Any, str]:
    import fsspec  # comes with torch; what opens s3 or gs is a package of its own

    check_url(url_of(path))
    try:
        system, where = fsspec.core.url_to_fs(url_of(path))
    except (ImportError, ValueError) as error:
        raise InputError(f"{url_of(path)} cannot be opened: {error}") from None
    return system, str(where)


def _failed(path: Path, error: Exception) -> FetchError:
    first = str(error).split("\n", 1)[0][:160] or type(error).__name__
    return FetchError(
        f"{url_of(path)} could not be fetched: {first}. What was committed before is safe; run the "
        "same command again"
    )
