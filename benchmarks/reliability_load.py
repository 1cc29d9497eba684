"""How long `view` can be asked: memory, open files and threads over hours of requests.

    python benchmarks/reliability_load.py STORE --view-hours 24

prints a line at the start and about every hundredth of the time. What it does to the explorer is
what `tests/test_load.py` does for seconds.
"""

import argparse
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))
WARM = 60  # rounds until all that is made once is made


@dataclass(frozen=True)
class Used:
    """What the process holds.

    Attributes:
        memory: that is resident, in MiB.
        files: that are open.
        threads: of Python.
    """

    memory: float
    files: int
    threads: int

    def __str__(self) -> str:
        return f"{self.memory:.0f} MiB, {self.files} files, {self.threads} threads"


def used() -> Used:
    """Return what this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Used(memory, len(list(Path("/proc/self/fd").iterdir())), threading.active_count())


def ask(client: Any, turn: int) -> None:
    """Ask what a page asks, one round."""
    n = client.get("pictures")[1]["n"] if turn == 0 else 20
    row = turn % min(n, 20)
    for path in ("pictures", f"near/{row}", "finding/twins"):
        client.get(path)
    client.send("GET", f"{client.at}picture/{row}")
    client.send("GET", "/")


def soak(client: Any, seconds: float, every: float = float("inf")) -> tuple[Used, Used, int]:
    """Ask for some time; return what is held after warming up and at the end, and the rounds."""
    for turn in range(WARM):
        ask(client, turn)
    first, rounds, start = used(), 0, time.monotonic()
    told = start
    while time.monotonic() - start < seconds:
        ask(client, rounds + 1)
        rounds += 1
        if time.monotonic() - told > every:
            told = time.monotonic()
            print(f"{(told - start) / 3600:.2f} h, {rounds} rounds: {used()}", flush=True)
    return first, used(), rounds


def main() -> None:
    """Serve a store, ask, and print what was held."""
    from explorers import Client

    from embedkit.explorer.serving import serve

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--view-hours", type=float, default=0.05)
    parser.add_argument("--backbone")
    given = parser.parse_args()
    seconds = given.view_hours * 3600
    with serve(given.store, backbone=given.backbone) as served:
        first, last, rounds = soak(Client(served), seconds, seconds / 100)
    print(f"view for {given.view_hours:g} h, {rounds} rounds: at first {first}; at last {last}")


if __name__ == "__main__":
    main()
