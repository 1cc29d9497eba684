"""The Ray engine: blocks made by worker processes, on one machine or on many.

Plain actors, not Ray Data: that leaves a block with the actor that had it, and when a node goes
whose cores are all there is, the block waits until another actor has nothing left to do, at the end
of the run (`docs/ray.md`). Blocks are committed in order, so all that was made meanwhile would be
lost with the driver. Here a block that was lost is the next that a living worker gets.

What travels is small: a block's ids to a worker, the names and checksums of its files back. What
is only calculated (`map`) goes by Ray's own tasks instead: nothing of theirs is committed, and Ray
does a task again whose worker is gone.

A block that hangs is begun a second time, by a worker that has nothing else to do, and whichever is
first counts: both write the same bytes under the same names.
"""

import importlib
import os
import signal
import socket
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from logging import ERROR
from types import TracebackType
from typing import Any, Self

from embedkit.engines.local import Block, LocalEngine, Maker, Opens, Own, Result, Shared
from embedkit.errors import EmbedkitError, InputError, WorkerError
from embedkit.images import strict_pillow
from embedkit.interrupts import held_back
from embedkit.workers import usable_cores

HANGS = 2  # blocks a worker that were finished since one was begun, which then is taken to hang
AHEAD = 8  # blocks a worker that may be finished before the one that is to be committed next
TRIES = 5  # deaths that one block, or one task, may have been there at
POLL = 0.5  # seconds
MEMORY = 128 * 2**20  # bytes; of Ray's object store, which only ids and names pass through


class RayEngine:
    """Makes blocks in as many worker processes as a Ray cluster has room for; use it as a context.

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
            _check_address(address)
        self.threads = threads or 1
        self._address = address
        self._ray = _load_ray()
        self._ours = False

    def __enter__(self) -> Self:
        """Start Ray, or join a cluster; a Ray that this process has joined already is used.

        Raises:
            InputError: there is no cluster at the address.
        """
        if not self._ray.is_initialized():
            handler = signal.getsignal(signal.SIGTERM)
            try:
                self._ray.init(**self._options(), logging_level=ERROR, log_to_driver=False)
            except Exception as error:  # noqa: BLE001 (Ray raises plain ones)
                what = "be started" if self._address is None else f"be joined at {self._address}"
                raise InputError(f"Ray cannot {what}: {_plain(error)}") from None
            finally:
                signal.signal(signal.SIGTERM, handler)  # Ray's own ends the process on the spot
            self._ours = True
            # Else Ray writes to standard output, where results are, when a worker dies.
            self._ray._private.worker._worker_logs_enabled = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what was started, or leave the cluster."""
        if self._ours:
            self._ray.shutdown()
            self._ours = False

    def make(self, blocks: Iterable[Block], maker: Maker) -> Generator[Any]:
        """See `Engine.make`.

        Raises:
            WorkerError: there is room for none, or they die again and again at the same work.
        """
        order = list(blocks)
        made: dict[int, Any] = {}
        todo = list(range(len(order)))  # a heap: what was lost comes before what was not begun
        deaths: Counter[int | None] = Counter()
        following = 0
        answered = 0
        begun: dict[int, int] = {}  # what was answered when a block was begun, by its place
        with held_back() as interrupted, _Pool(self._ray, self.threads, maker.recipe) as pool:
            while following < len(order):
                interrupted()
                pool.fill(len(order) - following)
                idle = deque(pool.idle())
                while idle and todo and todo[0] < following + AHEAD * len(pool.workers):
                    begun[todo[0]] = answered
                    idle.popleft().begin(heappop(todo), order)
                hangs = answered - begun.get(following, answered) >= HANGS * len(pool.workers)
                if idle and hangs and pool.making(following) == 1:
                    idle.popleft().begin(following, order)
                for place, answer in pool.answers():
                    if place is not None and (place < following or place in made):
                        continue  # another was first
                    if isinstance(answer, EmbedkitError):
                        raise answer
                    if isinstance(answer, _Death):
                        deaths[place] += 1
                        if deaths[place] == TRIES:
                            raise _gone(None if place is None else order[place], answer.reason)
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

    def map(
        self, function: Callable[[Shared, Own], Result], tasks: Sequence[tuple[Shared, Own]]
    ) -> list[Result]:
        """See `Engine.map`.

        Raises:
            WorkerError: there is room for none, or they die again and again at the same task.
        """
        _check_room(_room(self._ray, self.threads), self.threads)
        shared = {
            id(one): self._ray.put(one) for one in {id(one): one for one, _ in tasks}.values()
        }
        call = self._ray.remote(_called).options(num_cpus=self.threads, max_retries=TRIES - 1)
        begun = [call.remote(function, shared[id(one)], own) for one, own in tasks]
        answers: dict[Any, Any] = {}
        waiting = begun
        with held_back() as interrupted:
            try:
                while waiting:
                    interrupted()
                    done, waiting = self._ray.wait(waiting, timeout=POLL)
                    for reference in done:
                        answers[reference] = self._answer(reference)
            finally:
                for reference in waiting:
                    self._ray.cancel(reference, force=True)
        return [answers[reference] for reference in begun]

    def _answer(self, reference: Any) -> Any:
        """Return what a task returned, or raise what ended it."""
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            raise WorkerError(
                f"{TRIES} workers ended over the same task: {_plain(error)}. Run the same command "
                "with the local engine to see what ends them"
            ) from None
        if isinstance(answer, EmbedkitError):
            raise answer
        return answer

    def _options(self) -> dict[str, Any]:
        if self._address is not None:
            return {"address": self._address}
        return {
            "address": "local",
            "num_cpus": max(usable_cores(), self.threads),
            "include_dashboard": False,
            "object_store_memory": MEMORY,
        }


@dataclass(frozen=True, slots=True)
class _Death:
    """What is left of a worker."""

    reason: str


@dataclass(slots=True)
class _Worker:
    """A process that makes blocks.

    Attributes:
        actor: Ray's handle.
        doing: reference to what it will answer; None while it has nothing to do.
        place: of the block that it makes; None while it gets ready.
    """

    actor: Any
    doing: Any
    place: int | None = None

    def begin(self, place: int, order: list[Block]) -> None:
        self.place = place
        self.doing = self.actor.make.remote(order[place])


class _Pool:
    """The workers of one run; at the end none of them is left."""

    def __init__(self, ray: Any, threads: int, recipe: Opens) -> None:
        self.workers: list[_Worker] = []
        self._ray = ray
        self._threads = threads
        self._recipe = ray.put(recipe)
        self._gpus = 1 if recipe.on_gpu else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            self._ray.kill(worker.actor)

    def fill(self, most: int) -> None:
        """Start a worker wherever there is room for one, up to so many.

        Raises:
            WorkerError: there is room nowhere.
        """
        room = _room(self._ray, self._threads, self._gpus)
        if not self.workers:
            _check_room(room, self._threads, self._gpus)
        kind = self._ray.remote(Making).options(num_cpus=self._threads, num_gpus=self._gpus)
        for _ in range(min(most, room) - len(self.workers)):
            actor = kind.remote(self._threads)
            self.workers.append(_Worker(actor, actor.open.remote(self._recipe)))

    def idle(self) -> list[_Worker]:
        """Return those that are ready and have nothing to do."""
        return [worker for worker in self.workers if worker.doing is None]

    def making(self, place: int) -> int:
        """Return how many make the block of a place."""
        return sum(one.place == place and one.doing is not None for one in self.workers)

    def answers(self) -> Iterator[tuple[int | None, Any]]:
        """Wait a little, and return what was answered, and of which place.

        A worker that is gone answers with its `_Death`, and is none of the workers any more.
        """
        waiting = {worker.doing: worker for worker in self.workers if worker.doing is not None}
        done, _ = self._ray.wait(list(waiting), timeout=POLL)
        for reference in done:
            worker = waiting[reference]
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError:
                raise
            except self._ray.exceptions.RayError as error:
                self.workers.remove(worker)
                self._ray.kill(worker.actor)  # if it only cannot be reached
                answer = _Death(_plain(error))
            worker.doing = None
            yield worker.place, answer


class Making:
    """What runs in a worker: one block at a time, by the local engine."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def open(self, recipe: Opens) -> EmbedkitError | None:
        """Get ready; what forbids it is returned, so that it arrives as it is."""
        try:
            self._maker: Maker = recipe.open(self._threads)
        except EmbedkitError as error:
            return type(error)(f"on {socket.gethostname()}: {error}")
        return None

    def make(self, block: Block) -> Any:
        """Return what is made of a block, or the error that it ended with."""
        try:
            with strict_pillow():
                (made,) = LocalEngine(self._threads).make([block], self._maker)
        except EmbedkitError as error:
            return error
        return made


def _called(function: Callable[[Any, Any], Any], shared: Any, own: Any) -> Any:
    """Return what a function returns, or the error of embedkit's that it ended with."""
    try:
        return function(shared, own)
    except EmbedkitError as error:
        return error


def _room(ray: Any, threads: int, gpus: int = 0) -> int:
    """Return how many workers the cluster can hold when nothing else runs there."""
    room = 0
    for node in ray.nodes():
        has = node["Resources"] if node["Alive"] else {}
        fit = has.get("CPU", 0) // threads
        room += int(min(fit, has.get("GPU", 0)) if gpus else fit)
    return room


def _check_room(room: int, threads: int, gpus: int = 0) -> None:
    """Refuse a cluster that has room for no worker."""
    if not room:
        gpu = " and a GPU" if gpus else ""
        raise WorkerError(
            f"no machine of the Ray cluster has {threads} cores{gpu} for a worker; "
            "--threads says how many cores it takes"
        )


def _check_address(address: str) -> None:
    """Refuse an address where nobody answers; Ray itself would try for many minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise InputError(
            f"--ray-address is {address!r}; give HOST:PORT as 'ray start' says it, on a machine of "
            "the cluster; all of its machines have to see the pictures and the store's folder"
        )
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"no Ray cluster answers at {address}: {error}") from None


def _load_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is loaded
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise InputError("--engine ray needs Ray; pip install 'embedkit[ray]'") from None


def _gone(block: Block | None, reason: str) -> WorkerError:
    if block is None:
        return WorkerError(f"{TRIES} workers in a row ended before they could begin: {reason}")
    return WorkerError(
        f"{TRIES} workers ended over the {len(block.ids)} images from {block.ids[0]} to "
        f"{block.ids[-1]}: {reason}. What was committed before is safe; run the same command "
        "again, with the local engine to see what ends them"
    )


def _plain(error: Exception) -> str:
    """Return the last line of Ray's message, where it says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
