"""What a store's `space.json` says of a backbone, and whether the two still agree."""

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata

from embedkit.backbones import Backbone, contract, contract_hash, load_backbone
from embedkit.errors import SpaceMismatchError
from embedkit.store import Space
from embedkit.store.schema import SpaceRecord


def load_networks(names: Iterable[str], present: Mapping[str, Space]) -> dict[str, Backbone]:
    """Load backbones by the name of their space, in the order of the names.

    Raises:
        SpaceMismatchError: a space that is there was made by another version of its backbone.
    """
    networks = {name: load_backbone(name) for name in sorted(names)}
    for name in networks.keys() & present.keys():
        space, now = present[name], contract(networks[name])
        if contract_hash(now) != space.contract_sha256:
            was = space.record.contract
            differing = [key for key, value in now.items() if was.get(key) != value]
            raise SpaceMismatchError(
                f"{space.folder} was made with another {', '.join(differing) or 'contract'} than "
                f"{name} has now; make a new store with -o"
            )
    return networks


def space_record(network: Backbone) -> SpaceRecord:
    """Return the record of an empty space; the writer fills in its rows."""
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
