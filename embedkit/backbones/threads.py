"""How many threads torch may take inside one pass."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread(before: int) -> Iterator[None]:
    """Run a small network on the calling thread alone.

    Several passes side by side, each on one thread, keep all cores busy on layers too small to be
    divided (`docs/performance.md`), and the result does not depend on the thread count.

    Args:
        before: thread count to return to.
    """
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
