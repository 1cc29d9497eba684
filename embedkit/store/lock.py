"""One writer at a time: a lock on a file, which the kernel frees when its process ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedkit import files
from embedkit.errors import StoreError
from embedkit.store.journal import told
from embedkit.store.schema import LOCK

LOOKS, BETWEEN = 20, 0.01  # for the owner's number, which it writes once it has the lock


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a store.

    Raises:
        StoreError: another process holds it, or the folder cannot be written.
    """
    with told(folder / LOCK):
        lock = files.open_lock(folder / LOCK)
    try:
        _take(lock, folder)
        try:
            yield
        finally:
            with suppress(OSError):  # a number that is left there is nobody's: the lock is free
                files.write_lock(lock, b"")
    finally:
        os.close(lock)


def _take(lock: int, folder: Path) -> None:
    with told(folder / LOCK):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{folder} is being written by process {_owner(lock)}; wait for it to end"
            ) from None
        files.write_lock(lock, f"{os.getpid()}\n".encode())


def _owner(lock: int) -> str:
    for _ in range(LOOKS):
        if owner := os.pread(lock, 20, 0).decode(errors="replace").strip():
            return owner
        time.sleep(BETWEEN)
    return "unknown"
