"""One writer at a time: a lock on a file, which the kernel frees when its process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedkit.errors import StoreError
from embedkit.store.journal import told
from embedkit.store.schema import LOCK


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a store.

    Raises:
        StoreError: another process holds it, or the folder cannot be written.
    """
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}") from None
    try:
        _take(lock, folder)
        try:
            yield
        finally:
            os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        raise StoreError(
            f"{folder} is being written by process {owner}; wait for it to end"
        ) from None
    with told(folder / LOCK):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
