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
from embedkit.store.schema import FORGETTING, LOCK

LOOKS, BETWEEN = 20, 0.01  # for the owner's number, which it writes once it has the lock


@contextmanager
def writer_lock(folder: Path, *, forgets: bool = False) -> Iterator[None]:
    """Hold the lock of a store.

    Args:
        folder: of the store.
        forgets: whether it is held by who finishes a forgetting that was cut off.

    Raises:
        StoreError: another process holds it, the folder cannot be written, or pictures are half
            forgotten in it.
    """
    with told(folder / LOCK):
        lock = files.open_lock(folder / LOCK)
    try:
        _take(lock, folder)
        try:
            if not forgets:
                check_forgotten(folder)
            yield
        finally:
            with suppress(OSError):  # a number that is left there is nobody's: the lock is free
                files.write_lock(lock, b"")
    finally:
        os.close(lock)


def check_forgotten(folder: Path) -> None:
    """Refuse a store in which a forgetting was cut off.

    Raises:
        StoreError: with the command that finishes it.
    """
    if (folder / FORGETTING).exists():
        raise StoreError(
            f"pictures were being forgotten in {folder} when that was cut off; 'embedkit forget "
            f"{folder} --yes' finishes it"
        )


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
