"""A new store out of rows that others hold: copied with their checks, nothing embedded again."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import embedkit
from embedkit import files
from embedkit.errors import InputError
from embedkit.items import Unreadable
from embedkit.store.blocks import write_rows, write_vectors
from embedkit.store.lock import check_forgotten
from embedkit.store.schema import STORE, SpaceRecord, npy_bytes, parquet_bytes
from embedkit.store.store import Store
from embedkit.store.writer import FACT_SCHEMA, StoredBlock, StoreWriter
from embedkit.vectors import FloatArray, IntArray

ROWS = 1024  # of a block; those of a store that is embedded are as long


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a store, (n,), ascending."""

    store: Store
    rows: IntArray


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new store is to hold.

    Attributes:
        parts: where its rows come from, in their order.
        items: all columns, a row for each row of the parts.
        unreadable: images that could not be read.
        spaces: how the vectors were made; shards and n are filled in.
        source: where the images are; `made_from` says what stores this one comes from.
    """

    parts: tuple[Part, ...]
    items: pa.Table
    unreadable: tuple[Unreadable, ...]
    spaces: dict[str, SpaceRecord]
    source: dict[str, Any]


def made_from(command: str, stores: Sequence[Store], **how: Any) -> dict[str, Any]:
    """Return what `store.json` says of the stores that a new one was made from."""
    known = [
        {
            "path": str(one.path.resolve()),
            "n": len(one.items),
            "sha256": files.sha256(one.record.to_bytes()),
        }
        for one in stores
    ]
    return {"command": command, "stores": known, **how}


def compose(path: Path, plan: Plan) -> Store:
    """Write a new store block by block; what a killed run left is taken up.

    Raises:
        InputError: something else is at `path`, or it lies inside a store.
        StoreError: it cannot be written, or a store that it is made from is damaged.
    """
    for above in path.resolve().parents:
        if (above / STORE).exists():
            raise InputError(f"{path} lies inside the store {above}; a store needs its own place")
    for part in plan.parts:
        check_forgotten(part.store.path)
    with StoreWriter(path) as writer:
        _check_taken_up(writer, plan)
        writer.begin({name: _begun(record) for name, record in plan.spaces.items()})
        known, first = list(writer.blocks), 0
        for place, vectors in enumerate(_blocks(plan)):
            n = len(next(iter(vectors.values())))
            facts = plan.items.slice(first, n).select(FACT_SCHEMA.names)
            first += n
            if place >= len(known):
                writer.add(write_rows(path, writer.next_number(), facts, vectors))
                continue
            if not _is(known[place], facts, vectors):
                raise _in_the_way(writer)
            lost = {name: rows for name, rows in vectors.items() if name not in known[place].shards}
            if lost:
                writer.add(write_vectors(path, known[place].number, lost))
        if first != sum(block.facts.num_rows for block in writer.blocks):
            raise _in_the_way(writer)
        return writer.commit(
            plan.items, plan.unreadable, plan.spaces, plan.source, embedkit.__version__
        )


def empty_space(record: SpaceRecord) -> SpaceRecord:
    """Return the record of a space without its rows."""
    return replace(record, n=0, shards=())


def _blocks(plan: Plan) -> Iterator[dict[str, FloatArray]]:
    """Yield the vectors of `ROWS` rows at a time, by space; the last block may be shorter."""
    waiting: dict[str, list[FloatArray]] = {name: [] for name in plan.spaces}
    n = 0
    for part in plan.parts:
        start = 0
        for place, (_, length) in enumerate(part.store.record.blocks):
            low, high = np.searchsorted(part.rows, (start, start + length))
            wanted = part.rows[low:high] - start
            start += length
            if not len(wanted):
                continue
            n += len(wanted)
            for name, pieces in waiting.items():
                pieces.append(part.store.spaces[name].shard(place)[wanted])
            while n >= ROWS:
                joined = {name: np.concatenate(pieces) for name, pieces in waiting.items()}
                yield {name: rows[:ROWS] for name, rows in joined.items()}
                waiting = {name: [rows[ROWS:]] for name, rows in joined.items()}
                n -= ROWS
    if n:
        yield {name: np.concatenate(pieces) for name, pieces in waiting.items()}


def _begun(record: SpaceRecord) -> dict[str, Any]:
    every = asdict(record)
    return {name: every[name] for name in ("contract_sha256", "backbone", "made_with")}


def _check_taken_up(writer: StoreWriter, plan: Plan) -> None:
    """Refuse a place with anything but what an earlier run of the same command left there."""
    there = writer.store
    if there is None:
        if writer.begun.keys() - plan.spaces.keys():
            raise _in_the_way(writer)
        return
    same = there.record.source.get("made_from") == plan.source["made_from"]
    if not same or there.spaces.keys() != plan.spaces.keys():
        raise _in_the_way(writer)


def _is(block: StoredBlock, facts: pa.Table, vectors: dict[str, FloatArray]) -> bool:
    """Say whether a block that is there is the one that would be written now."""
    if parquet_bytes(block.facts) != parquet_bytes(facts):
        return False
    hashes = {name: files.sha256(npy_bytes(np.asarray(v, "<f4"))) for name, v in vectors.items()}
    return all(hashes.get(name) == shard.sha256 for name, shard in block.shards.items())


def _in_the_way(writer: StoreWriter) -> InputError:
    what = "an unfinished store" if writer.store is None else "a store"
    return InputError(
        f"{writer.path} is {what} already, and not one that this command makes of these stores as "
        "they are now; name another place with -o, or delete it"
    )
