"""Pieces that one process does for the whole job, each measured at sizes that fit here.

`python benchmarks/plan_pieces.py FOLDER`, with a store of real pictures in FOLDER/store, prints
CPU, peak of memory and bytes as JSON; `plan.py` calls it and fits the growth.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from embedkit.engines import Block
from embedkit.items import item_table
from embedkit.store import Store
from embedkit.store.blocks import write_rows
from embedkit.store.index import NeighbourIndex
from embedkit.store.journal import Journal, journal_line
from embedkit.store.schema import JOURNAL, parquet_bytes, parquet_table
from embedkit.store.writer import FACT_SCHEMA, StoreWriter
from embedkit.vectors import unit_rows

BLOCK = 1024
DIMENSION = 512
THREADS = 1


@dataclass(frozen=True)
class Piece:
    """What is measured.

    Attributes:
        words: for the table.
        sizes: how many, ascending.
        unit: of what.
        per: images to one of them.
        run: does it and returns CPU seconds, seconds by the clock, and bytes written.
    """

    words: str
    sizes: tuple[int, ...]
    unit: str
    per: int
    run: Callable[[int, Path], tuple[float, float, int]]


def timed(work: Callable[[], int]) -> tuple[float, float, int]:
    """Run something that returns bytes; CPU seconds, seconds by the clock, those bytes.

    The peak of memory counts from here: what was needed to draw the data does not.
    """
    pa.default_memory_pool().release_unused()
    Path("/proc/self/clear_refs").write_text("5")
    cpu, wall = time.process_time(), time.perf_counter()
    written = work()
    return time.process_time() - cpu, time.perf_counter() - wall, written


def real_rows(folder: Path, n: int) -> pa.Table:
    """Return n rows of items: those of the real store again and again, with ids of their own."""
    rows = Store.open(folder / "store").items.rows
    draw = np.random.default_rng(0)
    many = rows.take(pa.array(np.arange(n) % len(rows)))
    ids = [f"part-{k // 10_000:05}/{k:012}.jpg" for k in range(n)]
    for name, values in (
        ("id", ids),
        ("sha256", [draw.bytes(32).hex() for _ in range(n)]),
        ("pixel_sha256", [draw.bytes(32).hex() for _ in range(n)]),
    ):
        many = many.set_column(many.column_names.index(name), name, pa.array(values, pa.string()))
    return many.combine_chunks()


def list_images(n: int, folder: Path) -> tuple[float, float, int]:
    """Hold what a run holds of its images: the table, the ids, their rows, the blocks."""

    def work() -> int:
        ids = [f"part-{k // 10_000:05}/{k:012}.jpg" for k in range(n)]
        items = item_table(folder, ids, labels=["happy"] * n, splits=["train"] * n)
        rows = {id_: row for row, id_ in enumerate(items.ids)}
        listed = set(items.ids)
        blocks = [Block(k, tuple(items.ids[k : k + BLOCK])) for k in range(0, n, BLOCK)]
        return 0 * (len(rows) + len(listed) + len(blocks))

    return timed(work)


def write_items(n: int, folder: Path) -> tuple[float, float, int]:
    """Make the bytes of items.parquet, as a commit does."""
    rows = real_rows(folder, n)
    return timed(lambda: len(parquet_bytes(rows)))


def read_items(n: int, folder: Path) -> tuple[float, float, int]:
    """Read them again, and the columns that audits take as lists."""
    data = parquet_bytes(real_rows(folder, n))

    def work() -> int:
        rows = parquet_table(data)
        lists = [rows.column(name).to_pylist() for name in ("id", "label", "split", "sha256")]
        return 0 * len(lists)

    return timed(work)


def replay_journal(n: int, folder: Path) -> tuple[float, float, int]:
    """Read a journal of n lines; the blocks' own files, which a resumed run reads too, are not."""
    place = folder / f"journal-{n}"
    place.mkdir()
    shard = {"file": "vectors-000001.npy", "n": BLOCK, "sha256": "0" * 64}
    with (place / JOURNAL).open("wb") as file:
        file.write(journal_line({"base": None}))
        for number in range(n):
            entry = {
                "number": number,
                "shards": {"clip": shard},
                "facts": {"file": "block-000001.parquet", "sha256": "0" * 64},
                "refused": [],
                "in_place_of": None,
            }
            file.write(journal_line(entry))
    size = (place / JOURNAL).stat().st_size
    found = []

    def work() -> int:
        Journal(place).replay(lambda entry: found.append(entry["number"]) is None)
        return size

    result = timed(work)
    if len(found) != n:
        raise SystemExit(f"{len(found)} of {n} lines were replayed")
    return result


def commit_blocks(n: int, folder: Path) -> tuple[float, float, int]:
    """Commit n blocks that workers have written: what the one writer does for each."""
    rows = real_rows(folder, BLOCK).select(FACT_SCHEMA.names).cast(FACT_SCHEMA)
    vectors = {"clip": unit_rows(np.random.default_rng(0).normal(size=(BLOCK, DIMENSION)))}
    place = folder / f"commits-{n}"
    with StoreWriter(place) as writer:
        entries = [write_rows(place, number, rows, vectors) for number in range(n)]

        def work() -> int:
            for entry in entries:
                writer.add(entry)
            return 0

        return timed(work)


def search_flat(n: int, folder: Path) -> tuple[float, float, int]:
    """Find ten neighbours of every image by comparing it with every other, on one thread."""
    import faiss

    faiss.omp_set_num_threads(THREADS)
    vectors = np.random.default_rng(0).standard_normal((n, DIMENSION), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = NeighbourIndex(vectors)

    def work() -> int:
        index.search(vectors, 10, exclude=np.arange(n))
        return vectors.nbytes  # of the index's file, but for its header

    return timed(work)


PIECES = {
    "list": Piece(
        "listing the images (ids, rows, blocks)", (200_000, 400_000, 800_000), "image", 1,
        list_images,
    ),
    "write": Piece(
        "items.parquet: its bytes at a commit", (30_000, 60_000, 120_000), "image", 1, write_items
    ),
    "read": Piece(
        "items.parquet: read, four columns as lists", (30_000, 60_000, 120_000), "image", 1,
        read_items,
    ),
    "replay": Piece(
        "replay of the journal's lines", (10_000, 30_000, 100_000), "line", BLOCK, replay_journal
    ),
    "commit": Piece("commits by the one writer", (20, 60, 120), "block", BLOCK, commit_blocks),
    "flat": Piece(
        f"flat search, {DIMENSION} numbers, every image", (6_000, 12_000, 24_000), "image", 1,
        search_flat,
    ),
}  # fmt: skip


def in_a_child(piece: Piece, n: int, folder: Path) -> dict[str, float]:
    """Measure one size in a process of its own, so that its peak of memory is its own."""
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        with os.fdopen(reading) as answer:
            text = answer.read()
        if os.waitpid(pid, 0)[1]:
            raise SystemExit(f"{piece.words}: failed at {n}")
        return dict(json.loads(text))
    cpu, wall, written = piece.run(n, folder)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    with os.fdopen(writing, "w") as answer:
        json.dump({"n": n, "cpu": cpu, "wall": wall, "written": written, "peak": peak}, answer)
    os._exit(0)


if __name__ == "__main__":
    found = {
        name: [in_a_child(piece, n, Path(sys.argv[1])) for n in piece.sizes]
        for name, piece in PIECES.items()
    }
    print(json.dumps(found))
