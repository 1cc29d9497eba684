"""`timm:NAME`: the networks of PyTorch image models, pooled, without their classifier."""

import math
import os
from dataclasses import replace
from typing import Any

import timm

from embedkit.backbones.cards import Card, Options
from embedkit.backbones.network import Network
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.backbones.weights import (
    Source,
    fill,
    known_sha256,
    licence_of,
    needed,
    read_state,
    torch_home,
)
from embedkit.errors import InputError

# Names that timm has given up, and that people still use.
RENAMED = {"xception": "legacy_xception"}


def build(card: Card, options: Options) -> Network:
    """Load a network of timm; its vector is its pooled features (`num_classes=0`).

    Raises:
        InputError: timm has no network of that name.
        WeightsError: the weights are not here, or of another network.
    """
    name = _name(card)
    published, origin = _published(name), source(card)
    classifier = published.classifier or ()
    layers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    with needed(origin, options, card.name) as held:
        module = timm.create_model(name, pretrained=False, num_classes=0)
        fill(
            module,
            read_state(held.path),
            held.path,
            name=card.name,
            extra=lambda key: key.startswith(tuple(f"{layer}." for layer in layers)),
        )
    data: Any = timm.data
    config = data.resolve_model_data_config(module)
    card = replace(card, licence=licence_of(card, origin))
    return Network(card, module, _preprocessing(config), held.sha256)


def source(card: Card) -> Source:
    """Return where timm publishes the weights of a network."""
    published = _published(_name(card))
    said = published.license not in (None, "unknown")
    licence = f"{published.license} (as timm says)" if said else ""
    if published.hf_hub_id:
        hub = str(published.hf_hub_id)
        files = ("model.safetensors", "pytorch_model.bin")
        return Source(files=files, hub=hub, licence=licence)
    url = str(published.url or "")
    file = os.path.basename(url) or f"{_name(card)}.safetensors"  # noqa: PTH119 (an address)
    return Source(
        files=(file,),
        url=url,
        cache=str(torch_home() / "hub" / "checkpoints"),
        sha256=known_sha256(file),
        licence=licence,
    )


def _name(card: Card) -> str:
    name = card.name.removeprefix("timm:")
    return RENAMED.get(name, name)


def _published(name: str) -> Any:
    published = timm.get_pretrained_cfg(name) if timm.is_model(name.split(".")[0]) else None
    if published is None:
        near = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:5]
        hint = f"; near are {', '.join(near)}" if near else ""
        raise InputError(f"timm has no network called {name!r}{hint}")
    return published


def _preprocessing(config: dict[str, Any]) -> Preprocessing:
    """Read timm's data configuration as its own evaluation transform does."""
    _, height, width = config["input_size"]
    crop = config["crop_pct"]
    mode = config.get("crop_mode", "center")
    if mode == "border":
        raise InputError("a network of timm that wants borders is not supported")
    if mode == "squash" and height != width:
        raise InputError("a network of timm that squashes to a rectangle is not supported")
    return Preprocessing(
        size=(height, width),
        resize="squash" if mode == "squash" else "shortest",
        to=math.floor(min(height, width) / crop),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
