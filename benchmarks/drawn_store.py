"""A store of drawn vectors with planted people and copies, written by the store's own writer.

No pictures: what needs them (embedding, near copies, quality) cannot run on such a store.
"""

from dataclasses import dataclass
from dataclasses import fields as fields_of
from pathlib import Path

import numpy as np
import pyarrow as pa

import embedkit
from embedkit.files import sha256
from embedkit.items import FACTS
from embedkit.nuisance import Appearance, Header
from embedkit.pipeline import BLOCK
from embedkit.statistics import connected
from embedkit.store import Store
from embedkit.store.blocks import write_rows
from embedkit.store.schema import SpaceRecord
from embedkit.store.writer import FACT_SCHEMA, StoreWriter
from embedkit.vectors import FloatArray, IntArray, unit_rows

SPACE = "drawn"
DIMENSION, CLASSES = 512, 7
PICTURES = 4  # of each person
COPIES = 32  # in each block of `BLOCK` images, half of them exact
TEST_SHARE = 0.05
BOTH_SIDES = 0.2  # of the test people, half of their pictures are in train
WITHIN, NEAR = 0.7, 0.02  # spreads of one person's pictures and of near copies, in those of people
SIGNAL = 12.0  # length of what a class adds, likewise
MISLABELLED = 0.2  # of the people; only who has seen them knows their label
LATENT = 48  # directions that people differ in; the rest is what single pictures add


@dataclass(frozen=True)
class Planted:
    """What was planted: copies of photographs, (n,) by their first row."""

    exact: IntArray
    near: IntArray


def write_store(folder: Path, n: int, *, seed: int = 0, planted: bool = True) -> Planted:
    """Write a store of `n` drawn images and return the copies in it.

    Columns: `label` follows the vectors; `random` is one of as many classes, drawn anew for each
    person, so that it can only be looked up.

    Args:
        folder: of the store.
        n: images.
        seed: of everything.
        planted: whether there are copies and people on both sides.
    """
    world = np.random.default_rng([seed, 1])
    axes = world.normal(size=(LATENT, DIMENSION)) / np.sqrt(LATENT)
    classes = SIGNAL * unit_rows(world.normal(size=(CLASSES, DIMENSION))).astype(np.float64)
    tables, exact, near, person = [], [], [], 0
    contract = {"backbone": SPACE, "preprocessing": {}}
    made = {"name": SPACE, "weights": ""}
    record = SpaceRecord(SPACE, contract, sha256(SPACE.encode()), DIMENSION, 0, (), made, {})
    with StoreWriter(folder) as writer:
        for number, start in enumerate(range(0, n, BLOCK)):
            size = min(BLOCK, n - start)
            generator = np.random.default_rng([seed, 2, number])
            block = _block(generator, size, axes, classes, copies=COPIES if planted else 0)
            columns, vectors, first = block
            ids = [f"{start + row:08d}.jpg" for row in range(size)]
            facts = _facts(generator, ids, first[0])
            writer.add(write_rows(folder, number, facts, {SPACE: vectors}))
            group = [f"person{person + one}" for one in columns["person"]]
            person += int(columns["person"].max()) + 1
            side = columns["both"] if planted else columns["grouped"]
            given = pa.table(
                {
                    "id": ids,
                    "label": [f"class{one}" for one in columns["label"]],
                    "split": ["test" if one else "train" for one in side],
                    "group": group,
                    "random": [f"class{one}" for one in columns["random"]],
                }
            )
            for name in FACTS:
                given = given.append_column(name, facts.column(name))
            tables.append(given)
            exact.append(start + first[0])
            near.append(start + first[1])
        source = {
            "path": str(folder),
            "given": str(folder),
            "layout": "drawn",
            "split": {"made_by": "author"},
        }
        items = pa.concat_tables(tables)
        writer.commit(items, [], {SPACE: record}, source, embedkit.__version__)
    return Planted(np.concatenate(exact), np.concatenate(near))


def copies_in(store: Store, *, seed: int = 0) -> Planted:
    """Return the copies that `write_store` planted in a store, by drawing them again."""
    exact, near, n = [], [], len(store.items)
    for number, start in enumerate(range(0, n, BLOCK)):
        size = min(BLOCK, n - start)
        first = _copies(np.random.default_rng([seed, 2, number]), size, COPIES)
        exact.append(start + first[0])
        near.append(start + first[1])
    return Planted(np.concatenate(exact), np.concatenate(near))


def _copies(generator: np.random.Generator, size: int, copies: int) -> tuple[IntArray, IntArray]:
    """Return the first row of each row's photograph, by exact and by all copies."""
    copies = min(copies, size // 4)
    chosen = generator.permutation(size)[: 2 * copies].reshape(2, copies).T
    half = copies // 2
    return connected(size, chosen[:half]), connected(size, chosen)


def _block(
    generator: np.random.Generator,
    size: int,
    axes: FloatArray,
    classes: FloatArray,
    *,
    copies: int,
) -> tuple[dict[str, IntArray], FloatArray, tuple[IntArray, IntArray]]:
    exact, near = _copies(generator, size, copies)
    people = max(2, size // PICTURES)
    person = generator.integers(people, size=size)[near]  # a copy shows whom its photograph shows
    label, random = generator.integers(CLASSES, size=(2, people))
    centres = generator.normal(size=(people, LATENT)) @ axes + classes[label]
    label = np.where(generator.random(people) < MISLABELLED, random, label)
    vectors = centres[person] + WITHIN * generator.normal(size=(size, DIMENSION)) / np.sqrt(8)
    noise = NEAR * generator.normal(size=(size, DIMENSION)) / np.sqrt(8)
    vectors = vectors[near] + noise * (exact != near)[:, None]
    grouped = (generator.random(people) < TEST_SHARE)[person]
    divided = (generator.random(people) < BOTH_SIDES)[person]
    both = grouped & ~(divided & (generator.random(size) < 0.5))
    columns = {
        "person": person,
        "label": label[person],
        "random": random[person],
        "grouped": grouped,
        "both": both,
    }
    return columns, unit_rows(vectors), (exact, near)


def _facts(generator: np.random.Generator, ids: list[str], exact: IntArray) -> pa.Table:
    """Return facts of pictures that there are none of: drawn, of the size of real ones."""
    n = len(ids)
    hashes = [sha256(id_.encode()) for id_ in ids]
    made = {
        "id": ids,
        "sha256": hashes,
        "pixel_sha256": [hashes[one] for one in exact],
        "phash": generator.integers(2**63, size=n, dtype=np.uint64)[exact],
        "width": np.full(n, 224),
        "height": np.full(n, 224),
        "format": ["JPEG"] * n,
        "mode": ["RGB"] * n,
        "bytes": generator.integers(5_000, 20_000, size=n),
        "orientation": np.ones(n),
        "frames": np.ones(n),
        "nuisance": _nuisance(generator, n),
    }
    columns = [
        pa.array(made[one.name], one.type) if one.name in made else pa.nulls(n, one.type)
        for one in FACT_SCHEMA
    ]
    return pa.table(columns, schema=FACT_SCHEMA)


def _nuisance(generator: np.random.Generator, n: int) -> pa.Array:
    kinds = {one.name: one.type for one in FACTS["nuisance"]}
    drawn = {}
    for one in (*fields_of(Header), *fields_of(Appearance)):
        kind = kinds[one.name]
        if pa.types.is_list(kind):
            pixels = pa.array(generator.integers(0, 256, 192 * n, np.uint8))
            drawn[one.name] = pa.ListArray.from_arrays(np.arange(0, 192 * n + 1, 192), pixels)
        elif pa.types.is_string(kind):
            drawn[one.name] = pa.array(["4:2:0"] * n)
        elif pa.types.is_boolean(kind):
            drawn[one.name] = pa.array(np.zeros(n, bool))
        elif pa.types.is_integer(kind):
            drawn[one.name] = pa.array(generator.integers(60, 100, n, np.int32))
        else:
            drawn[one.name] = pa.array(generator.random(n, np.float32))
    return pa.StructArray.from_arrays(
        [drawn[name].cast(kinds[name]) for name in kinds], fields=list(FACTS["nuisance"])
    )
