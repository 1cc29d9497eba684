"""An audit divided by the Ray engine on this machine: the same findings, and at what cost.

Each turn runs the local engine and Ray's one after the other, which of them first by turns. CPU is
of all processes, Ray's own among them; results are compared as the JSON that the command prints.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import ROOT, table, write_page
from ray_faults import watched

ENGINES = ("local", "ray")
MANY, FEW = 2000, 300  # pictures; the few are seen in all views
# Not divided: what they take is compared with what a Ray takes that has nothing to do.
OTHERS = {
    "`train`, C chosen over folds": ("train", "many"),
    "`train --head knn`": ("train", "many", "--head", "knn"),
    "`compare`, both kinds of head": ("compare", "many"),
}
NOTHING = """
from embedkit.engines import choose_engine
with choose_engine("ray") as engine:
    engine.map(divmod, [(7, n) for n in (1, 2, 3, 4)])
"""


@dataclass(frozen=True)
class Case:
    """What is audited, and how.

    Attributes:
        title: in words.
        store: name of it.
        options: of the command.
    """

    title: str
    store: str
    options: tuple[str, ...]


CASES = (
    Case("the ledger alone", "many", ("--check", "ledger")),
    Case("the whole audit", "many", ()),
    Case("views", "few", ("--check", "shortcuts", "--views")),
)


@dataclass(frozen=True)
class Took:
    """One run of the command.

    Attributes:
        wall: seconds by the clock.
        cpu: seconds of all its processes.
        said: the JSON that it printed.
    """

    wall: float
    cpu: float
    said: str


def embed(data: Path, work: Path) -> dict[str, int]:
    """Embed many and few pictures of FER2013, with its own splits; returns how many."""
    every = sorted((data / "fer2013").glob("*/*/*.jpg"))
    sizes = {}
    for name, most in (("many", MANY), ("few", FEW)):
        places = np.linspace(0, len(every) - 1, most).astype(int)
        paths = [every[place] for place in places]
        lines = [f"{p.relative_to(data)},{p.parts[-2]},{p.parts[-3]}" for p in paths]
        listing = work / f"{name}.csv"
        listing.write_text("\n".join(["file,label,split", *lines]) + "\n")
        options = ["--root", str(data), "-b", "pixels", "-o", str(work / name)]
        timed(["-m", "embedkit_cli", "embed", str(listing), *options])
        sizes[name] = len(paths)
    return sizes


def timed(arguments: list[str]) -> Took:
    """Run a program of Python's and say what it took."""
    began = time.perf_counter()
    with watched() as seen:
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=False
        )
        wall = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr.strip()[-300:]}")
    return Took(wall, sum(seen.cpu.values()), done.stdout)


def run(case: Case, engine: str, work: Path) -> Took:
    """Audit a store; views that are there already are made again."""
    store = work / case.store
    shutil.rmtree(store / "views", ignore_errors=True)
    options = [*case.options, "--engine", engine, "--json", "--quiet"]
    return timed(["-m", "embedkit_cli", "audit", str(store), *options])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    sizes = embed(given.data.resolve(), work)
    found: dict[Case, dict[str, list[Took]]] = {}
    for case in CASES:
        found[case] = {engine: [] for engine in ENGINES}
        for turn in range(given.rounds):
            for engine in ENGINES[:: 1 if turn % 2 else -1]:
                took = run(case, engine, work)
                found[case][engine].append(took)
                print(f"{case.title}, {engine}: {took.wall:.1f} s, {took.cpu:.1f} CPU", flush=True)
    others: dict[str, list[Took]] = {}
    for _ in range(given.rounds):
        for title, arguments in OTHERS.items():
            verb, store, *options = arguments
            program = ["-m", "embedkit_cli", verb, str(work / store), *options]
            others.setdefault(title, []).append(timed(program))
        others.setdefault("a Ray started, four calls, and ended", []).append(timed(["-c", NOTHING]))
    shutil.rmtree(work)
    page(found, others, sizes, given.rounds)


def page(
    found: dict[Case, dict[str, list[Took]]],
    others: dict[str, list[Took]],
    sizes: dict[str, int],
    rounds: int,
) -> None:
    """Write docs/ray_audit.md."""
    rows = [["what", "images", "JSON", "wall, s: local", "Ray", "ratio", "CPU, s: local", "Ray"]]
    rows[0] += ["ratio"]
    for case, by_engine in found.items():
        documents = [json.loads(took.said) for runs in by_engine.values() for took in runs]
        same = all(one == documents[0] for one in documents)
        cells = [case.title, f"{sizes[case.store]:,}", "the same" if same else "**differs**"]
        for figure in ("wall", "cpu"):
            local, ray = ([getattr(one, figure) for one in by_engine[e]] for e in ENGINES)
            ratio = statistics.median(b / a for a, b in zip(local, ray, strict=True))
            cells += [f"{statistics.median(local):.0f}", f"{statistics.median(ray):.0f}"]
            cells += [f"{ratio:.2f}"]
        rows.append(cells)
    alone = [["what is not divided", "wall, s", "CPU, s"]]
    for title, runs in others.items():
        wall, cpu = (
            statistics.median(getattr(one, key) for one in runs) for key in ("wall", "cpu")
        )
        alone.append([title, f"{wall:.1f}", f"{cpu:.1f}"])
    write_page(
        "ray_audit.md",
        "ray_audit.py",
        f"""# What dividing an audit costs on one machine

FER2013's sample with its own splits, `pixels`, by the command line, which starts a Ray of its own
for each audit and ends it again. Medians of {rounds} turns; each turn runs both engines, one after
the other, and a ratio is the median of the turns' own (Ray's by local). CPU is of all processes.
“The same” means that everything the command prints with `--json` is equal in all
{2 * rounds} runs.

{table(rows)}

Ray itself takes some seconds to start and end, and each of its workers a Python of its own, so on
one machine dividing pays only where the work takes much longer than that. `train` and `compare` do
not: on the same {sizes["many"]:,} images they take what the table says, starting Python included,
beside a Ray that does nothing.

{table(alone)}

What is divided, and what is not, is in [ray.md](ray.md).
""",
    )


if __name__ == "__main__":
    main()
