"""`torchvision:NAME` and `vgg16`: torchvision's classifiers without their last layer."""

import os
from typing import Any

import torch
from torch.nn import functional
from torchvision import models

from embedkit.backbones.cards import Card, Options
from embedkit.backbones.network import Network
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.backbones.weights import Source, fill, known_sha256, needed, read_state, torch_home
from embedkit.errors import InputError

POOLED = "pooled"


def build(card: Card, options: Options) -> Network:
    """Load a network of torchvision; its vector is what its last layer would be given.

    `vgg16` is fc7, (n, 4096), after its ReLU; `vgg16:pooled` the average of the last feature maps,
    (n, 512).

    Raises:
        InputError: torchvision has no classifier of that name.
        WeightsError: the weights are not here, or of another network.
    """
    name, _, readout = card.name.removeprefix("torchvision:").partition(":")
    published = _published(name)
    with needed(source(card), options, card.name) as held:
        module: Any = models.get_model(name, weights=None, **_arguments(name))
        fill(module, read_state(held.path), held.path, name=card.name)
    preprocessing = _preprocessing(published.transforms())
    if readout == POOLED:

        def pooled(x: torch.Tensor) -> torch.Tensor:
            return functional.adaptive_avg_pool2d(module.features(x), 1).flatten(1)

        return Network(card, module, preprocessing, held.sha256, read=pooled)
    cut_classifier(module)
    return Network(card, module, preprocessing, held.sha256)


def source(card: Card) -> Source:
    """Return where torchvision publishes the weights of a network, and keeps them."""
    url = _published(card.name.removeprefix("torchvision:").partition(":")[0]).url
    file = os.path.basename(url)  # noqa: PTH119 (an address, not a path)
    return Source(
        files=(file,),
        url=url,
        cache=str(torch_home() / "hub" / "checkpoints"),
        sha256=known_sha256(file),
    )


def cut_classifier(module: torch.nn.Module) -> str:
    """Replace a network's last layer with weights by one that hands its input on.

    The last linear or convolutional layer, in the order in which the network registers its layers,
    is the one that has an output for each class, in every classifier of torchvision.

    Returns:
        The layer's name.

    Raises:
        InputError: the network has no such layer.
    """
    layers = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)
    ]
    if not layers:
        raise InputError("the network has no linear or convolutional layer to cut off")
    parent, _, own = layers[-1].rpartition(".")
    setattr(module.get_submodule(parent), own, torch.nn.Identity())
    return str(layers[-1])


def _published(name: str) -> Any:
    if name not in models.list_models(module=models):
        raise InputError(
            f"torchvision has no classifier called {name!r}; 'python -c \"import torchvision; "
            "print(torchvision.models.list_models(module=torchvision.models))\"' lists them"
        )
    return models.get_model_weights(name).DEFAULT


def _arguments(name: str) -> dict[str, bool]:
    # As torchvision sets them when it loads these two with their weights.
    return (
        {"transform_input": True, "init_weights": False, "aux_logits": True}
        if name in ("inception_v3", "googlenet")
        else {}
    )


def _preprocessing(transform: Any) -> Preprocessing:
    """Read the preprocessing that torchvision publishes beside the weights."""
    return Preprocessing(
        size=(transform.crop_size[0],) * 2,
        resize="shortest",
        to=transform.resize_size[0],
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )
