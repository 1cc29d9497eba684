"""One writer at a time: a lock on a file, which the kernel frees when its process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedkit.errors import StoreError
from embedkit.store.journal import told
from embedkit.store.schema import FORGETTING, LOCK


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
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}") from None
    try:
        _take(lock, folder)
        try:
            if not forgets:
                check_forgotten(folder)
            yield
        finally:
            os.ftruncate(lock, 0)
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
