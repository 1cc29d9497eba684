"""What a store's `space.json` says of a backbone, and whether the two still agree."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from embedkit.backbones import Backbone, contract, contract_hash, load_backbone
from embedkit.errors import SpaceMismatchError
from embedkit.store import Space
from embedkit.store.schema import SpaceRecord


@dataclass(frozen=True, slots=True)
class Wanted:
    """A backbone that is asked for.

    Attributes:
        name: in full.
        weights: its file, or a folder that holds it; None to find it where such files are kept.
    """

    name: str
    weights: Path | None = None


def load_networks(
    names: Iterable[str], asked: Mapping[str, Wanted], present: Mapping[str, Space]
) -> dict[str, Backbone]:
    """Load backbones by the name of their space, in the order of the names.

    Args:
        names: of spaces.
        asked: what was asked for, by space.
        present: the spaces that the store has.

    Raises:
        SpaceMismatchError: a space that is there was made by another version of its backbone.
        WeightsError: weights are not on this machine, damaged, or of another network.
    """
    networks = {}
    for name in sorted(names):
        wanted = asked.get(name) or _recorded(present[name])
        networks[name] = load_backbone(wanted.name, weights=wanted.weights)
        if name in present:
            _check(present[name], networks[name])
    return networks


def contracts(networks: Mapping[str, Backbone]) -> dict[str, str]:
    """Return the hash of each network's contract, by space."""
    return {name: contract_hash(contract(network)) for name, network in networks.items()}


def _recorded(space: Space) -> Wanted:
    weights = space.record.backbone["weights"]
    return Wanted(space.record.backbone["name"], Path(weights) if weights else None)


def _check(space: Space, network: Backbone) -> None:
    now, was = contract(network), space.record.contract
    if contract_hash(now) != space.contract_sha256:
        differing = [key for key, value in now.items() if was.get(key) != value]
        raise SpaceMismatchError(
            f"{space.folder} was made with another {', '.join(differing) or 'contract'} than "
            f"{network.card.name} has now; make a new store with -o"
        )


def space_record(network: Backbone, weights: Path | None) -> SpaceRecord:
    """Return the record of an empty space; the writer fills in its rows."""
    terms = contract(network)
    return SpaceRecord(
        name=network.card.space,
        contract=terms,
        contract_sha256=contract_hash(terms),
        dimension=network.card.dimension,
        n=0,
        shards=(),
        backbone={"name": network.card.name, "weights": str(weights.resolve()) if weights else ""},
        made_with={
            name: metadata.version(name) for name in ("torch", "pillow", "numpy", "facenet-pytorch")
        }
        | {"python": platform.python_version()},
    )
