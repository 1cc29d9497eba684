"""The Ray engine: blocks made by worker processes, on one machine or on many.

Plain actors, not Ray Data: that leaves a block with the actor that had it, and when a node goes
whose cores are all there is, the block waits until another actor has nothing left to do, at the end
of the run (`docs/ray.md`). Blocks are committed in order, so all that was made meanwhile would be
lost with the driver. Here a block that was lost is the next that a living worker gets.

What travels is small: a block's ids to a worker, the names and checksums of its files back. What
is only calculated (`map`) goes the same way, to workers that stay until blocks need their cores.

A block that hangs is begun a second time, by a worker that has nothing else to do, and whichever is
first counts: both write the same bytes under the same names.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack
from heapq import heappop, heappush
from types import TracebackType
from typing import Any, Self

from embedkit.engines.local import Block, Maker, Own, Result, Shared
from embedkit.engines.ray_cluster import check_address, joined, load_ray, started
from embedkit.engines.ray_workers import Begin, Death, Pool
from embedkit.errors import EmbedkitError, WorkerError
from embedkit.interrupts import held_back

HANGS = 2  # blocks a worker that were finished since one was begun, which then is taken to hang
AHEAD = 8  # blocks a worker that may be finished before the one that is to be committed next
TRIES = 5  # deaths that one block, or one task, may have been there at


class RayEngine:
    """Does work in as many worker processes as a Ray cluster has room for; use it as a context.

    A worker, or a node with its workers, may go at any time, and others may come. At most `AHEAD`
    blocks a worker wait for the one before them, so memory does not grow with the data set.

    Attributes:
        threads: of each worker, which takes as many cores.
    """

    def __init__(self, address: str | None = None, threads: int | None = None) -> None:
        """Make sure that there is Ray.

        Args:
            address: HOST:PORT of a cluster that this machine is a node of; None for a Ray that is
                started here, and ended with the context.
            threads: of each worker; 1 where left out.

        Raises:
            InputError: Ray is not installed, or nobody answers at the address.
        """
        if address is not None:
            check_address(address)
        self.threads = threads or 1
        self._address = address
        self._ray = load_ray()
        self._held = ExitStack()
        self._callers: Pool | None = None

    def __enter__(self) -> Self:
        """Start Ray, or join a cluster; a Ray that this process has joined already is used.

        Raises:
            InputError: it does not start, or there is no cluster at the address.
        """
        if not self._ray.is_initialized():
            ray, address = self._ray, self._address
            self._held.enter_context(
                started(ray, self.threads) if address is None else joined(ray, address)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what was started, or leave the cluster."""
        with self._held:
            self._end_callers()

    def make(self, blocks: Iterable[Block], maker: Maker) -> Generator[Any]:
        """See `Engine.make`.

        Raises:
            InputError: a machine has no embedkit, or another version of it.
            WorkerError: there is room for none, or they die again and again at the same work.
        """
        self._end_callers()  # whose cores are needed
        order = list(blocks)

        def begin(actor: Any, place: int) -> Any:
            return actor.make.remote(order[place])

        def gone(place: int, reason: str) -> WorkerError:
            ids = order[place].ids
            return WorkerError(
                f"{TRIES} workers ended over the {len(ids)} images from {ids[0]} to {ids[-1]}: "
                f"{reason}. What was committed before is safe; run the same command again, with "
                "the local engine to see what ends them"
            )

        with Pool(self._ray, self.threads, maker.recipe) as pool:
            yield from _in_order(pool, len(order), begin, gone)

    def map(
        self, function: Callable[[Shared, Own], Result], tasks: Sequence[tuple[Shared, Own]]
    ) -> list[Result]:
        """See `Engine.map`.

        Raises:
            InputError: a machine has no embedkit, or another version of it.
            WorkerError: there is room for none, or they die again and again at the same task.
        """
        different = {id(shared): shared for shared, _ in tasks}
        references = {key: self._ray.put(shared) for key, shared in different.items()}

        def begin(actor: Any, place: int) -> Any:
            shared, own = tasks[place]
            return actor.call.remote(function, references[id(shared)], own)

        def gone(_: int, reason: str) -> WorkerError:
            return WorkerError(
                f"{TRIES} workers ended over the same task: {reason}. Run the same command with "
                "the local engine to see what ends them"
            )

        if self._callers is None:
            self._callers = Pool(self._ray, self.threads)
        try:
            results = list(_in_order(self._callers, len(tasks), begin, gone))
        except BaseException:
            self._end_callers()
            raise
        self._callers.end_busy()
        return results

    def _end_callers(self) -> None:
        if self._callers is not None:
            with self._callers:
                self._callers = None


def _in_order(
    pool: Pool, n: int, begin: Begin, gone: Callable[[int, str], WorkerError]
) -> Generator[Any]:
    """Have workers do pieces of work, and return what each comes to, in order.

    Args:
        pool: of workers; it is filled as far as there is work.
        n: pieces.
        begin: has a worker begin one.
        gone: says at which too many workers died, and why the last one did.
    """
    made: dict[int, Any] = {}
    todo = list(range(n))  # a heap: what was lost comes before what was not begun
    deaths: Counter[int | None] = Counter()
    following = 0
    answered = 0
    begun: dict[int, int] = {}  # what was answered when a piece was begun, by its place
    with held_back() as interrupted:
        while following < n:
            interrupted()
            pool.fill(n - following)
            idle = deque(pool.idle())
            while idle and todo and todo[0] < following + AHEAD * len(pool.workers):
                begun[todo[0]] = answered
                idle.popleft().begin(heappop(todo), begin)
            hangs = answered - begun.get(following, answered) >= HANGS * len(pool.workers)
            if idle and hangs and pool.making(following) == 1:
                idle.popleft().begin(following, begin)
            for place, answer in pool.answers():
                if place is not None and (place < following or place in made):
                    continue  # another was first
                if isinstance(answer, EmbedkitError):
                    raise answer
                if isinstance(answer, Death):
                    deaths[place] += 1
                    if deaths[place] == TRIES:
                        raise _none_begins(answer) if place is None else gone(place, answer.reason)
                    if place is not None and not pool.making(place):
                        heappush(todo, place)
                elif place is None:
                    deaths[None] = 0
                else:
                    made[place] = answer
                    answered += 1
            while following in made:
                yield made.pop(following)
                del begun[following]
                following += 1


def _none_begins(death: Death) -> WorkerError:
    return WorkerError(f"{TRIES} workers in a row ended before they could begin: {death.reason}")
