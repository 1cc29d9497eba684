"""Ray's workers: the processes that do the work, and what runs in them."""

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Self

import embedkit
from embedkit.engines.local import Block, LocalEngine, Maker, Opens
from embedkit.engines.ray_cluster import plain
from embedkit.errors import EmbedkitError, InputError, WorkerError
from embedkit.images import strict_pillow

POLL = 0.5  # seconds

Begin = Callable[[Any, int], Any]
"""Has an actor begin the work of a place, and returns Ray's reference to what it will answer."""


@dataclass(frozen=True, slots=True)
class Death:
    """What is left of a worker."""

    reason: str


@dataclass(slots=True)
class _Worker:
    """A process that does one piece of work at a time.

    Attributes:
        actor: Ray's handle.
        doing: reference to what it will answer; None while it has nothing to do.
        place: of the work that it does; None while it gets ready.
    """

    actor: Any
    doing: Any
    place: int | None = None

    def begin(self, place: int, begin: Begin) -> None:
        self.place = place
        self.doing = begin(self.actor, place)


class Pool:
    """Workers for one kind of work; use it as a context, after which none of them is left.

    A worker is killed, by the machine that it runs on if it does not listen. Ray's tasks can only
    be cancelled, which their worker has to do itself, and a cluster that was busy has been seen to
    begin no task any more after that (`docs/ray.md`).
    """

    def __init__(self, ray: Any, threads: int, recipe: Opens | None = None) -> None:
        """Prepare a pool.

        Args:
            ray: the module, initialized.
            threads: of each worker, which takes as many cores.
            recipe: of what makes blocks; None for workers that only call functions.
        """
        self.workers: list[_Worker] = []
        self._ray = ray
        self._threads = threads
        self._recipe = ray.put(recipe)
        self._gpus = 1 if recipe is not None and recipe.on_gpu else 0

    def __enter__(self) -> Self:
        """Start nothing yet; see `fill`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all workers, whatever they do."""
        for worker in self.workers:
            self._ray.kill(worker.actor)
        self.workers = []

    def fill(self, most: int) -> None:
        """Start a worker wherever there is room for one, up to so many.

        Raises:
            WorkerError: there is room nowhere.
        """
        room = self._room()
        if not (self.workers or room):
            gpu = " and a GPU" if self._gpus else ""
            raise WorkerError(
                f"no machine of the Ray cluster has {self._threads} cores{gpu} for a worker; "
                "--threads says how many cores it takes"
            )
        kind = self._ray.remote(Making).options(num_cpus=self._threads, num_gpus=self._gpus)
        for _ in range(min(most, room) - len(self.workers)):
            actor = kind.remote(self._threads)
            # In a list the recipe stays a reference until the versions are known to be the same.
            opening = actor.open.remote(embedkit.__version__, [self._recipe])
            self.workers.append(_Worker(actor, opening))

    def idle(self) -> list[_Worker]:
        """Return those that are ready and have nothing to do."""
        return [worker for worker in self.workers if worker.doing is None]

    def making(self, place: int) -> int:
        """Return how many do the work of a place."""
        return sum(one.place == place and one.doing is not None for one in self.workers)

    def end_busy(self) -> None:
        """End those that still do what another was quicker to do."""
        for worker in self.workers:
            if worker.place is not None and worker.doing is not None:
                self._ray.kill(worker.actor)
        self.workers = [one for one in self.workers if one.place is None or one.doing is None]

    def answers(self) -> Iterator[tuple[int | None, Any]]:
        """Wait a little, and return what was answered, and of which place.

        A worker that is gone answers with its `Death`, and is none of the workers any more.

        Raises:
            InputError: a machine of the cluster has no embedkit.
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
                _check_installed(error)
                answer = Death(plain(error))
            worker.doing = None
            yield worker.place, answer

    def _room(self) -> int:
        """Return how many workers the cluster can hold when nothing else runs there."""
        room = 0
        for node in self._ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            fit = has.get("CPU", 0) // self._threads
            room += int(min(fit, has.get("GPU", 0)) if self._gpus else fit)
        return room


class Making:
    """What runs in a worker: one block at a time by the local engine, or one call."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def open(self, version: str, recipe: list[Any]) -> EmbedkitError | None:
        """Get ready; what forbids it is returned, so that it arrives as it is."""
        try:
            if version != embedkit.__version__:
                raise InputError(
                    f"there is embedkit {embedkit.__version__}, and {version} where the command "
                    "runs; install the same on every machine of the cluster"
                )
            opens = import_module("ray").get(recipe[0])
            if opens is not None:
                self._maker: Maker = opens.open(self._threads)
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

    def call(self, function: Callable[[Any, Any], Any], shared: Any, own: Any) -> Any:
        """Return what a function returns, or the error of embedkit's that it ended with."""
        try:
            return function(shared, own)
        except EmbedkitError as error:
            return error


def _check_installed(error: Exception) -> None:
    """Refuse a cluster with a machine whose Python has no embedkit."""
    said = str(error)
    if "No module named 'embedkit" in said:
        where = re.search(r"ip=([\w.:]+)", said)
        raise InputError(
            f"a machine of the Ray cluster{f' ({where[1]})' if where else ''} has no embedkit "
            f"where its Python looks; install embedkit {embedkit.__version__} on every machine"
        ) from None
