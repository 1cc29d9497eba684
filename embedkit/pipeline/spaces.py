"""The backbones of a run: how each is loaded, and what a store's `space.json` says of it."""

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from embedkit.backbones import Backbone, contract, contract_hash, find_card, load_backbone
from embedkit.backbones.cards import EMBEDDED, FILE_KINDS, Options
from embedkit.errors import BackboneError, InputError, SpaceMismatchError
from embedkit.pipeline.choices import AUTO, Sample, choose_align, choose_precision
from embedkit.store import Space
from embedkit.store.schema import SpaceRecord

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A backbone that is asked for.

    Attributes:
        name: in full.
        weights: its file, or a folder that holds it; None to find it where such files are kept.
        align: `auto`, or as in `Options`.
        several_faces: as in `Options`; empty for what is usual, or was taken before.
        no_face: the same.
        precision: `auto`, `fp32` or `bf16`.
        device: `cpu`, `cuda`, or `auto` for the second where there is one.
        named: whether the user names it, and not a store that is to be gone on with.
    """

    name: str
    weights: Path | None = None
    align: str = AUTO
    several_faces: str = ""
    no_face: str = ""
    precision: str = AUTO
    device: str = AUTO
    named: bool = True


@dataclass(frozen=True, slots=True)
class LoadedBackbone:
    """A backbone in memory.

    Attributes:
        backbone: ready.
        record: how to load it again: name and options.
        made_with: what else `space.json` says of it.
        device: that it is on now.
    """

    backbone: Backbone
    record: dict[str, str]
    made_with: dict[str, str]
    device: str


def load_networks(
    names: Iterable[str],
    asked: Mapping[str, Wanted],
    recorded: Mapping[str, Mapping[str, Any]],
    sample: Sample,
    say: Say,
) -> dict[str, LoadedBackbone]:
    """Load backbones by the name of their space, in the order of the names.

    Args:
        names: of spaces.
        asked: what was asked for, by space.
        recorded: how backbones were loaded that have made vectors already, by space.
        sample: gives some pictures of the data set, to choose by.
        say: is told what was chosen, and why.

    Raises:
        SpaceMismatchError: other options are asked for than a space was made with.
        WeightsError: weights are not on this machine, damaged, or of another network.
        BackboneError: a backbone cannot be computed as asked.
    """
    rules = {
        (one["backbone"]["several_faces"], one["backbone"]["no_face"])
        for one in recorded.values()
        if one["backbone"]["align"] == "mtcnn"
    }
    usual = next(iter(rules), (Options().several_faces, Options().no_face))
    networks = {}
    for name in sorted(names):
        before = recorded.get(name)
        if before is None:
            loaded = _load_first(asked[name], usual, sample, say)
        else:
            loaded = _load_as_before(name, asked.get(name), before)
        if loaded.record["align"] == "mtcnn":
            rules.add((loaded.record["several_faces"], loaded.record["no_face"]))
        if len(rules) > 1:
            raise InputError(
                "one store keeps one face a picture; give a backbone that is to see others a "
                "store of its own with -o"
            )
        networks[name] = loaded
    return networks


def _load_first(wanted: Wanted, usual: tuple[str, str], sample: Sample, say: Say) -> LoadedBackbone:
    if not wanted.named:
        raise SpaceMismatchError(
            f"the store names the backbone {wanted.name}, and has no space that it made; it is "
            "damaged, or was changed"
        )
    device = _device(wanted)
    options = {
        "weights": "" if wanted.weights is None else str(wanted.weights.resolve()),
        "align": wanted.align,
        "several_faces": wanted.several_faces or usual[0],
        "no_face": wanted.no_face or usual[1],
    }
    made_with = _versions()
    if wanted.align == AUTO:
        card = find_card(wanted.name)
        if wanted.name.partition(":")[0] in FILE_KINDS:  # what it takes stands beside the file
            card = load_backbone(wanted.name, weights=wanted.weights).card
        options["align"], why, found = choose_align(card, sample)
        if why:
            say(f"{wanted.name}: {why}")
        if found is not None:
            made_with["faces_in_sample"] = f"{found:.2f}"
    try:
        backbone, precision, note = choose_precision(
            wanted.name, options, wanted.precision, device, sample
        )
    except (BackboneError, InputError):
        if wanted.device != AUTO or device == "cpu":
            raise
        device = "cpu"  # not every backbone can be moved
        backbone, precision, note = choose_precision(
            wanted.name, options, wanted.precision, device, sample
        )
    if note:
        say(f"{wanted.name}: {note}")
    return LoadedBackbone(
        backbone,
        {"name": wanted.name, **options, "precision": precision},
        made_with | {"device": device, "precision": note, "licence": backbone.card.licence},
        device,
    )


def _load_as_before(name: str, wanted: Wanted | None, before: Mapping[str, Any]) -> LoadedBackbone:
    record: dict[str, str] = dict(before["backbone"])
    # A store that was begun on a GPU goes on there if there is one, and elsewhere if not.
    device = before["made_with"]["device"]
    device = _device(Wanted(record["name"], device=AUTO if device == "cuda" else "cpu"))
    if wanted is not None:
        device = device if wanted.device == AUTO else _device(wanted)
        if wanted.weights is not None:
            record["weights"] = str(wanted.weights.resolve())
        for option in ("align", "several_faces", "no_face", "precision"):
            asked_for = getattr(wanted, option)
            fits = record[option] == asked_for or record[option] == f"openvino-{asked_for}"
            if option == "precision" and asked_for == "fp32":
                fits = record[option] == "fp32"  # which is the reference
            if asked_for not in ("", AUTO) and not fits:
                raise SpaceMismatchError(
                    f"the vectors of {name} were made with {option.replace('_', '-')} "
                    f"{record[option]}, not {asked_for}; make a store of their own with -o"
                )
    named = wanted is not None and (
        wanted.weights is not None
        or (wanted.named and wanted.name == record["name"] and not record["weights"])
    )
    named_by = "" if named else f"the space {name}"
    backbone = load_backbone(**record, device=device, named_by=named_by)
    return LoadedBackbone(backbone, record, dict(before["made_with"]), device)


def check_space(space: Space, network: Backbone) -> None:
    """Refuse a backbone that does not make the vectors that a space holds.

    Raises:
        SpaceMismatchError: with what differs.
    """
    now, was = contract(network), space.record.contract
    if contract_hash(now) != space.contract_sha256:
        differing = [key for key, value in now.items() if was.get(key) != value]
        raise SpaceMismatchError(
            f"{space.folder} was made with another {', '.join(differing) or 'contract'} than "
            f"{network.card.name} has now; make a new store with -o"
        )


def begun(networks: Mapping[str, LoadedBackbone]) -> dict[str, dict[str, Any]]:
    """Return what the journal says of the backbones of a run, by space."""
    return {
        name: {
            "contract_sha256": contract_hash(contract(one.backbone)),
            "backbone": one.record,
            "made_with": one.made_with,
        }
        for name, one in networks.items()
    }


def again(name: str, loaded: LoadedBackbone) -> dict[str, str]:
    """Return how another process loads the same network, and knows that it is; see `load_again`."""
    return loaded.record | {
        "device": loaded.device,
        "contract_sha256": contract_hash(contract(loaded.backbone)),
        "where": f"the space {name}",
        # What has no file of the user's own needs nobody's word, wherever it is loaded.
        "vouched": loaded.backbone.weights_sha256,
    }


def space_record(name: str, loaded: LoadedBackbone) -> SpaceRecord:
    """Return the record of an empty space; the writer fills in its rows."""
    terms = contract(loaded.backbone)
    return SpaceRecord(
        name=name,
        contract=terms,
        contract_sha256=contract_hash(terms),
        dimension=loaded.backbone.card.dimension,
        n=0,
        shards=(),
        backbone=loaded.record,
        made_with=loaded.made_with,
    )


def recorded_in(space: Space) -> dict[str, Any]:
    """Return how the backbone of a space was loaded; see `begun`."""
    record = asdict(space.record)
    return {key: record[key] for key in ("contract_sha256", "backbone", "made_with")}


def _device(wanted: Wanted) -> str:
    if wanted.name in EMBEDDED or wanted.device == "cpu":
        return "cpu"
    from embedkit.hardware import has_cuda

    if wanted.device == AUTO:
        return "cuda" if has_cuda() else "cpu"
    if not has_cuda():
        raise InputError("torch sees no CUDA device on this machine; use --device cpu")
    return "cuda"


def _versions() -> dict[str, str]:
    packages = ("torch", "pillow", "numpy", "facenet-pytorch")
    return {name: metadata.version(name) for name in packages} | {
        "python": platform.python_version()
    }
