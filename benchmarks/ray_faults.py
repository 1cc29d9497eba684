"""The Ray engine on a three-node cluster: workers, a node and the driver killed, the same bytes."""

import csv
import hashlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from itertools import pairwise
from pathlib import Path

from common import ROOT, data_folder, table, write_page
from ray_worlds import BLOCKS, SECONDS

from embedkit.store import Store

SETS = {"utkface": 2169, "fairface": 1431, "lfw_deepfunneled": 1400}
N = sum(SETS.values())
NODES = 3
WORLDS = str(Path(__file__).with_name("ray_worlds.py"))
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
os.environ["PYTHONPATH"] = f"{ROOT}:{ROOT / 'cli'}"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


@dataclass
class Watched:
    """The processes of one run, looked at twice a second.

    Attributes:
        cpu: seconds of each process, by its number, as last seen.
        driver: resident memory of the driver, MiB, at each look.
        workers: that of the largest worker, at each look.
    """

    cpu: dict[int, float] = field(default_factory=dict)
    driver: list[float] = field(default_factory=list)
    workers: list[float] = field(default_factory=list)


def processes() -> dict[int, tuple[int, str, float, float]]:
    """Return parent, name, CPU seconds and resident MiB of each process below this one."""
    every = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            cells = (folder / "stat").read_text().rpartition(")")[2].split()
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            resident = int((folder / "statm").read_text().split()[1]) * PAGE / 2**20
        except OSError:
            continue  # gone meanwhile
        cpu = (int(cells[11]) + int(cells[12])) / TICKS
        every[int(folder.name)] = (int(cells[1]), name, cpu, resident)
    below, new = {}, {os.getpid()}
    while new:
        new = {pid for pid, (parent, *_) in every.items() if parent in new and pid not in below}
        below |= {pid: every[pid] for pid in new}
    return below


def workers() -> list[int]:
    """Return the processes that make blocks."""
    return [pid for pid, (_, name, *_) in processes().items() if name.startswith("ray::Making")]


@contextmanager
def watched() -> Iterator[Watched]:
    seen, ended = Watched(), threading.Event()
    before = {pid: cpu for pid, (_, _, cpu, _) in processes().items()}

    def look() -> None:
        while not ended.wait(0.5):
            now = processes()
            for pid, (_, _, cpu, _) in now.items():
                seen.cpu[pid] = cpu - before.get(pid, 0.0)
            for names, into in ((WORLDS, seen.driver), ("ray::Making", seen.workers)):
                sizes = [size for _, name, _, size in now.values() if names in name]
                if sizes:
                    into.append(max(sizes))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@dataclass
class Outcome:
    """One run, or a run and what took it up again."""

    title: str
    wall: float
    cpu: float
    files: dict[str, str]
    seen: Watched
    told: str = ""
    images: int = 0


def files_of(store: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a store but its lock, by name."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def drive(arguments: list[str], tell: Callable[[int, subprocess.Popen], None]) -> int:
    """Run the driver and say after each line what it printed; returns its exit status."""
    with subprocess.Popen(
        [sys.executable, WORLDS, *arguments], stdout=subprocess.PIPE, text=True
    ) as driver:
        for line in driver.stdout:
            tell(int(line), driver)
    return driver.returncode


class Trial:
    """Runs over one list of pictures."""

    def __init__(self, work: Path, data: Path, cluster: object) -> None:
        self.work, self.data, self.cluster = work, data, cluster
        self.list = work / "pictures.csv"
        with self.list.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("file", "label"))
            for name, n in SETS.items():
                found = sorted(p for p in (data / name).rglob("*") if p.suffix == ".jpg")
                rows.writerows((path.relative_to(data), name) for path in found[:n])

    def run(
        self, title: str, tell: Callable[[int, subprocess.Popen], str | None], engine: str = "ray"
    ) -> Outcome:
        """Embed everything, disturbed by `tell`; a driver that was killed is started again."""
        store = self.work / title.replace(" ", "-").replace(",", "")
        arguments = ["embed", engine, self.cluster.address]
        arguments += [str(one) for one in (self.list, self.data, store)]
        notes: list[str] = []

        def told(safe: int, driver: subprocess.Popen) -> None:
            note = tell(safe, driver)
            if note:
                notes.append(note)

        began = time.perf_counter()
        with watched() as seen:
            status = drive(arguments, told)
            if status == -signal.SIGKILL:
                status = drive(arguments, told)
        if status:
            raise SystemExit(f"{title} ended with status {status}")
        wall = time.perf_counter() - began
        outcome = Outcome(
            title, wall, sum(seen.cpu.values()), files_of(store), seen, "; ".join(notes)
        )
        outcome.images = len(set(Store.open(store).items.ids))
        print(
            f"{title}: {wall:.0f} s, {outcome.cpu:.0f} s of CPU, driver {slope(seen.driver)} MiB; "
            f"{outcome.told}",
            flush=True,
        )
        return outcome


def once(at: int, do: Callable[[subprocess.Popen], str]) -> Callable[[int, subprocess.Popen], str]:
    """Do something the first time that so many images are safe."""
    done: list[int] = []

    def tell(safe: int, driver: subprocess.Popen) -> str:
        if safe < at or done:
            return ""
        done.append(safe)
        return do(driver)

    return tell


def kill_workers() -> Callable[[int, subprocess.Popen], str]:
    """Kill a worker each time that another sixth is safe."""
    shots: list[int] = []

    def tell(safe: int, _: subprocess.Popen) -> str:
        if safe < N * (len(shots) + 1) / 6 or len(shots) == 5:
            return ""
        shots.append(safe)
        victim = workers()[0]
        os.kill(victim, signal.SIGKILL)
        return f"worker {victim} killed at {safe} safe"

    return tell


def kill_driver(driver: subprocess.Popen) -> str:
    driver.kill()
    return "driver killed"


def patiently(start: Callable[[], object]) -> object:
    """Start a node; Ray gives it 30 seconds, which a busy machine may not have for it."""
    for _ in range(9):
        try:
            return start()
        except Exception as error:  # noqa: BLE001 (Ray raises plain ones)
            print(f"again: {error}", flush=True)
    raise SystemExit("no node could be started")


def asleep(how: str, cluster: object) -> tuple[list[float], float]:
    """Run work that only sleeps, and take a node away; returns when each block came, and when."""
    arrived: list[float] = []
    removed = 0.0
    began = time.perf_counter()
    node = patiently(lambda: cluster.add_node(num_cpus=1))
    cluster.wait_for_nodes()
    with subprocess.Popen(
        [sys.executable, WORLDS, "sleep", how, cluster.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as driver:
        for line in driver.stdout:
            if not line.strip().isdecimal():  # Ray Data's drivers get Ray's own messages too
                continue
            arrived.append(time.perf_counter() - began)
            if len(arrived) == 10:
                cluster.remove_node(node, allow_graceful=False)
                removed = time.perf_counter() - began
    return [moment - removed for moment in arrived], arrived[-1] - removed


def slope(sizes: list[float]) -> str:
    """Say how large a process was in the second and the last fifth of its samples."""
    fifth = max(len(sizes) // 5, 1)
    early, late = sizes[fifth : 2 * fifth] or sizes, sizes[-fifth:]
    return f"{sum(early) / len(early):.0f} → {sum(late) / len(late):.0f}"


def main() -> None:
    from ray.cluster_utils import Cluster

    data = data_folder()
    logging.getLogger("ray").setLevel(logging.ERROR)
    nodes = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = Cluster()
    patiently(lambda: cluster.add_node(**nodes, include_dashboard=False))
    others = [patiently(lambda: cluster.add_node(**nodes)) for _ in range(NODES - 1)]
    cluster.wait_for_nodes()
    trial = Trial(Path(tempfile.mkdtemp()), data, cluster)

    def remove_node(_: subprocess.Popen) -> str:
        cluster.remove_node(others.pop(), allow_graceful=False)
        return f"a node removed, {NODES - 1} left"

    def undisturbed(_: int, __: subprocess.Popen) -> str:
        return ""

    local = trial.run("local engine", undisturbed, "local")
    calm = trial.run("undisturbed", undisturbed)
    shot = trial.run("workers killed", kill_workers())
    halved = trial.run("driver killed, resumed", once(N // 2, kill_driver))
    less = trial.run("node removed", once(N // 3, remove_node))
    probes = {how: asleep(how, cluster) for how in ("actors", "data")}
    cluster.shutdown()
    page(local, calm, [shot, less, halved], probes)


def page(local: Outcome, calm: Outcome, disturbed: list[Outcome], probes: dict) -> None:
    expected = local.files
    rows = [
        [
            "run",
            "files as by the local engine",
            "wall, s",
            "CPU, s",
            "driver's memory, MiB",
            "largest worker's, MiB",
        ]
    ]
    for one in [local, calm, *disturbed]:
        same = sum(one.files.get(name) == digest for name, digest in expected.items())
        extra = len(one.files.keys() - expected.keys())
        rows.append(
            [
                one.title,
                f"{same} of {len(expected)}" + (f", {extra} more" if extra else ""),
                f"{one.wall:.0f}",
                f"{one.cpu:.0f}",
                slope(one.seen.driver),
                slope(one.seen.workers) if one.seen.workers else "–",
            ]
        )
    cpu, wall = calm.cpu / local.cpu, calm.wall / local.wall
    (by_actors, actors_end), (by_data, data_end) = probes["actors"], probes["data"]

    def longest(arrived: list[float]) -> str:
        after = [0.0, *(moment for moment in arrived if moment > 0)]
        gap, at = max((b - a, b) for a, b in pairwise(after))
        late = sum(moment >= at for moment in arrived)
        return f"{gap:.1f} s without a block; {late} of {len(arrived)} blocks came after that"

    same = all(one.files == expected for one in [calm, *disturbed])
    counted = (
        f"Each of the {1 + len(disturbed)} stores is the local engine's, byte for byte: of "
        f"{N:,} images {local.images:,} are in it once, the others are listed as unreadable."
        if same
        else "**Not all stores are the local engine's: see the table.**"
    )
    notes = "\n".join(f"- {one.title}: {one.told}." for one in disturbed)
    text = (ROOT / "docs" / "ray.md").read_text() if (ROOT / "docs" / "ray.md").exists() else ""
    head = text.partition("## Measured")[0].strip()
    write_page(
        "ray.md",
        "ray_faults.py",
        f"""{head}

## Measured

{N:,} photographs of UTKFace, FairFace and LFW, `pixels`, blocks of 100, on a
`ray.cluster_utils.Cluster` of {NODES} nodes of one core each, all on this machine (so three workers
share its cores: the wall time shows what Ray costs, not what more machines gain). Compared is the
SHA-256 of every file of the store but its lock. Memory is resident memory, the mean over the second
fifth of the run and over its last fifth; CPU is of all processes below the benchmark's, Ray's own
among them, and of the driver that was killed and the one that went on.

{table(rows)}

{notes}

{counted} Undisturbed, Ray took {cpu:.2f} times the CPU of the local engine and {wall:.2f} times its
wall time (one run of each); that includes three workers that each start a Python of their
own, and the cluster's own processes.

### Why not Ray Data

{NODES} nodes of one core, {BLOCKS} blocks of work that only sleeps ({SECONDS} s each), results in
order; at the tenth result a node is removed, with the block that it had.

- The engine's own workers: {longest(by_actors)}; done {actors_end:.0f} s after the removal.
- Ray Data {metadata.version("ray")} (`map` over an actor pool, `preserve_order`):
  {longest(by_data)}; done {data_end:.0f} s after the removal.

Ray Data leaves the lost block with the actor that had it, which finds no core until another actor
is let go at the end. What came after it cannot be committed meanwhile, and would be lost with the
driver.""",
    )


if __name__ == "__main__":
    main()
