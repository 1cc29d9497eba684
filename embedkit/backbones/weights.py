"""Weights: where they are looked for, fetched from and checked; files that are only ever data.

Looked for in this order: what `--weights` or `EMBEDKIT_WEIGHTS` names (a file, or a folder of
files), then the cache of the library that they come from. Nothing is fetched unless asked.
"""

import importlib
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import load_file

from embedkit.backbones import find_card
from embedkit.backbones.cards import CARDS, DEFAULTS, EMBEDDED, OWN, Card, Options
from embedkit.errors import InputError, WeightsError
from embedkit.files import sha256_of_file
from embedkit.trust import check_file

VARIABLE = "EMBEDKIT_WEIGHTS"
SAFETENSORS = ".safetensors"
State: TypeAlias = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a weights file comes from; either an address or a repository of the Hugging Face hub.

    Attributes:
        files: its name; where the hub has several forms of it, the best first.
        url: address of the file.
        hub: repository, `organisation/name`.
        cache: folder that the file's own library keeps it in; empty for the hub's.
        sha256: its SHA-256, or how that begins, where it is known beforehand.
        licence: of the weights, as their library's own table has it; empty where it does not.
    """

    files: tuple[str, ...]
    url: str = ""
    hub: str = ""
    cache: str = ""
    sha256: str = ""
    licence: str = ""

    @property
    def place(self) -> str:
        """What a person would open to fetch it."""
        return self.url or f"https://huggingface.co/{self.hub}"


# In full, of what the backbones with names of their own are loaded from: publishers put no more
# than eight digits into the name of a file, or none. Both as several others have published them.
FULL = {
    "vgg16-397923af.pth": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "20180402-114759-vggface2.pt": (
        "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"
    ),
}


def known_sha256(file: str) -> str:
    """Return what is known beforehand of the SHA-256 of a file that is published by this name."""
    named = re.search(r"-([0-9a-f]{8,64})\.\w+$", file)
    return FULL.get(file) or (named[1] if named else "")


def torch_home() -> Path:
    """Return the folder that torch keeps its files in; see `torch.hub`."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser()


def find(source: Source, given: Path | None) -> Path | None:
    """Return the file if it is on this machine; see the top of this module for the order.

    Raises:
        InputError: what was named is not there.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        if named.is_file():
            return named
        if not named.is_dir():
            raise InputError(f"the weights {named} are not there; name a file or a folder of files")
        for file in source.files:
            if (named / file).is_file():
                return named / file
        if given is not None:
            raise InputError(f"{named} holds none of {', '.join(source.files)}")
    if source.url:
        kept = Path(source.cache).expanduser() / source.files[0]
        return kept if kept.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    for file in source.files:
        cached = try_to_load_from_cache(source.hub, file)
        if isinstance(cached, str):
            return Path(cached)
    return None


@dataclass(frozen=True, slots=True)
class Held:
    """A file of weights that was checked, and its SHA-256."""

    path: Path
    sha256: str


@contextmanager
def needed(source: Source, options: Options, name: str) -> Iterator[Held]:
    """Give the file, checked as far as its checksum is known, to be loaded in the block.

    Raises:
        InputError: only a store or a head names it.
        WeightsError: it is not on this machine, or damaged, or was changed before the block ended;
            the message says what to do.
    """
    path = find(source, options.file)
    if path is None:
        where = Path(source.cache) / source.files[0] if source.url else "the Hugging Face cache"
        raise WeightsError(
            f"the weights of {name} are not on this machine: {source.files[0]} from "
            f"{source.place}. 'embedkit weights get {name}' fetches them; without network, put the "
            f"file at {where} or name it with --weights. The backbones mtcnn and pixels need none"
        )
    before = _identity(path)
    if options.file is None:
        digest = check(source, path)
    else:
        digest = _sha256(path)
        check_file(path, digest, options.named_by)
    yield Held(path, digest)
    # Its own library reads it by its name: what was checked has to be what it has read.
    if _identity(path) != before:
        raise WeightsError(f"{path} changed while it was being read; run the same command again")


def _identity(path: Path) -> tuple[int, ...]:
    """Return what is other once a file has been replaced or written to."""
    try:
        status = path.stat()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _sha256(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from None


# What `--backbone auto` looks for, the strongest first, without importing any of them.
STRONGEST: tuple[tuple[str, Callable[[], Source]], ...] = (
    (
        "clip",
        lambda: Source(
            files=("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
            hub="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        ),
    ),
    (
        "vgg16",
        lambda: Source(
            files=("vgg16-397923af.pth",),
            url="https://download.pytorch.org/models/vgg16-397923af.pth",
            cache=str(torch_home() / "hub" / "checkpoints"),
            sha256=FULL["vgg16-397923af.pth"],
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a backbone, and whether they are here.

    Attributes:
        backbone: name in full.
        source: where they come from.
        path: the file, or None.
        sha256: of the file, or empty.
        published: whether that is the checksum that was published; None where none is known.
        checked: how many of its 64 digits were compared.
        licence: of code and weights.
    """

    backbone: str
    source: Source
    path: Path | None
    sha256: str
    published: bool | None
    checked: int
    licence: str


def weights_of(name: str) -> Weights:
    """Look for the weights of a backbone.

    Raises:
        InputError: there is no such backbone, or it needs none.
    """
    card = find_card(name)
    source = source_of(card)
    path = find(source, None)
    found = sha256_of_file(path) if path else ""
    known = expected(source, path) if path else ""
    published = found.startswith(known) if known else None
    licence = licence_of(card, source)
    return Weights(card.name, source, path, found, published, len(known), licence)


def licence_of(card: Card, source: Source) -> str:
    """Return the licence of a network's code and weights; of these where to look, if need be."""
    if not card.licence.endswith(OWN):
        return card.licence
    return f"{card.licence.removesuffix(OWN)}weights: {source.licence or f'see {source.place}'}"


def expected(source: Source, path: Path) -> str:
    """Return what is known of a file's SHA-256; the hub's cache calls a large file by it."""
    named = path.resolve().name
    of_hub = bool(source.hub) and re.fullmatch("[0-9a-f]{64}", named) is not None
    return source.sha256 or (named if of_hub else "")


def known_weights() -> list[Weights]:
    """Look for the weights of each backbone with a name of its own, and of the default CLIP."""
    names = [card.name for card in CARDS.values() if card.name not in EMBEDDED]
    return [weights_of(name) for name in (*names, DEFAULTS["clip"])]


def source_of(card: Card) -> Source:
    """Return where a backbone's weights come from.

    Raises:
        InputError: it needs none, or brings its own.
    """
    module = importlib.import_module(card.module.split(":")[0])
    if not hasattr(module, "source"):
        raise InputError(f"{card.name} has no weights to be fetched: {card.weights}")
    source: Source = module.source(card)
    return source


def check(source: Source, path: Path) -> str:
    """Return a file's SHA-256.

    Raises:
        WeightsError: it is not the one that is known, or cannot be read.
    """
    found = _sha256(path)
    known = expected(source, path)
    if not found.startswith(known):
        raise WeightsError(
            f"{path} is not the file that was published: its SHA-256 begins "
            f"{found[:8]}, {known[:8]} expected; it may be half a download. Delete it and "
            "run 'embedkit weights get'"
        )
    return found


def read_state(path: Path) -> State:
    """Read a file of weights without running anything that is in it.

    Safetensors, or what `torch.save` wrote: a state dict, alone or under `state_dict` or `model`.

    Raises:
        WeightsError: damaged, of another kind, or with values that are not finite.
    """
    try:
        if path.suffix == SAFETENSORS:
            content: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # on how the file was pickled
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (what torch raises of a bad file is of any kind)
        # Among them pickle.UnpicklingError, which cannot be named without importing pickle.
        if type(error).__name__ != "UnpicklingError":
            raise WeightsError(f"{path} cannot be read: damaged, or no file of weights") from None
        raise WeightsError(
            f"{path} holds more than weights, or is damaged; embedkit runs nothing that is in such "
            "a file. Save the state dict alone, best as safetensors"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise WeightsError(f"{path} holds no state dict (names with tensors)")
    state = {re.sub(r"^module\.", "", name): value for name, value in content.items()}
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsError(f"{path} is unusable: {name} holds values that are not finite")
    return state


def fill(
    module: torch.nn.Module,
    state: State,
    path: Path,
    *,
    name: str,
    extra: Callable[[str], bool] = lambda _: False,
) -> None:
    """Give a network its weights; every one of them, and no others.

    Args:
        module: the network.
        state: from `read_state`.
        path: for messages.
        name: of the backbone, for messages.
        extra: says which weights of the file the network has no use for (its classifier).

    Raises:
        WeightsError: the file is of another network.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - state.keys())
    # A counter that early files lack and that no prediction uses.
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    unknown = sorted(key for key in state.keys() - own.keys() if not extra(key))
    shapes = [
        f"{key} is {tuple(state[key].shape)}, {tuple(own[key].shape)} expected"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    ]
    faults = [
        f"{len(keys)} {what}, e.g. {keys[0]}"
        for what, keys in (("missing", missing), ("unknown", unknown))
        if keys
    ] + sorted(shapes)[:1]
    if faults:
        raise WeightsError(
            f"{path} holds the weights of another network than {name}: " + "; ".join(faults)
        )
    module.load_state_dict({key: state[key] for key in own.keys() & state.keys()}, strict=False)
