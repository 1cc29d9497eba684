"""One run of the pipeline over one store: what is stale goes, what is missing is embedded."""

from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any

import numpy as np
import pyarrow as pa

import embedkit
from embedkit.backbones import NOTHING, Backbone
from embedkit.engines import Engine
from embedkit.errors import InputError, UnreadableImageError
from embedkit.images import PASSING, decode, read_bytes, shrunk
from embedkit.items import FACTS, ItemTable
from embedkit.pipeline.blocks import BlockMaker, Recipe, Task, hash_of
from embedkit.pipeline.choices import SAMPLE, SAMPLE_SIDE
from embedkit.pipeline.known import Checker
from embedkit.pipeline.progress import FaceTally, OnProgress, Reporter
from embedkit.pipeline.spaces import (
    LoadedBackbone,
    Say,
    Wanted,
    again,
    begun,
    check_space,
    load_networks,
    recorded_in,
    space_record,
)
from embedkit.pipeline.witnesses import Source, of_pictures, of_store
from embedkit.readers.splits import TEST_SHARE, make_split
from embedkit.remote import absolute
from embedkit.statistics import clusters_of
from embedkit.store import Store
from embedkit.store.forgotten import FORGOTTEN, forgotten, tombstone, tombstone_of_id
from embedkit.store.writer import FACT_SCHEMA, StoredBlock, StoreWriter
from embedkit.vectors import Pixels


class Run:
    """One run over one store.

    Attributes:
        networks: the backbones that this run needs, by space; loaded by `bring_up_to_date`.
    """

    def __init__(
        self,
        writer: StoreWriter,
        items: ItemTable,
        asked: Mapping[str, Wanted],
        engine: Engine,
        listener: OnProgress | None,
        say: Say,
        max_pixels: int | None = None,
    ) -> None:
        self.writer = writer
        self.items = items
        self.engine = engine
        self.networks: dict[str, Backbone] = {}
        self._asked = asked
        self._say = say
        self._max_pixels = max_pixels
        self._there = Source(items.root, items.ids)
        self._loaded: dict[str, LoadedBackbone] = {}
        self._sampled: list[Pixels] | None = None
        self._reporter = Reporter(listener)
        store = writer.store
        self._forgotten = frozenset(() if store is None else forgotten(store))

    def bring_up_to_date(self, block: int) -> None:
        """Embed what is not in the store yet, block by block."""
        self._drop_stale()
        settled = {id_ for known in self.writer.blocks for id_ in known.ids}
        settled |= {one.id for one in self.writer.refused}
        wanted = self._not_forgotten([id_ for id_ in self.items.ids if id_ not in settled])
        # All spaces hold all items; but a space that lacks nothing needs no network.
        present = {} if self.writer.store is None else self.writer.store.spaces
        every = self._asked.keys() | present.keys()
        gaps = {
            known.number: every - known.shards.keys()
            for known in self.writer.blocks
            if known.facts.num_rows and not known.shards.keys() >= every
        }
        needed = every if wanted else self._asked.keys() | set().union(*gaps.values())
        # An unfinished run is finished as it was begun.
        recorded = {name: recorded_in(space) for name, space in present.items()} | self.writer.begun
        self._loaded = load_networks(needed, self._asked, recorded, self._sample, self._say)
        self._sampled = None
        self.networks = {name: one.backbone for name, one in self._loaded.items()}
        for name, space in present.items():
            if name in self.networks:
                check_space(space, self.networks[name])
        first = self.writer.next_number()
        work = [
            *(
                Task(b.number, tuple(b.ids), tuple(sorted(gaps[b.number])), _hashes(b))
                for b in self.writer.blocks
                if b.number in gaps
            ),
            *(
                Task(first + place, tuple(wanted[start : start + block]), tuple(self.networks))
                for place, start in enumerate(range(0, len(wanted), block))
            ),
        ]
        if work:
            self.writer.begin(begun(self._loaded))
        self._reporter.start("embedding", sum(len(one.ids) for one in work))
        tally = FaceTally()
        with closing(self.engine.make(work, self._maker())) as results:
            for made in results:
                if made.entry.get("refused"):
                    self._there.check()
                self.writer.add(made.entry)
                self._reporter.committed(made.images, len(self.writer.refused))
                tally += made.tally
        if tally.pictures:
            self._say(str(tally))

    def commit(self, source: dict[str, Any], seed: int) -> Store:
        """Make the blocks the store; nothing is written where nothing changed."""
        facts = pa.concat_tables(
            [FACT_SCHEMA.empty_table(), *(b.facts for b in self.writer.blocks)]
        )
        listed = set(self.items.ids)
        unreadable = [
            *self.items.unreadable,
            *(one for one in self.writer.refused if one.id in listed),
        ]
        unreadable = [one for one in unreadable if tombstone_of_id(one.id) not in self._forgotten]
        if not facts.num_rows:
            self.writer.abandon()
            raise InputError(
                f"none of the {len(unreadable)} images could be read; the first, "
                f"{unreadable[0].id}: {unreadable[0].reason}"
                + ("; --no-face whole takes them whole" if unreadable[0].reason == NOTHING else "")
            )
        row_of = {id_: row for row, id_ in enumerate(self.items.ids)}
        order = [row_of[id_] for id_ in facts.column("id").to_pylist()]
        items, split = self._split(
            self.items.take(order), facts.column("pixel_sha256").to_pylist(), seed
        )
        rows = items.rows
        for name in FACTS:
            rows = rows.append_column(name, facts.column(name))
        # A store that was made from others knows these of them.
        source = {
            "path": absolute(self.items.root),
            "layout": self.items.layout,
            "split": split,
        } | source
        if self._forgotten:
            source[FORGOTTEN] = sorted(self._forgotten)
        spaces = {
            name: space.record
            for name, space in (self.writer.store.spaces if self.writer.store else {}).items()
        }
        for name in self.networks:
            if name in self._asked or name not in spaces:
                spaces[name] = space_record(name, self._loaded[name])
        return self.writer.commit(
            rows,
            sorted(unreadable, key=lambda one: one.id),
            dict(sorted(spaces.items())),
            source,
            embedkit.__version__,
        )

    def _maker(self) -> BlockMaker:
        networks = {name: again(name, one) for name, one in self._loaded.items()}
        witnesses = of_pictures(self.items.root, self.items.ids) + of_store(self.writer.path)
        recipe = Recipe(self.items.root, self.writer.path, networks, witnesses, self._max_pixels)

        def count(refused: int) -> None:
            self._reporter.count(len(self.writer.refused) + refused)

        return BlockMaker(recipe, self.networks, self.engine.threads, count)

    def _not_forgotten(self, ids: list[str]) -> list[str]:
        """Return the images that the store was not told to forget; where it was, all are read."""
        if not self._forgotten:
            return ids
        self._reporter.start("looking for what was forgotten", len(ids))
        kept = []
        for id_ in ids:
            digest = hash_of(self.items.root, id_)
            if digest is None or tombstone(digest) not in self._forgotten:
                kept.append(id_)
            self._reporter.count()
        if n := len(ids) - len(kept):
            self._say(
                f"{n} images were forgotten and are not taken; 'embedkit forget "
                f"{self.writer.path} --list' shows how to take them again"
            )
        return kept

    def _drop_stale(self) -> None:
        """Take images out of the known blocks that are gone from the source or have changed."""
        listed = set(self.items.ids)
        # What could not be read is tried again if it is another file now, or the reason may be.
        self.writer.refused = [
            one
            for one in self.writer.refused
            if not one.reason.startswith(PASSING)
            and hash_of(self.items.root, one.id) == self.writer.refused_sha256[one.id]
        ]
        known = list(self.writer.blocks)
        blocks = [Task(one.number, tuple(one.ids), known=_hashes(one)) for one in known]
        self._reporter.start("checking what is there", sum(len(one.ids) for one in blocks))
        ids = (id_ for one in blocks for id_ in one.ids)
        witnesses = of_pictures(self.items.root, ids)
        checker = Checker(self.items.root, self._reporter.count, witnesses)
        found = list(self.engine.make(blocks, checker))
        if not all(map(all, found)):
            self._there.check()
        for block, same in zip(known, found, strict=True):
            keep = [id_ in listed and one for id_, one in zip(block.ids, same, strict=True)]
            if not all(keep):
                self.writer.keep(block, keep)

    def _sample(self) -> list[Pixels]:
        """Return some pictures of the data set, the same in every run."""
        if self._sampled is None:
            order = np.random.default_rng(0).permutation(len(self.items.ids))
            self._sampled = []
            for row in order[: 2 * SAMPLE]:
                with suppress(UnreadableImageError):
                    path = self.items.path(self.items.ids[row])
                    self._sampled.append(shrunk(decode(read_bytes(path)).pixels, SAMPLE_SIDE))
                if len(self._sampled) == SAMPLE:
                    break
        return self._sampled

    def _split(
        self, items: ItemTable, pixels: list[str], seed: int
    ) -> tuple[ItemTable, dict[str, Any]]:
        """Make a split where the data set has none; images of an earlier run keep theirs."""
        if any(split is not None for split in items.splits):
            return items, {"made_by": "data set"}
        store = self.writer.store
        kept: dict[str, str] = {}
        if store is not None and store.record.source["split"]["made_by"] == "embedkit":
            seed = store.record.source["split"]["seed"]
            kept = {
                id_: split
                for id_, split in zip(store.items.ids, store.items.splits, strict=True)
                if split is not None
            }
        together = _together(items, pixels)
        splits = make_split(items.ids, items.labels, together, seed=seed, kept=kept)
        made = {"made_by": "embedkit", "seed": seed, "test_share": TEST_SHARE}
        return items.with_column("split", splits), made


def _together(items: ItemTable, pixels: list[str]) -> list[str | None]:
    """Return what no split may divide: a group of the data set, and copies of one picture.

    Each such cluster is called by the group, or else the id, of its first image.
    """
    clusters = clusters_of(items.groups, pixels)
    alone = np.bincount(clusters, minlength=len(clusters))[clusters] == 1
    return [
        group if single else items.groups[first] or items.ids[first]
        for group, single, first in zip(items.groups, alone, clusters.tolist(), strict=True)
    ]


def _hashes(block: StoredBlock) -> dict[str, str]:
    """Return the SHA-256 of each file of a block, by id."""
    return dict(zip(block.ids, block.facts.column("sha256").to_pylist(), strict=True))
