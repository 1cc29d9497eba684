"""One run of the pipeline over one store: what is stale goes, what is missing is embedded."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import embedkit
from embedkit.backbones import NOTHING, Backbone, FaceBackbone
from embedkit.engines import Block, LocalEngine
from embedkit.errors import InputError, UnreadableImageError
from embedkit.files import sha256
from embedkit.images import decode, read_bytes, shrunk
from embedkit.items import FACES, FACTS, ItemTable, Unreadable
from embedkit.nuisance import TOGETHER, Glance, glance, nuisances
from embedkit.pipeline.choices import SAMPLE, SAMPLE_SIDE
from embedkit.pipeline.passes import Passes
from embedkit.pipeline.progress import FaceTally, OnProgress, Reporter
from embedkit.pipeline.spaces import (
    LoadedBackbone,
    Say,
    Wanted,
    begun,
    check_space,
    load_networks,
    recorded_in,
    space_record,
)
from embedkit.readers.splits import TEST_SHARE, make_split
from embedkit.statistics import clusters_of
from embedkit.store import Store
from embedkit.store.writer import FACT_SCHEMA, StoredBlock, StoreWriter
from embedkit.vectors import FloatArray, Pixels


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image, read and prepared for each network; or the reason why it could not be."""

    id: str
    facts: dict[str, Any] | None = None
    inputs: tuple[npt.NDArray[Any], ...] = ()
    glance: Glance | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """A finished block: its rows' facts and vectors by space, and what was unreadable."""

    facts: pa.Table
    looked_for_faces: bool
    vectors: dict[str, FloatArray]
    refused: dict[Unreadable, str | None]


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
        engine: LocalEngine,
        listener: OnProgress | None,
        say: Say,
    ) -> None:
        self.writer = writer
        self.items = items
        self.engine = engine
        self.networks: dict[str, Backbone] = {}
        self._asked = asked
        self._say = say
        self._loaded: dict[str, LoadedBackbone] = {}
        self._tally = FaceTally()
        self._sampled: list[Pixels] | None = None
        self._reporter = Reporter(listener)
        self._missing: dict[int, set[str]] = {}

    def bring_up_to_date(self, block: int) -> None:
        """Embed what is not in the store yet, block by block."""
        self._drop_stale()
        settled = {id_ for known in self.writer.blocks for id_ in known.ids}
        settled |= {one.id for one in self.writer.refused}
        wanted = [id_ for id_ in self.items.ids if id_ not in settled]
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
        self._missing = gaps
        first = self.writer.next_number()
        work = [
            *(
                Block(b.number, tuple(b.ids), new=False)
                for b in self.writer.blocks
                if b.number in gaps
            ),
            *(
                Block(first + place, tuple(wanted[start : start + block]))
                for place, start in enumerate(range(0, len(wanted), block))
            ),
        ]
        if work:
            self.writer.begin(begun(self._loaded))
        self._reporter.start("embedding", sum(len(one.ids) for one in work))
        for finished, rows in self.engine.run(work, self._load, self._finish):
            if finished.new:
                self.writer.add_block(
                    finished.number, rows.facts, rows.vectors, refused=rows.refused
                )
            else:
                faces = rows.facts.select(FACES) if rows.looked_for_faces else None
                self.writer.add_vectors(finished.number, rows.vectors, faces)
            self._reporter.committed(len(finished.ids), len(self.writer.refused))
        if self._tally.pictures:
            self._say(str(self._tally))

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
            "path": str(self.items.root.resolve()),
            "layout": self.items.layout,
            "split": split,
        } | source
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

    def _drop_stale(self) -> None:
        """Take images out of the known blocks that are gone from the source or have changed."""
        listed = set(self.items.ids)
        self._hashes = {
            id_: hash_
            for block in self.writer.blocks
            for id_, hash_ in zip(block.ids, block.facts.column("sha256").to_pylist(), strict=True)
        }
        self._reporter.start("checking what is there", sum(len(b.ids) for b in self.writer.blocks))

        def still(_: Block, id_: str) -> bool:
            return id_ in listed and self._hash(id_) == self._hashes[id_]

        def collect(block: Block, same: Iterable[bool], _: Executor) -> tuple[int, list[bool]]:
            keep = []
            for one in same:
                keep.append(one)
                self._reporter.count()
            return block.number, keep

        blocks = [Block(block.number, tuple(block.ids)) for block in self.writer.blocks]
        # What could not be read is tried again only if it is another file now.
        self.writer.refused = [
            one
            for one in self.writer.refused
            if self._hash(one.id) == self.writer.refused_sha256[one.id]
        ]
        for number, keep in list(self.engine.run(blocks, still, collect)):
            if not all(keep):
                self._replace(next(b for b in self.writer.blocks if b.number == number), keep)

    def _replace(self, block: StoredBlock, keep: list[bool]) -> None:
        mask = np.array(keep)
        vectors = {
            space: np.load(self.writer.path / space / shard.file, allow_pickle=False)[mask]
            for space, shard in block.shards.items()
        }
        self.writer.add_block(
            self.writer.next_number(),
            block.facts.filter(pa.array(keep)),
            vectors,
            in_place_of=block.number,
        )

    def _hash(self, id_: str) -> str | None:
        try:
            return sha256(read_bytes(self.items.path(id_)))
        except UnreadableImageError:
            return None

    def _load(self, block: Block, id_: str) -> Loaded:
        """Read one image and prepare it for the networks that need it."""
        try:
            picture = decode(read_bytes(self.items.path(id_)))
        except UnreadableImageError as error:
            return Loaded(id_, reason=str(error))
        if not block.new and picture.facts.sha256 != self._hashes[id_]:
            return Loaded(id_, reason="it is another file now")
        facts = {"id": id_} | asdict(picture.facts)
        try:
            inputs, faces = self._prepared(picture.pixels, self._needed(block).values())
        except UnreadableImageError as error:
            return Loaded(id_, facts, reason=str(error))
        seen = glance(picture.header, picture.image, picture.pixels) if block.new else None
        return Loaded(id_, facts | faces, inputs, seen)

    def _prepared(
        self, pixels: Pixels, networks: Iterable[Backbone]
    ) -> tuple[tuple[npt.NDArray[Any], ...], dict[str, Any]]:
        """Prepare a picture for each network; those that want faces share one search for them."""
        inputs, faces, face = [], None, None
        height, width = pixels.shape[:2]
        for network in networks:
            if not isinstance(network, FaceBackbone):
                inputs.append(network.prepare(pixels))
                continue
            if faces is None:
                start = time.thread_time()
                faces = network.find(pixels)
                self._tally.add(len(faces), time.thread_time() - start)
                face = network.choose(faces, width, height)
            inputs.append(network.prepare_cut(network.cut(pixels, face)))
        facts: dict[str, Any] = {} if faces is None else {"faces": len(faces)}
        if face is not None:
            sides = ("face_left", "face_top", "face_right", "face_bottom")
            facts |= dict(zip(sides, face.box, strict=True))
            facts |= {"face_confidence": face.confidence}
            facts |= {"face_landmarks": [x for point in face.landmarks for x in point]}
        return tuple(inputs), facts

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

    def _needed(self, block: Block) -> dict[str, Backbone]:
        if block.new:
            return self.networks
        return {name: self.networks[name] for name in sorted(self._missing[block.number])}

    def _finish(
        self, block: Block, images: Iterable[Loaded], lanes: Executor
    ) -> tuple[Block, Rows]:
        """Run the networks over a block's images, in batches that never wait for one another."""
        needed = self._needed(block)
        passes = [Passes(network, lanes, 2 * self.engine.threads) for network in needed.values()]
        facts: list[dict[str, Any]] = []
        seen: list[Glance] = []
        found: list[dict[str, Any]] = []
        refused: dict[Unreadable, str | None] = {}
        for image in images:
            if image.reason:
                if not block.new and image.facts is None:
                    raise InputError(f"{image.id} changed while it was being read: {image.reason}")
                if not block.new:
                    raise InputError(
                        f"{image.id} is to be left out, for {image.reason}, but the store holds it "
                        "already; take it whole, or make another store with -o"
                    )
                refused[Unreadable(image.id, image.reason)] = self._hash(image.id)
            else:
                facts.append(image.facts or {})
                if image.glance is not None:
                    seen.append(image.glance)
                if len(seen) == TOGETHER:
                    found += nuisances(seen)
                    seen.clear()
                for one, prepared in zip(passes, image.inputs, strict=True):
                    one.add(prepared)
            self._reporter.count(len(self.writer.refused) + len(refused))
        found += nuisances(seen)
        for row, made in zip(facts, found, strict=False):  # of known images none is made
            row["nuisance"] = made
        vectors = {name: one.finish() for name, one in zip(needed, passes, strict=True)}
        looked = any(isinstance(network, FaceBackbone) for network in needed.values())
        return block, Rows(pa.Table.from_pylist(facts, FACT_SCHEMA), looked, vectors, refused)

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
