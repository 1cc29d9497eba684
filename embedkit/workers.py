"""Threads that work runs on side by side, and the memory that they share."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from embedkit.errors import SourceGoneError


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_memory() -> int:
    """Return how many bytes of memory this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Room:
    """So much of something for all threads; who wants more than is free waits for the others."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, wanted: int) -> Iterator[None]:
        """Hold so much of it; all of it where there is less altogether."""
        wanted = min(wanted, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


@contextmanager
def workers(threads: int | None = None, name: str = "embedkit") -> Iterator[ThreadPoolExecutor]:
    """Give threads to run work on, by default one a core; at the end none of it is left.

    After an interruption nobody waits for them. The signal may have come while this thread held
    the lock of a future: the thread that is about to set that future's result waits for the lock
    for ever, and so would whoever waits for the thread.
    """
    pool = ThreadPoolExecutor(threads or usable_cores(), name)
    try:
        yield pool
    except SourceGoneError:  # whoever reads there may never return
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    except Exception:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(wait=True)
