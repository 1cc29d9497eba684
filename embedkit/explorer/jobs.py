"""Jobs: what takes longer than a request may, one after the other in a thread of its own."""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from embedkit.errors import InputError

MOST = 50  # that may wait at once


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that is not done.

    Attributes:
        seconds: since it was asked for.
        before: how many have to be done first.
    """

    seconds: float
    before: int


class Jobs:
    """Jobs by key; each is done once, and its result stays until they are forgotten."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="embedkit-job")
        self._jobs: dict[Hashable, tuple[Future[Any], float]] = {}
        self._lock = threading.Lock()

    def ask(self, key: Hashable, work: Callable[[], Any]) -> Any:
        """Return the result of a job, or `Waiting`; it is begun where it is new.

        A job that failed raises here once, and is begun anew when it is asked for again.

        Raises:
            InputError: too many wait.
            Exception: what the job raised.
        """
        with self._lock:
            pending = [future for future, _ in self._jobs.values() if not future.done()]
            if key not in self._jobs:
                if len(pending) >= MOST:
                    raise InputError(f"{MOST} requests are waiting already; try again later")
                self._jobs[key] = (self._executor.submit(work), time.monotonic())
            future, since = self._jobs[key]
            if not future.done():
                before = pending.index(future) if future in pending else len(pending)
                return Waiting(time.monotonic() - since, before)
            if future.exception() is not None:
                del self._jobs[key]
        return future.result()

    def forget(self) -> None:
        """Drop all results, and what has not begun."""
        with self._lock:
            for future, _ in self._jobs.values():
                future.cancel()
            self._jobs.clear()

    def close(self) -> None:
        """Begin nothing any more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
