"""Pictures of a store in memory, as small as the network sees them."""

import os
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from embedkit.backbones.preprocessing import Preprocessing
from embedkit.engines import Block, LocalEngine
from embedkit.errors import InputError
from embedkit.images import strict_pillow
from embedkit.pipeline.known import known_pixels
from embedkit.pipeline.progress import OnProgress, Reporter
from embedkit.store import Store
from embedkit.vectors import IntArray, Pixels

MOST = 0.5  # of the machine's memory


def check_memory(wanted: int, what: str) -> None:
    """Refuse to fill more than half of the machine's memory.

    Args:
        wanted: bytes.
        what: takes them, and what would take fewer.

    Raises:
        InputError: with both figures.
    """
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if wanted > MOST * there:
        raise InputError(
            f"{wanted / 2**30:.1f} GiB of memory would be taken by {what}; this machine has "
            f"{there / 2**30:.1f} GiB, of which {MOST:.0%} may be"
        )


def read_pictures(
    store: Store,
    rows: IntArray,
    preprocessing: Preprocessing,
    *,
    threads: int | None = None,
    progress: OnProgress | None = None,
) -> Pixels:
    """Decode pictures and make them small, once.

    Args:
        store: that has them.
        rows: of its items.
        preprocessing: to which size, and how.
        threads: to decode on.
        progress: called now and then.

    Returns:
        (n, height, width, 3) uint8.

    Raises:
        InputError: a picture is gone or has changed since it was embedded.
    """
    ids, hashes = store.items.ids, store.items.column("sha256")
    wanted = tuple(ids[row] for row in rows)
    expected = {ids[row]: str(hashes[row]) for row in rows}
    reporter = Reporter(progress)
    reporter.start("reading pictures", len(wanted))

    def load(_: Block, id_: str) -> npt.NDArray[Any]:
        return preprocessing.prepare(known_pixels(store, id_, expected[id_]))

    def finish(_: Block, loaded: Iterable[npt.NDArray[Any]], lanes: Executor) -> Pixels:
        made = np.empty((len(wanted), *preprocessing.size, 3), np.uint8)
        for place, one in enumerate(loaded):
            made[place] = one
            reporter.count()
        return made

    with strict_pillow():
        (pictures,) = LocalEngine(threads).run([Block(0, wanted)], load, finish)
    return pictures
