"""The one pipeline: items × backbones × engine → store."""

import platform
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import embedkit
from embedkit.backbones import Backbone, choose_backbone, contract, contract_hash, load_backbone
from embedkit.engines import Block, LocalEngine
from embedkit.errors import (
    InputError,
    SpaceMismatchError,
    TooManyUnreadableError,
    UnreadableImageError,
)
from embedkit.files import sha256
from embedkit.images import Facts, decode, read_bytes, strict_pillow
from embedkit.items import FACTS, ItemTable, Unreadable
from embedkit.readers import read_source
from embedkit.readers.splits import TEST_SHARE, make_split
from embedkit.store import Store
from embedkit.store.schema import STORE, SpaceRecord
from embedkit.store.writer import FACT_SCHEMA, StoredBlock, StoreWriter
from embedkit.vectors import FloatArray

BLOCK = 1024
INDEXES = Path("indexes")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: what is being done, for people.
        done: images done in this stage.
        total: images in this stage.
        safe: images that a killed run would not have to do again.
        unreadable: images found unreadable so far.
    """

    stage: str
    done: int
    total: int
    safe: int
    unreadable: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image, read and prepared for each network; or the reason why it could not be."""

    id: str
    facts: Facts | None = None
    inputs: tuple[npt.NDArray[Any], ...] = ()
    reason: str = ""


def embed(
    source: str | Path,
    store: str | Path | None = None,
    *,
    backbone: str | Sequence[str] = "auto",
    layout: str | None = None,
    root: str | Path | None = None,
    label: str | None = None,
    split: str | None = None,
    group: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    max_errors: float | None = None,
    block: int = BLOCK,
    understood: Callable[[ItemTable], None] | None = None,
    progress: OnProgress | None = None,
) -> Store:
    """Embed every image of a data set into a store, and open it.

    A store that is there already is brought up to date: only new or changed images are embedded,
    for every backbone that it holds; images that are gone from the source leave it. A run that was
    interrupted goes on where it was.

    Args:
        source: folder of images or manifest; see `read_source`.
        store: the store's folder; `indexes/<name of the source>` where left out.
        backbone: one or several names; `auto` takes the strongest whose weights are here.
        layout: which folder level means what; see `read_source`.
        root: folder that a manifest's paths are relative to.
        label: the manifest's column with the class.
        split: the manifest's column with the split.
        group: the manifest's column with the person, video or patient.
        seed: of the split that is made where the data set has none.
        threads: for decoding and for the network; all usable cores where left out. The result
            does not depend on it.
        max_errors: how many images may be unreadable, as a number (1 or more) or a share (below
            1), before the finished run counts as failed; no limit where left out.
        block: images that are committed together, and lost together by a kill.
        understood: called with what was understood of the source, before any work.
        progress: called now and then.

    Raises:
        InputError: the source cannot be understood, or an option is wrong.
        StoreError: the store cannot be written or is damaged.
        TooManyUnreadableError: the store is finished, but too much of the source was unreadable.
    """
    items = read_source(
        Path(source),
        layout=layout,
        root=None if root is None else Path(root),
        label=label,
        split=split,
        group=group,
    )
    if understood is not None:
        understood(items)
    return embed_items(
        items,
        default_store(source) if store is None else Path(store),
        given=str(source),
        backbones=[backbone] if isinstance(backbone, str) else list(backbone),
        seed=seed,
        threads=threads,
        max_errors=max_errors,
        block=block,
        progress=progress,
    )


def default_store(source: str | Path) -> Path:
    """Return where a source's store goes when nobody says: `indexes/<name of the source>`."""
    path = Path(source).resolve()
    named = (
        path if path.is_dir() or path.stem.lower() not in ("labels", "metadata") else path.parent
    )
    return INDEXES / (named.name if named.is_dir() else named.stem)


def store_of(path: Path, *, progress: OnProgress | None = None) -> Store:
    """Open a store; a data set is embedded into its default store first.

    Raises:
        EmbedkitError: as `Store.open` and `embed`.
    """
    if (path / STORE).exists() or not path.exists():
        return Store.open(path)
    return embed(path, progress=progress)


def embed_items(
    items: ItemTable,
    path: Path,
    *,
    given: str,
    backbones: list[str],
    seed: int = 0,
    threads: int | None = None,
    max_errors: float | None = None,
    block: int = BLOCK,
    progress: OnProgress | None = None,
) -> Store:
    """Embed items that have been read already; see `embed`."""
    names = [choose_backbone() if name == "auto" else name for name in backbones]
    networks = {name: load_backbone(name) for name in dict.fromkeys(names)}
    with StoreWriter(path) as writer, strict_pillow():
        run = _Run(writer, items, networks, LocalEngine(threads), progress)
        run.bring_up_to_date(block)
        store = run.commit(given, seed)
    n = len(store.items) + len(store.unreadable)
    limit = None if max_errors is None else max_errors * n if max_errors < 1 else max_errors
    if limit is not None and len(store.unreadable) > limit:
        raise TooManyUnreadableError(
            f"{len(store.unreadable)} of {n} images could not be read, {max_errors:g} allowed; the "
            f"others are in {path}, the reasons in {path / 'unreadable.parquet'}"
        )
    return store


class _Run:
    """One run of the pipeline over one store."""

    def __init__(
        self,
        writer: StoreWriter,
        items: ItemTable,
        networks: dict[str, Backbone],
        engine: LocalEngine,
        progress: OnProgress | None,
    ) -> None:
        self.writer = writer
        self.items = items
        self.engine = engine
        self.networks = _with_present_spaces(writer.store, networks)
        self._progress = progress
        self._seen = time.monotonic()

    def bring_up_to_date(self, block: int) -> None:
        """Embed what is not in the store yet, block by block."""
        self._drop_stale()
        fill = [
            Block(known.number, tuple(known.ids), new=False)
            for known in self.writer.blocks
            if known.facts.num_rows and not known.shards.keys() >= self.networks.keys()
        ]
        settled = {id_ for known in self.writer.blocks for id_ in known.ids}
        settled |= {one.id for one in self.writer.refused}
        wanted = [id_ for id_ in self.items.ids if id_ not in settled]
        first = self.writer.next_number()
        fresh = [
            Block(first + place, tuple(wanted[start : start + block]))
            for place, start in enumerate(range(0, len(wanted), block))
        ]
        self._done, self._total = 0, sum(len(one.ids) for one in (*fill, *fresh))
        self._safe = 0
        for finished, rows in self.engine.run((*fill, *fresh), self._load, self._finish):
            if finished.new:
                self._add_new(finished.number, rows)
            else:
                self.writer.add_vectors(finished.number, rows.vectors)
            self._safe += len(finished.ids)
            self._report("embedding", force=True)

    def commit(self, given: str, seed: int) -> Store:
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
            raise InputError(
                f"none of the {len(unreadable)} images could be read; the first, "
                f"{unreadable[0].id}: {unreadable[0].reason}"
            )
        row_of = {id_: row for row, id_ in enumerate(self.items.ids)}
        order = [row_of[id_] for id_ in facts.column("id").to_pylist()]
        items, split = self._split(self.items.take(order), seed)
        rows = items.rows
        for name in FACTS:
            rows = rows.append_column(name, facts.column(name))
        source = {
            "given": given,
            "path": str(self.items.root.resolve()),
            "layout": self.items.layout,
            "split": split,
        }
        spaces = {name: _space_record(network) for name, network in self.networks.items()}
        return self.writer.commit(
            rows, sorted(unreadable, key=lambda one: one.id), spaces, source, embedkit.__version__
        )

    def _drop_stale(self) -> None:
        """Take images out of the known blocks that are gone from the source or have changed."""
        listed = set(self.items.ids)
        known = [(block, id_) for block in self.writer.blocks for id_ in block.ids]
        hashes = {
            id_: hash_
            for block in self.writer.blocks
            for id_, hash_ in zip(block.ids, block.facts.column("sha256").to_pylist(), strict=True)
        }
        self._done, self._total, self._safe = 0, len(known), 0

        def still(_: Block, id_: str) -> bool:
            return id_ in listed and self._hash(id_) == hashes[id_]

        def collect(block: Block, same: Iterable[bool], _: Executor) -> tuple[int, list[bool]]:
            keep = []
            for one in same:
                keep.append(one)
                self._done += 1
                self._report("checking what is there")
            return block.number, keep

        blocks = [Block(block.number, tuple(block.ids)) for block in self.writer.blocks]
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
        inputs = tuple(network.prepare(picture.pixels) for network in self._needed(block).values())
        return Loaded(id_, picture.facts, inputs)

    def _needed(self, block: Block) -> dict[str, Backbone]:
        if block.new:
            return self.networks
        present = next(b for b in self.writer.blocks if b.number == block.number).shards
        return {name: net for name, net in self.networks.items() if name not in present}

    def _finish(
        self, block: Block, images: Iterable[Loaded], lanes: Executor
    ) -> tuple[Block, "_Rows"]:
        """Run the networks over a block's images, in batches that never wait for one another."""
        needed = self._needed(block)
        passes = [_Passes(network, lanes, 2 * self.engine.threads) for network in needed.values()]
        facts: list[dict[str, Any]] = []
        refused: list[Unreadable] = []
        for image in images:
            self._done += 1
            if image.facts is None:
                if not block.new:
                    raise InputError(f"{image.id} changed while it was being read: {image.reason}")
                refused.append(Unreadable(image.id, image.reason))
            else:
                facts.append({"id": image.id} | asdict(image.facts))
                for one, prepared in zip(passes, image.inputs, strict=True):
                    one.add(prepared)
            self._report("embedding", refused=len(refused))
        vectors = {name: one.finish() for name, one in zip(needed, passes, strict=True)}
        return block, _Rows(pa.Table.from_pylist(facts, FACT_SCHEMA), vectors, refused)

    def _add_new(self, number: int, rows: "_Rows") -> None:
        self.writer.add_block(number, rows.facts, rows.vectors, refused=rows.refused)

    def _split(self, items: ItemTable, seed: int) -> tuple[ItemTable, dict[str, Any]]:
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
        splits = make_split(items.ids, items.labels, items.groups, seed=seed, kept=kept)
        made = {"made_by": "embedkit", "seed": seed, "test_share": TEST_SHARE}
        return items.with_column("split", splits), made

    def _report(self, stage: str, *, refused: int = 0, force: bool = False) -> None:
        now = time.monotonic()
        if self._progress is None or (now - self._seen < 0.1 and not force):
            return
        self._seen = now
        unreadable = len(self.writer.refused) + refused
        self._progress(Progress(stage, self._done, self._total, self._safe, unreadable))


@dataclass(frozen=True, slots=True)
class _Rows:
    """A finished block: facts of its rows, their vectors by space, and what was unreadable."""

    facts: pa.Table
    vectors: dict[str, FloatArray]
    refused: list[Unreadable]


class _Passes:
    """The passes of one network over one block; at most `limit` of them wait or run at once."""

    def __init__(self, network: Backbone, lanes: Executor, limit: int) -> None:
        self._network = network
        self._lanes = lanes
        self._limit = limit
        self._batch: list[npt.NDArray[Any]] = []
        self._running: list[Future[FloatArray]] = []

    def add(self, prepared: npt.NDArray[Any]) -> None:
        """Take one image; start a pass when there is a batch of them."""
        self._batch.append(prepared)
        if len(self._batch) == self._network.card.batch:
            self._start()

    def finish(self) -> FloatArray:
        """Start what is left and return all vectors, (n, d), in the order of the images."""
        if self._batch:
            self._start()
        rows = [future.result() for future in self._running]
        return np.concatenate(rows) if rows else np.empty((0, self._network.card.dimension), "f4")

    def _start(self) -> None:
        if len(self._running) >= self._limit:
            self._running[-self._limit].result()
        self._running.append(self._lanes.submit(self._network.embed, np.stack(self._batch)))
        self._batch = []


def _with_present_spaces(store: Store | None, networks: dict[str, Backbone]) -> dict[str, Backbone]:
    """Add the backbones of the spaces that the store has: all spaces hold all items.

    Raises:
        SpaceMismatchError: a space was made by another version of its backbone.
    """
    spaces = store.spaces if store is not None else {}
    together = {name: load_backbone(name) for name in spaces if name not in networks} | networks
    for name, space in spaces.items():
        now = contract_hash(contract(together[name]))
        if now != space.contract_sha256:
            was = space.record.contract
            differing = [
                key for key, value in contract(together[name]).items() if was.get(key) != value
            ]
            raise SpaceMismatchError(
                f"{space.folder} was made with another {', '.join(differing) or 'contract'} than "
                f"{name} has now; make a new store with -o"
            )
    return dict(sorted(together.items()))


def _space_record(network: Backbone) -> SpaceRecord:
    terms = contract(network)
    return SpaceRecord(
        name=network.card.name,
        contract=terms,
        contract_sha256=contract_hash(terms),
        dimension=network.card.dimension,
        n=0,
        shards=(),
        made_with={
            name: metadata.version(name) for name in ("torch", "pillow", "numpy", "facenet-pytorch")
        }
        | {"python": platform.python_version()},
    )
