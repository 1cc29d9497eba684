"""The one pipeline: items × backbones × engine → store."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from embedkit.backbones import choose_backbone, find_card
from embedkit.backbones.cards import ALIGN, EMBEDDED, NO_FACE, SEVERAL_FACES
from embedkit.engines import Engine, choose_engine
from embedkit.errors import InputError, TooManyUnreadableError
from embedkit.images import check_max_pixels, strict_pillow
from embedkit.items import ItemTable
from embedkit.pipeline.augment import augment as make_copies
from embedkit.pipeline.augment import check_changes
from embedkit.pipeline.choices import AUTO
from embedkit.pipeline.composed import composed_store, items_of
from embedkit.pipeline.progress import OnProgress, Progress
from embedkit.pipeline.run import Run
from embedkit.pipeline.sources import read_as_asked
from embedkit.pipeline.spaces import Say, Wanted
from embedkit.remote import absolute
from embedkit.store import Store
from embedkit.store.schema import JOURNAL, STORE
from embedkit.store.writer import StoreWriter

__all__ = ["OnProgress", "Progress", "default_store", "embed", "embed_items", "store_of"]

BLOCK = 1024
COPIES = 2
INDEXES = Path("indexes")


def embed(
    source: str | Path,
    store: str | Path | None = None,
    *,
    backbone: str | Sequence[str] = "auto",
    weights: str | Path | None = None,
    layout: str | None = None,
    root: str | Path | None = None,
    label: str | None = None,
    split: str | None = None,
    group: str | None = None,
    bins: str | None = None,
    augment: Sequence[str] = (),
    copies: int = COPIES,
    seed: int = 0,
    align: str = AUTO,
    several_faces: str = "",
    no_face: str = "",
    precision: str = AUTO,
    device: str = AUTO,
    engine: str = "local",
    ray_address: str | None = None,
    threads: int | None = None,
    max_errors: float | None = None,
    max_pixels: int | None = None,
    block: int = BLOCK,
    understood: Callable[[ItemTable], None] | None = None,
    say: Say | None = None,
    progress: OnProgress | None = None,
) -> Store:
    """Embed every image of a data set into a store, and open it.

    A store that is there already is brought up to date: only new or changed images are embedded,
    for every backbone that it holds; images that are gone from the source leave it. A run that was
    interrupted goes on where it was.

    Args:
        source: folder of images, or its URL, or a manifest; see `read_source`. A store that `merge`
            or `subset` made is its own source: given here, it gets a further backbone, say.
        store: the store's folder; `indexes/<name of the source>` where left out.
        backbone: one or several names; `auto` takes the strongest whose weights are here.
        weights: the backbone's file of weights, or a folder of such files; looked for where
            such files are kept, if left out.
        layout: which folder level means what; see `read_source`.
        root: folder that a manifest's paths are relative to.
        label: the manifest's column with the class.
        split: the manifest's column with the split.
        group: the manifest's column with the person, video or patient.
        bins: ranges that the label, a number, is cut into, such as `1-3,4-10,11+`, or how many of
            about as many images each. Where none of these six is given, a store that is there is
            read as it was before.
        augment: `flip`, `rotate`, `shear`, `jitter`: embed altered copies of the training images
            too, for `train` to fit on.
        copies: of each training image.
        seed: of the copies, and of the split that is made where the data set has none.
        align: `mtcnn` to embed the face that is found in each picture, `none` to embed the picture;
            `auto` looks at some pictures where the backbone is made for faces. The backbones
            `mtcnn` and `pixels` always see the whole picture.
        several_faces: what to embed of a picture with several: the `largest` (usual), the most
            `central`, the `whole` picture, or nothing (`skip`: it is listed as unreadable).
        no_face: what to embed of a picture without: the `whole` of it (usual), or nothing (`skip`).
        precision: `fp32`, the reference; `bf16`; `auto` for the fastest that agrees with fp32.
        device: `cpu` or `cuda`; `auto` for the second where there is one.
        engine: `local`, or `ray` for worker processes on this machine or a cluster; the store is
            the same bytes.
        ray_address: HOST:PORT of a Ray cluster; Ray is started here where left out.
        threads: for decoding and for the network; all usable cores where left out, and one for
            each of Ray's workers. The result does not depend on it.
        max_errors: how many images may be unreadable, as a number (1 or more) or a share (below
            1), before the finished run counts as failed; no limit where left out.
        max_pixels: of a picture; one with more is left out as unreadable. 64 million where left
            out, which is the most.
        block: images that are committed together, and lost together by a kill.
        understood: called with what was understood of the source, before any work.
        say: called with a sentence about each thing that was chosen, and about faces found.
        progress: called now and then.

    Raises:
        InputError: the source cannot be understood, or an option is wrong.
        StoreError: the store cannot be written or is damaged.
        TooManyUnreadableError: the store is finished, but too much of the source was unreadable.
    """
    options = {
        "layout": layout,
        "root": None if root is None else str(root),
        "label": label,
        "split": split,
        "group": group,
        "bins": bins,
    }
    composed = composed_store(Path(source), None if store is None else Path(store), options)
    place = default_store(source) if store is None else Path(store)
    names = [backbone] if isinstance(backbone, str) else backbone
    how = {
        "align": (align, (AUTO, *ALIGN)),
        "several_faces": (several_faces, ("", *SEVERAL_FACES)),
        "no_face": (no_face, ("", *NO_FACE)),
        "precision": (precision, (AUTO, "fp32", "bf16")),
        "device": (device, (AUTO, "cpu", "cuda")),
    }
    for option, (value, allowed) in how.items():
        if value not in allowed:
            raise InputError(
                f"--{option.replace('_', '-')} is {value!r}; known are "
                f"{', '.join(one for one in allowed if one)}"
            )
    check_max_pixels(max_pixels)
    working = choose_engine(engine, threads=threads, address=ray_address)
    given = {option: value for option, (value, _) in how.items()}
    asked = _asked(names, None if weights is None else Path(weights), place, given)
    if composed is None:
        before = Store.open(place) if (place / STORE).exists() else None
        if before is not None and store is None:
            _check_own(before, absolute(Path(source)))
        items, record = read_as_asked(Path(source), before, options)
    else:
        items, record = items_of(composed), composed.record.source
    if understood is not None:
        understood(items)
    if augment:
        check_changes(augment, copies)
    built = embed_items(
        items,
        place,
        source=record,
        asked=asked,
        seed=seed,
        engine=working,
        max_errors=max_errors,
        max_pixels=max_pixels,
        block=block,
        say=say,
        progress=progress,
    )
    if augment:
        spaces = list(asked or built.spaces)
        n = make_copies(
            built, spaces, augment, copies, seed=seed, threads=threads, progress=progress
        )
        if say is not None:
            say(f"{n * copies} altered copies of {n} training images in {', '.join(spaces)}")
    return built


def _check_own(store: Store, source: str) -> None:
    other = store.record.source["source"]
    if other != source:
        raise InputError(
            f"{store.path} holds another data set of that name, {other}; give this one a store of "
            "its own with -o"
        )


def _asked(
    names: Sequence[str], weights: Path | None, store: Path, how: Mapping[str, str]
) -> dict[str, Wanted]:
    """Return what is asked for, by space; `auto` is what the store has, if there is one.

    Raises:
        InputError: there is no backbone of that name, or one file of weights for several.
    """
    cards, named = [], True
    for name in names:
        if name != "auto":
            cards.append(find_card(name))
        elif not (store / STORE).exists():
            cards.append(find_card(choose_backbone()))
        elif weights is not None or any(value not in ("", AUTO) for value in how.values()):
            # What is asked for is asked of all that the store has.
            named = False
            spaces = Store.open(store).spaces.values()
            cards += [find_card(space.record.backbone["name"]) for space in spaces]
    taking = [card for card in cards if card.name not in EMBEDDED]
    if weights is not None and weights.is_file() and len(taking) != 1:
        raise InputError(
            f"{weights} is one file of weights, but {len(taking)} of the backbones take one; name "
            "a folder that holds the files of all, or one backbone"
        )
    if cards and not taking and how["align"] == "mtcnn":
        raise InputError(
            "mtcnn and pixels always see whole pictures; --align is for other backbones"
        )
    return {
        card.space: Wanted(card.name, weights, **how, named=named)
        if card in taking
        else Wanted(card.name)
        for card in cards
    }


def default_store(source: str | Path) -> Path:
    """Return where a source's store goes when nobody says: `indexes/<name of the source>`.

    A store that is its own source stays where it is.
    """
    if (Path(source) / STORE).exists():
        return Path(source)
    path = Path(absolute(Path(source)))
    named = (
        path if path.is_dir() or path.stem.lower() not in ("labels", "metadata") else path.parent
    )
    return INDEXES / (named.name if named.is_dir() else named.stem)


def store_of(
    path: Path,
    *,
    understood: Callable[[ItemTable], None] | None = None,
    progress: OnProgress | None = None,
) -> Store:
    """Open a store; a data set is embedded into its default store first.

    Raises:
        EmbedkitError: as `Store.open` and `embed`.
    """
    if not path.exists() or any((path / name).exists() for name in (STORE, JOURNAL)):
        return Store.open(path)
    try:
        return embed(path, understood=understood, progress=progress)
    except InputError as error:
        if " --" not in str(error):
            raise
        raise type(error)(
            f"{error}\nThese options belong to 'embedkit embed'; use it first, then audit its store"
        ) from None


def embed_items(
    items: ItemTable,
    path: Path,
    *,
    source: dict[str, Any],
    asked: Mapping[str, Wanted],
    engine: AbstractContextManager[Engine],
    seed: int = 0,
    max_errors: float | None = None,
    max_pixels: int | None = None,
    block: int = BLOCK,
    say: Say | None = None,
    progress: OnProgress | None = None,
) -> Store:
    """Embed items that have been read already; see `embed`."""
    with StoreWriter(path) as writer, strict_pillow(), engine as working:
        run = Run(writer, items, asked, working, progress, say or (lambda _: None), max_pixels)
        run.bring_up_to_date(block)
        store = run.commit(source, seed)
    n = len(store.items) + len(store.unreadable)
    limit = None if max_errors is None else max_errors * n if max_errors < 1 else max_errors
    if limit is not None and len(store.unreadable) > limit:
        raise TooManyUnreadableError(
            f"{len(store.unreadable)} of {n} images could not be read, {max_errors:g} allowed; the "
            f"others are in {path}, the reasons in {path / 'unreadable.parquet'}"
        )
    return store
