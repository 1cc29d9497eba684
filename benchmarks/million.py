"""Heads and the ledger at 20 thousand, 100 thousand and a million images of 512 numbers.

Each job runs in a process of its own; what has been measured lies in the work folder, so that a run
that was cut off goes on. A job that is not there when the page is written is "not run".
"""

import argparse
import json
import resource
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from common import BENCH, WORK, measure, table, write_page
from drawn_store import CLASSES, DIMENSION, MISLABELLED, TEST_SHARE, copies_in, write_store

from embedkit import matrices
from embedkit.audits.ledger import keep_ledger
from embedkit.audits.siblings import find_siblings
from embedkit.heads import evaluate, knn
from embedkit.heads.training import fit
from embedkit.statistics import clusters_of
from embedkit.store import Store

SIZES = (20_000, 100_000, 1_000_000)
FORCED = 50_000  # bound of the ways for many images, lowered to compare them with the others
MATERIAL = 0.02
JOBS = ("open", "logistic", "blocks", "random", "knn", "ledger")
WORDS = {
    "open": "open the store, labels and splits",
    "logistic": "train logistic, C chosen",
    "blocks": "the same, ways for many images forced",
    "random": "train logistic on random labels",
    "knn": "train kNN, k chosen",
    "ledger": f"ledger, logistic, ±{100 * MATERIAL:g} points",
}


class Memory:
    """The private memory of this process at its highest, in MiB, looked at 20 times a second.

    Mapped files count in the peak that the system keeps, though it takes them back when it is
    short of memory; what a process would be killed for is this.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            own = next(line for line in lines if line.startswith("RssAnon"))
            self.peak = max(self.peak, int(own.split()[1]) / 1024)
            time.sleep(0.05)


def job(name: str, folder: Path) -> dict[str, Any]:
    """Run one job on one store and return what it took and what it found."""
    memory, steps = Memory(), {}
    clock = [time.process_time(), time.perf_counter()]

    def took(step: str) -> None:
        now = [time.process_time(), time.perf_counter()]
        steps[step] = [round(now[0] - clock[0], 2), round(now[1] - clock[1], 2)]
        clock[:] = now

    if name == "blocks":
        matrices.LARGE = FORCED
    store = Store.open(folder)
    counts = store.items.counts()
    took("open")
    made: dict[str, Any] = {"n": len(store.items)}
    made["images"] = {side: sum(given.values()) for side, given in counts.items()}
    if name == "ledger":
        exact = copies_in(store).exact
        exact = clusters_of(exact)
        # Nobody looked at pictures, so there are no near copies beyond those.
        twins = SimpleNamespace(exact=exact, near=exact, calibration=None, missed="")
        siblings = find_siblings(store, twins, split="test", seed=0)
        took("siblings")
        options = {"heads": ("logistic",), "material": MATERIAL}
        ledger = keep_ledger(store, twins, siblings, split="test", **options)
        took("ledger")
        made |= {"ledger": ledger.to_dict(), "notes": list(ledger.heads[0].notes())}
    elif name != "open":
        head = fit(
            store,
            head="knn" if name == "knn" else "logistic",
            label="random" if name == "random" else "label",
        )
        took("train")
        scored = evaluate(head, store)
        took("evaluate")
        made |= {
            "accuracy": scored.accuracy.to_dict(),
            "log_loss": scored.log_loss.to_dict(),
            "choice": [head.classifier.choice.value, head.classifier.choice.note],
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return made | {"steps": steps, "private": round(memory.peak), "peak": round(peak)}


def exponent(found: dict[int, dict[str, Any]], step: str) -> str:
    """Return the slope of log CPU seconds against log images, and from where to where."""
    sizes = [n for n, one in found.items() if step in one["steps"] and one["steps"][step][0] > 0]
    if len(sizes) < 2:
        return ""
    seconds = [found[n]["steps"][step][0] for n in sizes]
    slope = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    return f"{slope:.2f}"


def rows_of(found: dict[str, dict[int, dict[str, Any]]], sizes: list[int]) -> list[list[str]]:
    """Return a row for each step of each job: CPU and wall seconds by size, and the exponent."""
    rows = [["", *(f"{n:,}: CPU (wall) s" for n in sizes), "exponent"]]
    for name in JOBS:
        steps = {"open": ["open"], "ledger": ["siblings", "ledger"]}.get(name, ["train"])
        steps += ["evaluate"] if name in ("logistic", "knn") else []
        for step in steps:
            cells = []
            for n in sizes:
                one = found.get(name, {}).get(n)
                cells.append(
                    "not run"
                    if one is None
                    else f"{one['steps'][step][0]:.1f} ({one['steps'][step][1]:.1f})"
                )
            what = WORDS[name] if step not in ("siblings", "evaluate") else f"{name}: {step}"
            rows.append([what, *cells, exponent(found.get(name, {}), step)])
    return rows


def memory_rows(found: dict[str, dict[int, dict[str, Any]]], sizes: list[int]) -> list[list[str]]:
    """Return the private and the whole peak memory of each job by size."""
    rows = [["", *(f"{n:,}: private (with mapped files) MiB" for n in sizes)]]
    for name in JOBS:
        there = [found.get(name, {}).get(n) for n in sizes]
        cells = ["not run" if o is None else f"{o['private']:,} ({o['peak']:,})" for o in there]
        rows.append([WORDS[name], *cells])
    return rows


def answers(found: dict[str, dict[int, dict[str, Any]]]) -> list[list[str]]:
    """Return the accuracy of each head, and how it was fitted."""
    rows = [["images", "head", "accuracy", "log-loss", "C or k", "how"]]
    for name in ("logistic", "blocks", "random", "knn"):
        for n, one in sorted(found.get(name, {}).items()):
            figure, loss = one["accuracy"], one["log_loss"]
            rows.append(
                [
                    f"{n:,}",
                    WORDS[name],
                    f"{figure['value']:.2%} [{figure['low']:.2%}, {figure['high']:.2%}]",
                    f"{loss['value']:.4f}",
                    f"{one['choice'][0]:.3g}",
                    one["choice"][1] or "as always",
                ]
            )
    return rows


def ledgers(found: dict[int, dict[str, Any]]) -> str:
    """Say what the ledger found at each size."""
    parts = []
    for n, one in sorted(found.items()):
        notes = " ".join(one["notes"])
        parts.append(f"**{n:,} images.** {one['ledger']['summary']}\n\n{notes}")
    return "\n\n".join(parts) or "Not run."


def page(work: Path, sizes: list[int]) -> None:
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for name in JOBS:
        for n in sizes:
            path = work / f"{name}-{n}.json"
            if path.exists():
                found.setdefault(name, {})[n] = json.loads(path.read_text())
    bytes_ = {n: 4 * DIMENSION * n / 2**20 for n in sizes}
    write_page(
        "million.md",
        "million.py",
        f"""# A million images

Drawn vectors of {DIMENSION} numbers in a store that its own writer wrote, {CLASSES} classes, four
pictures of a person, copies in every block, {MISLABELLED:.0%} of the people with a label that says
nothing of how they look, {TEST_SHARE:.0%} of the people in test and some of them in train too. No
pictures, so nothing that looks at one is measured here. Every job is a process of its own with one
thread; CPU seconds are to be compared, for the machine had other work to do, and wall seconds are
what the clock said meanwhile. Above {matrices.LARGE:,} training images a head is fitted over blocks
of the memory map and its C is chosen on a sample. kNN chooses k on one above {knn.MANY:,}; beyond
{knn.ALL_COMPARED:,} it looks for neighbours in lists, which leaves some out, and says how many.
Controls of the ledger are of samples above {matrices.LARGE:,}.

## Time

{table(rows_of(found, sizes))}

"Not run" is said of what was not measured, and of the ways for many images where a size has only
one way. The exponent is that of a power law through the sizes that ran; one above 1 grows faster
than the images. Heads change their way of fitting between 100,000 and 1,000,000.

## Memory at the peak

The vectors alone are {", ".join(f"{size:,.0f} MiB ({n:,})" for n, size in bytes_.items())}.
Private memory is what cannot be taken back; mapped files can. Opening the smallest store is all but
start-up: Python, its packages and nothing else.

{table(memory_rows(found, sizes))}

## What the heads reach

{table(answers(found))}

`random` is one class of {CLASSES} a person, drawn: only who is in train too can be looked up, and a
head that learns nothing is right in {1 / CLASSES:.1%}.

## The ledger

Exact copies and people are as planted; near copies need pictures.

{ledgers(found.get("ledger", {}))}
""",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=BENCH / "million", help=WORK)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--jobs", nargs="*", choices=JOBS, default=list(JOBS))
    parser.add_argument("--only", nargs=2, metavar=("JOB", "STORE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(job(options.only[0], Path(options.only[1]))))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    for n in options.sizes:
        folder = options.work / f"s{n}"
        if not (folder / "store.json").exists():
            write_store(folder, n)
        for name in options.jobs:
            result = options.work / f"{name}-{n}.json"
            same = name == "blocks" and not FORCED < n <= matrices.LARGE
            if not result.exists() and not same:
                script = [sys.executable, str(Path(__file__).resolve()), "--only", name]
                run = ["env", "OMP_NUM_THREADS=1", *script, str(folder)]
                result.write_text(measure(run, folder=folder).output)
    page(options.work, options.sizes)


if __name__ == "__main__":
    main()
