"""The one pipeline: items × backbones × engine → store."""

from collections.abc import Callable, Sequence
from pathlib import Path

from embedkit.backbones import choose_backbone, known_backbone
from embedkit.engines import LocalEngine
from embedkit.errors import TooManyUnreadableError
from embedkit.images import strict_pillow
from embedkit.items import ItemTable
from embedkit.pipeline.progress import OnProgress, Progress
from embedkit.pipeline.run import Run
from embedkit.readers import read_source
from embedkit.store import Store
from embedkit.store.schema import JOURNAL, STORE
from embedkit.store.writer import StoreWriter

__all__ = ["OnProgress", "Progress", "default_store", "embed", "embed_items", "store_of"]

BLOCK = 1024
INDEXES = Path("indexes")


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
    backbones = [backbone] if isinstance(backbone, str) else list(backbone)
    backbones = [
        known_backbone(name) if name != "auto" else choose_backbone() for name in backbones
    ]
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
        backbones=backbones,
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
    if not path.exists() or any((path / name).exists() for name in (STORE, JOURNAL)):
        return Store.open(path)
    return embed(path, progress=progress)


def embed_items(
    items: ItemTable,
    path: Path,
    *,
    given: str,
    backbones: Sequence[str],
    seed: int = 0,
    threads: int | None = None,
    max_errors: float | None = None,
    block: int = BLOCK,
    progress: OnProgress | None = None,
) -> Store:
    """Embed items that have been read already; see `embed`."""
    with StoreWriter(path) as writer, strict_pillow():
        run = Run(writer, items, backbones, LocalEngine(threads), progress)
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
