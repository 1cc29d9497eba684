"""The local engine: one process, pictures decoded beside the network, in bounded memory."""

import ctypes
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from embedkit.errors import SourceGoneError
from embedkit.interrupts import held_back
from embedkit.workers import usable_cores, workers

Loaded = TypeVar("Loaded")
Result = TypeVar("Result")
Shared = TypeVar("Shared")
Own = TypeVar("Own")
WINDOW = 128
PATIENCE = 600.0  # seconds that one image may take to be read and prepared
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


@dataclass(frozen=True, slots=True)
class Block:
    """A run of images that is embedded and committed together.

    Attributes:
        number: names its files.
        ids: the images, in order.
    """

    number: int
    ids: tuple[str, ...]


class Opens(Protocol):
    """What a process makes a maker from; small, and can be sent there.

    Attributes:
        on_gpu: whether that takes a GPU.
    """

    @property
    def on_gpu(self) -> bool:
        """See above."""

    def open(self, threads: int) -> "Maker":
        """Return a maker whose networks run on so many threads side by side."""


class Maker(Protocol):
    """What is done with blocks, the same in every process.

    Attributes:
        recipe: what another process makes such a maker from.
    """

    @property
    def recipe(self) -> Opens:
        """See above."""

    def load(self, block: Any, id_: str) -> Any:
        """Read one image; called from several threads at once."""

    def finish(self, block: Any, images: Any, lanes: Executor) -> Any:
        """Turn a block's loaded images, in order, into its result.

        Args:
            block: one of those given.
            images: what `load` returned for each.
            lanes: runs the network's passes side by side.
        """


class Engine(Protocol):
    """What every engine does: the same results in the same order, wherever the work runs.

    Attributes:
        threads: that a process runs side by side.
    """

    threads: int

    def make(self, blocks: Iterable[Block], maker: Maker) -> Generator[Any]:
        """Load every image of every block, then finish the block; results come in block order.

        Close it, or take all of it: until then there are processes or threads that work for it.

        Args:
            blocks: in the order of the results.
            maker: what to do with each.
        """

    def map(
        self, function: Callable[[Shared, Own], Result], tasks: Sequence[tuple[Shared, Own]]
    ) -> list[Result]:
        """Call a function for every task, and return the results in the order of the tasks.

        Args:
            function: of a module, where another process finds it by name; what it returns depends
                on nothing but its arguments, for a task may be done again.
            tasks: what a task shares with others, which a process is given once, and its own.
        """


class LocalEngine:
    """Decodes on some threads and runs the network on as many others, a bounded way ahead."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or usable_cores()

    def make(self, blocks: Iterable[Block], maker: Maker) -> Generator[Any]:
        """See `Engine.make`."""
        return self.run(blocks, maker.load, maker.finish)

    def map(
        self, function: Callable[[Shared, Own], Result], tasks: Sequence[tuple[Shared, Own]]
    ) -> list[Result]:
        """See `Engine.map`; one after the other, in this process."""
        return [function(shared, own) for shared, own in tasks]

    def run(
        self,
        blocks: Iterable[Block],
        load: Callable[[Block, str], Loaded],
        finish: Callable[[Block, Iterable[Loaded], Executor], Result],
    ) -> Generator[Result]:
        """Load every image of every block, then finish the block; results come in block order.

        Args:
            blocks: in the order of the results.
            load: reads one image; called from several threads at once.
            finish: turns a block's loaded images, in order, into its result; the executor runs
                the network's passes side by side.
        """
        order = list(blocks)
        _keep_memory()
        images = ((block, id_) for block in order for id_ in block.ids)
        with (
            held_back() as interrupted,
            workers(self.threads, "load") as loaders,
            workers(self.threads, "network") as lanes,
        ):
            loaded = _ahead(loaders, load, images, interrupted)
            for block in order:
                yield finish(block, islice(loaded, len(block.ids)), lanes)


def _keep_memory() -> None:
    """Ask glibc to use the memory of one picture for the next, not to give it back each time.

    Getting a picture's pages anew from the kernel costs as much as decoding it
    (`docs/performance.md`). Elsewhere than on Linux nothing is changed.
    """
    with suppress(OSError, AttributeError, TypeError):
        c_library = ctypes.CDLL(None)
        for option, value in ((_MMAP_THRESHOLD, 2**25), (_TRIM_THRESHOLD, 2**28)):
            c_library.mallopt(option, value)


def _ahead(
    pool: Executor,
    load: Callable[[Block, str], Loaded],
    images: Iterator[tuple[Block, str]],
    interrupted: Callable[[], None],
) -> Iterator[Loaded]:
    """Load images in order, at most `WINDOW` of them ahead of the one that is asked for."""
    waiting: deque[tuple[str, Future[Loaded]]] = deque()
    for block, id_ in images:
        interrupted()
        waiting.append((id_, pool.submit(load, block, id_)))
        if len(waiting) >= WINDOW:
            yield _awaited(*waiting.popleft(), interrupted)
    while waiting:
        yield _awaited(*waiting.popleft(), interrupted)


def _awaited(id_: str, future: Future[Loaded], interrupted: Callable[[], None]) -> Loaded:
    """Return a loaded image; a disk or share that never answers is not waited for for ever.

    Raises:
        SourceGoneError: it has not come in `PATIENCE` seconds.
    """
    until = time.monotonic() + PATIENCE
    while not future.done() and time.monotonic() < until:
        wait([future], timeout=min(1.0, PATIENCE))
        interrupted()
    if not future.done():
        raise SourceGoneError(
            f"{id_} has been waited for for {PATIENCE:g} s: the disk or share that it lies on does "
            "not answer. What was embedded before is safe; run the same command again once it does"
        )
    return future.result()
