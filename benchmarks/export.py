"""What exports cost in time and memory as a store grows; its vectors and columns are drawn."""

import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from common import DOCS, Measured, machine, measure, table

from embedkit.files import sha256
from embedkit.items import FACTS, GIVEN
from embedkit.store.schema import (
    ITEMS,
    SPACE,
    STORE,
    UNREADABLE,
    UNREADABLE_SCHEMA,
    Shard,
    SpaceRecord,
    StoreRecord,
    npy_bytes,
    parquet_bytes,
    shard_name,
)
from embedkit.vectors import unit_rows

DIMENSION = 512
BLOCK = 1024  # images of a shard, as 'embedkit embed' makes them
SIZES = (10_000, 100_000)
TARGETS = ("parquet", "npy", "fiftyone", "projector", "atlas")
LAID_OUT = 10_000  # images of the largest layout that is measured here
NAME = "drawn"
PAGE = DOCS / "export.md"
MARKED = re.compile(r"(<!-- measured -->\n).*(<!-- /measured -->)", re.DOTALL)


def drawn(kind: pa.DataType, n: int, generator: np.random.Generator) -> pa.Array:
    """Return n values of a type of Arrow."""
    if pa.types.is_struct(kind):
        return pa.StructArray.from_arrays(
            [drawn(one.type, n, generator) for one in kind], fields=list(kind)
        )
    if pa.types.is_list(kind):
        rows = generator.integers(0, 256, (n, 192))
        return pa.array(list(rows), kind)
    if pa.types.is_boolean(kind):
        return pa.array(generator.random(n) < 0.5)
    if pa.types.is_floating(kind):
        return pa.array(generator.random(n)).cast(kind)
    if pa.types.is_integer(kind):
        return pa.array(generator.integers(0, 100, n)).cast(kind)
    return pa.array([f"{one:064x}" for one in generator.integers(0, 2**62, n)])


def make_store(folder: Path, n: int) -> Path:
    """Write a store of n images that are nowhere, by the store's own records."""
    generator = np.random.default_rng(0)
    (folder / NAME).mkdir(parents=True)
    columns = {
        "id": pa.array([f"train/class {k % 10}/{k:07d}.jpg" for k in range(n)]),
        "label": pa.array([f"class {k % 10}" for k in range(n)]),
        "split": pa.array(["test" if k % 5 == 0 else "train" for k in range(n)]),
        "group": pa.array([f"person {k // 4}" for k in range(n)]),
    }
    if tuple(columns) != GIVEN:
        raise SystemExit("the columns of a store have changed")
    columns |= {name: drawn(kind, n, generator) for name, kind in FACTS.items()}
    items = parquet_bytes(pa.table(columns))
    missing = parquet_bytes(UNREADABLE_SCHEMA.empty_table())
    shards, blocks = [], []
    for number, first in enumerate(range(0, n, BLOCK)):
        rows = unit_rows(generator.normal(size=(min(BLOCK, n - first), DIMENSION)))
        data = npy_bytes(rows)
        (folder / NAME / shard_name(number)).write_bytes(data)
        shards.append(Shard(shard_name(number), len(rows), sha256(data)))
        blocks.append((number, len(rows)))
    backbone = {"name": NAME, "weights": ""}
    contract = sha256(NAME.encode())
    space = SpaceRecord(NAME, {}, contract, DIMENSION, n, tuple(shards), backbone).to_bytes()
    store = StoreRecord(
        source={"path": str(folder), "layout": "", "given": NAME, "split": {"made_by": NAME}},
        items={"n": n, "sha256": sha256(items)},
        unreadable={"sha256": sha256(missing)},
        blocks=tuple(blocks),
        spaces={NAME: sha256(space)},
        embedkit="benchmark",
    )
    (folder / ITEMS).write_bytes(items)
    (folder / UNREADABLE).write_bytes(missing)
    (folder / NAME / SPACE).write_bytes(space)
    (folder / STORE).write_bytes(store.to_bytes())
    return folder


def size_of(path: Path) -> float:
    """Return the length of a file, or of a folder's files, in MB."""
    files = [path] if path.is_file() else list(path.iterdir())
    return sum(one.stat().st_size for one in files) / 1e6


def row(name: str, n: int, run: Measured, size: float | None) -> list[str]:
    figures = [f"{run.wall:.1f}", f"{run.cpu:.1f}", f"{run.peak:.0f}"]
    return [name, f"{n:,}", *figures, "" if size is None else f"{size:.0f}"]


def main() -> None:
    program = [sys.executable, "-m", "embedkit_cli"]
    rows = [["", "images", "seconds", "CPU seconds", "peak memory, MiB", "MB written"]]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for n in SIZES:
            store = make_store(work / f"store{n}", n)
            read = measure([*program, "info", str(store)], folder=work)
            rows.append(row("`embedkit info`", n, read, None))
            for to in TARGETS:
                if to == "atlas" and n > LAID_OUT:
                    continue
                out = work / f"{to}{n}"
                command = ["export", str(store), "--to", to, "-o", str(out), "--no-images"]
                run = measure([*program, *command], folder=work)
                made = out if out.exists() else out.with_name(f"{out.name}.parquet")
                rows.append(row(to, n, run, size_of(made)))
                print(rows[-1], flush=True)
    few, many = SIZES
    text = f"""{few:,} and {many:,} drawn vectors of {DIMENSION} numbers, without small pictures
(`--no-images`). Each export is a process of its own, start-up included; `embedkit info`, which
reads the items and no vector, is beside them for what the start and the table of items take. An
atlas of {many:,} was not measured: its layout alone takes many minutes.

{table(rows)}

{machine()}

Other work ran on the machine meanwhile: the seconds by the clock are too many rather than too few.

Made by `python benchmarks/export.py`, which writes this section; do not edit it.
"""
    PAGE.write_text(MARKED.sub(lambda found: f"{found[1]}{text}{found[2]}", PAGE.read_text()))
    print(f"wrote docs/{PAGE.name}")


if __name__ == "__main__":
    main()
