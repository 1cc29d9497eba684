"""A cluster in fake time, in the place of Ray: the real scheduler drives it and cannot tell.

`RayEngine.make` of embedkit/engines/ray.py runs as it is; only the module `ray` that it loads is
this one. What a worker does takes fake seconds, so a job of 100 million images takes a minute.
"""

import sys
import time
from collections import deque
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import Any

import numpy as np

from embedkit.engines import Block
from embedkit.engines.ray import RayEngine

IMAGES = 100_000_000
PER_NODE = 16  # workers of one core
COMMIT_S = 0.02  # that the driver takes for a commit
DETECTED = 1.0, 30.0  # seconds until the death of a worker, and of a node, is known


@dataclass(frozen=True)
class Scene:
    """What happens on the cluster.

    Attributes:
        name: in words.
        workers: of one core each.
        block: images.
        image_s: of a core, each.
        spread: of the logarithm of a block's time.
        slow: share of blocks that take `slower` times as long.
        slower: see `slow`.
        slow_nodes: nodes that take `slower_node` times as long for everything.
        slower_node: see `slow_nodes`.
        worker_h: mean hours until a worker dies; 0 for never.
        node_h: mean hours until a node goes; 0 for never.
        away_s: until another node stands in its place.
        start_s: of a worker, until its network is loaded.
    """

    name: str
    workers: int = 256
    block: int = 1024
    image_s: float = 0.028
    spread: float = 0.0
    slow: float = 0.0
    slower: float = 5.0
    slow_nodes: int = 0
    slower_node: float = 3.0
    worker_h: float = 0.0
    node_h: float = 0.0
    away_s: float = 600.0
    start_s: float = 15.0

    def but(self, name: str, **changes: Any) -> "Scene":
        """Return the same with some things otherwise."""
        return replace(self, name=name, **changes)


@dataclass(eq=False)
class Task:
    """What a worker was asked for, a block of some number or to get ready; done when it says so."""

    actor: "Actor"
    began: float
    block: int | None
    died: bool = False


@dataclass(eq=False)
class Actor:
    """A worker of the cluster."""

    cluster: "Cluster"
    node: int
    alive: bool = True
    task: Task | None = None
    opened: bool = False
    open: Any = field(init=False)
    make: Any = field(init=False)

    def __post_init__(self) -> None:
        self.open = SimpleNamespace(remote=lambda *_: self.cluster.begin(self, None))
        self.make = SimpleNamespace(remote=lambda one: self.cluster.begin(self, one.number))


class RayError(Exception):
    """A worker is gone."""


class RayTaskError(RayError):
    """Never raised here."""


class Cluster:
    """Stands in for the module `ray`: as much of it as the engine uses, in fake time."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, scene: Scene, seed: int = 0) -> None:
        self.now = self.busy = self.wasted = self.own_s = 0.0
        self.repeated = self.deaths = 0
        self._begun: set[int] = set()
        self._made: set[int] = set()
        self._scene = scene
        self._draw = np.random.default_rng(seed)
        self._events: list[tuple[float, int, Any]] = []
        self._n = 0
        self._ready: deque[Task] = deque()
        self._up = [True] * (scene.workers // PER_NODE)
        self._actors: list[set[Actor]] = [set() for _ in self._up]
        for node in range(len(self._up)):
            self._later_node_goes(node)

    @property
    def finished(self) -> int:
        """Return how many blocks are made, each counted once."""
        return len(self._made)

    # What the engine calls.

    def is_initialized(self) -> bool:
        """Say that there is a cluster."""
        return True

    def put(self, what: Any) -> Any:
        """Give back what is put."""
        return what

    def nodes(self) -> list[dict[str, Any]]:
        """Say which nodes there are."""
        return [{"Alive": up, "Resources": {"CPU": PER_NODE}} for up in self._up]

    def remote(self, _: type) -> SimpleNamespace:
        """Return what hires workers."""
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda _: self._hire()))

    def kill(self, actor: Actor) -> None:
        """End a worker."""
        self._end(actor, 0.0)

    def wait(self, tasks: list[Task], timeout: float) -> tuple[list[Task], list[Task]]:
        """Let fake time pass until one of the tasks is done, at most `timeout` seconds."""
        began = time.process_time()
        until = self.now + timeout
        while not self._ready and self._events and self._events[0][0] <= until:
            at, _, happens = heappop(self._events)
            self.now = max(self.now, at)
            happens()
        if not self._ready:
            self.now = until
        done = [self._ready.popleft()] if self._ready else []
        self.own_s += time.process_time() - began
        return done, []

    def get(self, task: Task) -> Any:
        """Return what a task came to."""
        if task.died:
            raise RayError("the worker died")
        return None if task.block is None else ()

    # What happens there.

    def begin(self, actor: Actor, block: int | None) -> Task:
        """Start a task; its end, or its death, comes later."""
        scene = self._scene
        seconds = scene.start_s
        if block is not None:
            self.repeated += block in self._begun
            self._begun.add(block)
            seconds = scene.block * scene.image_s * np.exp(scene.spread * self._draw.normal())
            seconds *= scene.slower if self._draw.random() < scene.slow else 1.0
            seconds *= scene.slower_node if actor.node < scene.slow_nodes else 1.0
        task = actor.task = Task(actor, self.now, block)
        if not actor.alive:
            self._lose(task, 0.0)
        else:
            self._after(seconds, lambda: self._finish(task))
        return task

    def _finish(self, task: Task) -> None:
        if task.died:
            return
        task.actor.task = None
        if task.block in self._made:
            self.wasted += self.now - task.began
        elif task.block is not None:
            self._made.add(task.block)
            self.busy += self.now - task.began
        self._ready.append(task)

    def _hire(self) -> Actor:
        free = [n for n, up in enumerate(self._up) if up and len(self._actors[n]) < PER_NODE]
        if not free:
            raise SystemExit("the engine starts more workers than there is room for")
        actor = Actor(self, min(free, key=lambda n: len(self._actors[n])))
        self._actors[actor.node].add(actor)
        if self._scene.worker_h:
            hours = self._draw.exponential(self._scene.worker_h)
            self._after(3600 * hours, lambda: self._end(actor, DETECTED[0]))
        return actor

    def _end(self, actor: Actor, known_after: float) -> None:
        if not actor.alive:
            return
        actor.alive = False
        self.deaths += known_after > 0
        self._actors[actor.node].discard(actor)
        if actor.task is not None:
            self._lose(actor.task, known_after)

    def _lose(self, task: Task, known_after: float) -> None:
        task.died = True
        if task.block is not None:
            self.wasted += self.now - task.began
        if known_after >= 0:
            self._after(known_after, lambda: self._ready.append(task))

    def _later_node_goes(self, node: int) -> None:
        if self._scene.node_h:
            hours = self._draw.exponential(self._scene.node_h)
            self._after(3600 * hours, lambda: self._node_goes(node))

    def _node_goes(self, node: int) -> None:
        self._up[node] = False
        for actor in list(self._actors[node]):
            self._end(actor, DETECTED[1])
        self._after(self._scene.away_s, lambda: self._node_comes(node))

    def _node_comes(self, node: int) -> None:
        self._up[node] = True
        self._later_node_goes(node)

    def _after(self, seconds: float, happens: Any) -> None:
        self._n += 1
        heappush(self._events, (self.now + seconds, self._n, happens))


@dataclass(frozen=True)
class Outcome:
    """What a job came to.

    Attributes:
        scene: of it.
        hours: by the fake clock.
        used: share of the workers' time that went into blocks that counted.
        repeated: blocks begun again.
        wasted: share of the workers' seconds that dead workers, or those that came second, spent.
        waiting: blocks finished and not yet committed, mean and most.
        deaths: of workers.
        lines: of the journal.
        driver_ms: CPU of the real scheduler, a block.
    """

    scene: Scene
    hours: float
    used: float
    repeated: int
    wasted: float
    waiting: tuple[float, int]
    deaths: int
    lines: int
    driver_ms: float


def simulate(scene: Scene) -> Outcome:
    """Run the real scheduler over 100 million images; its commits take fake time too."""
    cluster = Cluster(scene)
    sys.modules["ray"] = cluster  # type: ignore[assignment]
    n = -(-IMAGES // scene.block)
    began = time.process_time()
    engine = RayEngine(threads=1)
    maker: Any = SimpleNamespace(recipe=SimpleNamespace(on_gpu=False))
    committed = most = total = 0
    for _ in engine.make((Block(number, ()) for number in range(n)), maker):
        committed += 1
        waiting = cluster.finished - committed
        most, total = max(most, waiting), total + waiting
        cluster.now += COMMIT_S
    cpu = time.process_time() - began - cluster.own_s
    if committed != n or cluster.finished < n:
        raise SystemExit(f"{committed} of {n} blocks committed, {cluster.finished} made")
    return Outcome(
        scene,
        cluster.now / 3600,
        cluster.busy / (scene.workers * cluster.now),
        cluster.repeated,
        cluster.wasted / (cluster.busy + cluster.wasted),
        (total / n, most),
        cluster.deaths,
        n + 2,  # one for the store it goes on from, one for how the vectors are made
        1000 * cpu / n,
    )
