"""All pairs of alike rows beside faiss range search, and the types of index: docs/pairs.md.

The rows are drawn: centres whose variances fall off as 1/i, a row about each at 0.6 of their
spread, and 2 % of the rows are copies of others with noise, at a cosine of 0.955 to 1. Every
measurement is a process of its own; what was measured is kept in the work folder, and a measurement
that is there is not taken again.
"""

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from common import BENCH, ROOT, WORK, table, write_page

from embedkit.files import sha256
from embedkit.joins import every_pair, pairs_in_cells
from embedkit.store.index_build import build_stored_index
from embedkit.store.index_plans import TYPES, plan_index
from embedkit.store.schema import Shard, SpaceRecord, npy_bytes
from embedkit.store.store import Space, Store

D, THRESHOLD, PLANTED, SPREAD, NOISE = 512, 0.95, 0.02, 0.6, 0.31
SIZES = (10_000, 100_000, 1_000_000)
QUERIES = {10_000: 10_000, 100_000: 4_000, 1_000_000: 2_000}  # of faiss; its time is scaled
ROUNDS = {10_000: 2, 100_000: 1, 1_000_000: 1}
RANDOM = 20_000
COPIES = 2
INDEXED = (100_000, 1_000_000)
SEARCHED = 200
ASKED = {"seconds": 60, "recall": 0.99, "GB": 4.0, "times": 8.0, "exponent": 1.3}


def drawn(n: int, work: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return rows about centres, mapped, and the pairs planted among them."""
    path = work / f"drawn-{n}.npy"
    planted = path.with_suffix(".pairs.npy")
    if not planted.exists():
        generator = np.random.default_rng(0)
        scale = (1 / np.arange(1, D + 1)) ** 0.5
        centres = (generator.normal(size=(max(10, int(n**0.5)), D)) * scale).astype(np.float32)
        rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, D))
        for start in range(0, n, 50_000):
            m = min(50_000, n - start)
            near = centres[generator.integers(len(centres), size=m)]
            near = near + SPREAD * (generator.normal(size=(m, D)) * scale).astype(np.float32)
            rows[start : start + m] = near / np.linalg.norm(near, axis=1, keepdims=True)
        chosen = generator.permutation(n)[: 2 * int(n * PLANTED)].reshape(2, -1)
        noise = generator.normal(size=(chosen.shape[1], D)).astype(np.float32)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        length = generator.uniform(0, NOISE, size=(len(noise), 1)).astype(np.float32)
        copies = rows[chosen[0]] + noise * length
        rows[chosen[1]] = copies / np.linalg.norm(copies, axis=1, keepdims=True)
        rows.flush()
        np.save(planted, np.sort(chosen.T, axis=1))
    return np.load(path, mmap_mode="r"), np.load(planted)


def random_rows(work: Path) -> np.ndarray:
    """Return rows with nothing planted."""
    rows = np.random.default_rng(1).normal(size=(RANDOM, D)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def real_rows(work: Path) -> np.ndarray:
    """Return the vectors of pictures about their mean, and noisy copies of each."""
    rows = Store.open(work / "fer").space().vectors
    rows = rows - rows.mean(axis=0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    noise = np.random.default_rng(2).normal(size=(COPIES, *rows.shape))
    noise *= 0.25 / np.linalg.norm(noise, axis=2, keepdims=True)
    every = np.concatenate([rows, *(rows + noise)])
    return (every / np.linalg.norm(every, axis=1, keepdims=True)).astype(np.float32)


class Watch:
    """CPU and wall seconds of what happens inside, and its peak of memory that is its own, in GB.

    Pages of a mapped file are not counted: the system drops them when it needs the memory.
    """

    def __enter__(self) -> "Watch":
        self._from = self._peak = _own_memory()
        self._done = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu = time.process_time() - self._cpu
        self.wall = time.perf_counter() - self._wall
        self._done.set()
        self.extra = max(self._peak, _own_memory()) - self._from

    def _look(self) -> None:
        while not self._done.wait(0.05):
            self._peak = max(self._peak, _own_memory())


def _own_memory() -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1e6


def join(kind: str, what: str, work: Path) -> dict[str, Any]:
    """Join rows in this process."""
    planted = np.empty((0, 2), np.int64)
    if what.isdigit():
        rows, planted = drawn(int(what), work)
    else:
        rows = {"random": random_rows, "real": real_rows}[what](work)
    if kind == "faiss":
        index = faiss.IndexFlatIP(rows.shape[1])
        with Watch() as watch:
            index.add(np.ascontiguousarray(rows))
            asked = QUERIES.get(len(rows), len(rows))
            limits, _, found = index.range_search(np.ascontiguousarray(rows[:asked]), THRESHOLD)
        first = np.repeat(np.arange(asked), np.diff(limits.astype(np.int64)))
        pairs = np.unique(np.sort(np.stack([first, found], axis=1), axis=1), axis=0)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        scale = len(rows) / asked
    else:
        with Watch() as watch:
            made = (every_pair if kind == "exact" else pairs_in_cells)(rows, THRESHOLD)
        pairs, scale = made.rows, 1.0
    known = pairs[:, 0] * len(rows) + pairs[:, 1]
    there = planted[:, 0] * len(rows) + planted[:, 1]
    return {
        "cpu": watch.cpu * scale,
        "wall": watch.wall * scale,
        "extra": watch.extra,
        "pairs": len(pairs),
        "scale": scale,
        "planted": [int(np.isin(there, known).sum()), len(there)],
        "hash": sha256(np.ascontiguousarray(pairs).tobytes()),
    }


def indexed(kind: str, what: str, work: Path) -> dict[str, Any]:
    """Make an index of a type in this process and search by it."""
    rows, _ = drawn(int(what), work)
    folder = work / f"space-{kind}-{what}"
    folder.mkdir(exist_ok=True)
    shards = []
    for place, start in enumerate(range(0, len(rows), 10_000)):
        data = npy_bytes(rows[start : start + 10_000])
        (folder / f"vectors-{place:05d}.npy").write_bytes(data)
        shards.append(
            Shard(f"vectors-{place:05d}.npy", len(rows[start : start + 10_000]), sha256(data))
        )
    space = Space(folder, SpaceRecord("drawn", {}, "", D, len(rows), tuple(shards), {}))
    plan = plan_index(len(rows), D, asked=kind)
    with Watch() as making:
        record = build_stored_index(space, plan)
    with Watch() as opening:
        index = space.stored_index
    asked = np.random.default_rng(3).choice(len(rows), SEARCHED, replace=False)
    queries = rows[np.sort(asked)]
    index.search(queries[:1], 10)
    with Watch() as searching:
        for query in queries:
            index.search(query[None], 10)
    return {
        "made": [making.cpu, making.extra],
        "disk": sum((folder / one.file).stat().st_size for one in record.files) / 1e9,
        "opened": [opening.cpu, opening.extra],
        "search": 1000 * searching.cpu / SEARCHED,
        "effort": record.effort,
        "recall": record.recall,
    }


def measured(step: str, work: Path) -> dict[str, Any] | None:
    """Return a measurement, taken in a process of its own if it is not there; None if it failed."""
    path = work / f"{step}.json"
    if not path.exists():
        command = [sys.executable, __file__, "--work", str(work), "--step", step]
        if subprocess.run(command, check=False).returncode:
            return None
    return json.loads(path.read_text())


def main() -> None:
    """Take what measurements are missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=BENCH / "pairs", help=WORK)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--step", help="take one measurement, in this process")
    parser.add_argument("--page", action="store_true", help="write the page from what is there")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.step:
        action, kind, what, *_ = given.step.split("-")
        made = (join if action == "join" else indexed)(kind, what, given.work)
        (given.work / f"{given.step}.json").write_text(json.dumps(made))
        return
    steps = plan()
    if not given.page:
        if not (given.work / "fer").exists() and (given.data / "fer2013").is_dir():
            source = [str(given.data / "fer2013"), "-o", str(given.work / "fer"), "-b", "mtcnn"]
            subprocess.run([sys.executable, "-m", "embedkit_cli", "embed", *source], check=True)
        for step in steps:
            if not step.startswith("join-cells-real") or (given.work / "fer").exists():
                measured(step, given.work)
    found = {
        step: json.loads(path.read_text())
        for step in steps
        if (path := given.work / f"{step}.json").exists()
    }
    write_page("pairs.md", "pairs.py", page(found))


def plan() -> list[str]:
    """Return the measurements in the order in which they are taken: in turn, round by round."""
    steps = []
    for n in SIZES:
        kinds = itertools.product(range(ROUNDS[n]), ("exact", "faiss", "cells"))
        steps += [f"join-{kind}-{n}-{turn}" for turn, kind in kinds]
    steps += [f"join-{kind}-{what}-0" for what in ("random", "real") for kind in ("exact", "cells")]
    return steps + [f"index-{kind}-{n}-0" for n in INDEXED for kind in TYPES]


def middle(found: dict[str, Any], kind: str, what: object, name: str) -> float | None:
    """Return the median of one figure over the rounds."""
    values = [one[name] for step, one in found.items() if step.startswith(f"join-{kind}-{what}-")]
    return statistics.median(values) if values else None


def exponents(found: dict[str, Any], kind: str) -> list[tuple[int, int, float]]:
    """Return how CPU time grows with n between neighbouring sizes: time goes as n to this power."""
    made = []
    for small, large in itertools.pairwise(SIZES):
        times = [middle(found, kind, n, "cpu") for n in (small, large)]
        if None not in times:
            made.append((small, large, float(np.log(times[1] / times[0]) / np.log(large / small))))
    return made


def page(found: dict[str, Any]) -> str:
    """Write the page from what was measured."""
    names = {
        "exact": "embedkit, every pair (`every_pair`)",
        "cells": "embedkit, cells (`pairs_in_cells`)",
        "faiss": "faiss `IndexFlatIP.range_search`",
    }
    rows = [["rows", "method", "CPU s", "wall s", "own memory, GB", "pairs", "planted found"]]
    for n in SIZES:
        for kind, name in names.items():
            one = next((v for k, v in found.items() if k.startswith(f"join-{kind}-{n}-")), None)
            if one is None:
                rows.append([f"{n:,}", name, "not run", "", "", "", ""])
                continue
            cpu, wall, extra = (middle(found, kind, n, x) for x in ("cpu", "wall", "extra"))
            scaled = f" (scaled × {one['scale']:.0f})" if one["scale"] > 1 else ""
            share = "of a part" if scaled else f"{one['planted'][0]:,} of {one['planted'][1]:,}"
            pairs = "of a part" if scaled else f"{one['pairs']:,}"
            cells = [f"{cpu:.1f}{scaled}", f"{wall:.0f}", f"{extra:.2f}", pairs, share]
            rows.append([f"{n:,}", name, *cells])
    text = [HEAD.strip(), table(rows), *_targets(found), *_elsewhere(found), *_indexes(found)]
    return "\n\n".join(text)


def _targets(found: dict[str, Any]) -> list[str]:
    lines = ["## What was asked for"]
    cells = next((v for k, v in found.items() if k.startswith("join-cells-1000000")), None)
    if cells:
        share, all_ = cells["planted"]
        lines.append(
            f"- A million rows: {cells['cpu'] / 2:.0f} s of CPU time for each of two cores "
            f"({ASKED['seconds']} asked), {cells['extra']:.1f} GB of memory beside the rows "
            f"({ASKED['GB']:.0f} asked), {share / all_:.4f} of the planted pairs found "
            f"({ASKED['recall']} asked)."
        )
    ours, theirs = (middle(found, kind, 100_000, "cpu") for kind in ("exact", "faiss"))
    if ours and theirs:
        lines.append(
            f"- Exact at 100,000: {theirs / ours:.1f} times less CPU time than faiss's range "
            f"search ({ASKED['times']:.0f} asked)."
        )
    for kind in ("cells", "exact", "faiss"):
        for small, large, power in exponents(found, kind):
            asked = f" ({ASKED['exponent']} asked)" if kind == "cells" else ""
            lines.append(
                f"- CPU time of {kind} grows as n^{power:.2f} from {small:,} to {large:,}{asked}."
            )
    return ["\n".join([lines[0], "", *lines[1:]])]


def _elsewhere(found: dict[str, Any]) -> list[str]:
    rows = [["rows", "pairs, all", "found by cells", "CPU s, every pair", "CPU s, cells"]]
    names = {"random": f"{RANDOM:,} random directions × {D}, nothing planted"}
    names["real"] = (
        f"3,171 pictures of FER2013 by `mtcnn` × 1,536, and {COPIES} noisy copies of each"
    )
    for what, name in names.items():
        exact, cells = (found.get(f"join-{kind}-{what}-0") for kind in ("exact", "cells"))
        if exact and cells:
            seconds = [f"{one['cpu']:.1f}" for one in (exact, cells)]
            rows.append([name, f"{exact['pairs']:,}", f"{cells['pairs']:,}", *seconds])
        else:
            rows.append([name, "not run", "", "", ""])
    return ["## Where the rows are not drawn about centres", ELSEWHERE.strip(), table(rows)]


def _indexes(found: dict[str, Any]) -> list[str]:
    rows = [
        ["rows", "type", "making, CPU s (told)", "own memory, GB (told)", "files, GB (told)"],
    ]
    rows[0] += ["opening, CPU s", "a search, CPU ms", "looked through", "recall@10"]
    for n, kind in itertools.product(INDEXED, TYPES):
        one = found.get(f"index-{kind}-{n}-0")
        if one is None:
            rows.append([f"{n:,}", kind, "not run", *[""] * 6])
            continue
        told = plan_index(n, D, asked=kind)  # as this version tells it
        memory, disk, seconds = told.memory / 1e9, told.disk / 1e9, told.seconds
        recall = "exact" if one["recall"] is None else f"{one['recall']:.3f}"
        rows.append(
            [
                f"{n:,}",
                kind,
                f"{one['made'][0]:.0f} ({seconds:.0f})",
                f"{one['made'][1]:.2f} ({memory:.2f})",
                f"{one['disk']:.2f} ({disk:.2f})",
                f"{one['opened'][0]:.2f}",
                f"{one['search']:.2f}",
                str(one["effort"] or "all"),
                recall,
            ]
        )
    return [f"## Types of index, rows × {D}", INDEXES.strip(), table(rows, words=(1,))]


HEAD = f"""
# All pairs, and indexes

Which rows of a space are nearly the same? `embedkit.joins` answers in two ways: **every pair**,
exactly, or nearly every pair by looking only within **cells**. Both give the same file whatever the
number of threads.

{__doc__.split(chr(10), 2)[2].strip()} Sought are all pairs with a cosine of {THRESHOLD} or more.
CPU time is that of all threads; the machine was shared with other work, so wall time says little.
faiss was asked for the pairs of a part of the rows where all would have taken too long, and its
time scaled to all. Memory is what the process had of its own beside the rows, which are mapped from
a file (faiss copies them).
"""
ELSEWHERE = f"""
Rows about centres suit cells, so two others: random directions, where there is nothing to find and
no direction matters more than another; and vectors of real pictures about their mean. The real ones
are few, so each is repeated {COPIES} times with noise: these pairs are planted too, but what lies
between and around them is real.
"""
INDEXES = f"""
Made by `embedkit index`; what it told beforehand in brackets. Opening reads every byte of the
files once for their checksum, and maps them; a search asks for 10 neighbours of one row and scores
what it finds against the vectors in float64. `ivf`, `ivfpq` and `hnsw` look through as much as
finds 95 % of the 10 nearest of 500 rows, as measured when they were made. {SEARCHED} searches, one
at a time.
"""

if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
