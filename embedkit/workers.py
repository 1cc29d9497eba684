"""Threads that work runs on side by side."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from embedkit.errors import SourceGoneError


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
