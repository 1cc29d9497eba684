"""Jobs: what takes longer than a request may, one after the other in a thread of its own."""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from embedkit.errors import InputError

MOST = 50  # that may wait at once
KEPT = 500  # results
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that is not done.

    Attributes:
        seconds: since it was asked for.
        before: how many have to be done first.
        stage: what is being done; empty where the job does not say.
    """

    seconds: float
    before: int
    stage: str


@dataclass(eq=False)
class _Job:
    future: Future[Any]
    since: float
    stage: str = ""


class Jobs:
    """Jobs by key; each is done once; the newest results stay until they are forgotten."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="embedkit-job")
        self._jobs: dict[Hashable, _Job] = {}
        self._lock = threading.Lock()

    def ask(self, key: Hashable, work: Callable[[Tell], Any]) -> Any:
        """Return the result of a job, or `Waiting`; it is begun where it is new.

        A job that failed raises here once, and is begun anew when it is asked for again.

        Args:
            key: of the job.
            work: to do; it is given a function to say its stage with.

        Raises:
            InputError: too many wait.
            Exception: what the job raised.
        """
        with self._lock:
            pending = [job for job in self._jobs.values() if not job.future.done()]
            job = self._jobs.get(key)
            if job is None:
                if len(pending) >= MOST:
                    raise InputError(f"{MOST} requests are waiting already; try again later")
                for old in [k for k, one in self._jobs.items() if one not in pending][:-KEPT]:
                    del self._jobs[old]
                job = self._jobs[key] = _Job(Future(), time.monotonic())
                job.future = self._executor.submit(work, partial(setattr, job, "stage"))
            if not job.future.done():
                before = pending.index(job) if job in pending else len(pending)
                return Waiting(time.monotonic() - job.since, before, job.stage)
            if job.future.exception() is not None:
                del self._jobs[key]
        return job.future.result()

    def forget(self) -> None:
        """Drop all results, and what has not begun."""
        with self._lock:
            for job in self._jobs.values():
                job.future.cancel()
            self._jobs.clear()

    def close(self) -> None:
        """Begin nothing any more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
