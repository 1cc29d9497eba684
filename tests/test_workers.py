"""Threads that work runs on."""

import subprocess
import sys

INTERRUPTED = """
import os, time
from embedkit.workers import workers
try:
    with workers(1) as pool:
        result = pool.submit(time.sleep, 0.1)
        result._condition.acquire()  # as when the signal comes on the way into result()
        raise KeyboardInterrupt
except KeyboardInterrupt:
    os._exit(130)
"""


def test_an_interruption_that_leaves_a_lock_held_ends_the_process():
    assert subprocess.run([sys.executable, "-c", INTERRUPTED], timeout=60).returncode == 130
