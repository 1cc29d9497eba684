"""The reference implementations: each library's own network and transform, nothing of embedkit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
import torchvision
from facenet_pytorch import InceptionResnetV1, fixed_image_standardization
from safetensors.torch import load_file, save_file
from torchvision import transforms

NETWORKS = {
    "vgg16": "vgg16",
    "clip": "clip:ViT-B-32/laion2b_s34b_b79k",
    "facenet": "facenet:vggface2",
    "efficientnet_b0": "timm:efficientnet_b0",
}


def build(network: str) -> Any:
    """Return a network without weights."""
    if network == "vgg16":
        return torchvision.models.vgg16()
    if network == "torchvision:mobilenet_v3_small":
        return torchvision.models.mobilenet_v3_small()
    if network.startswith("clip:"):
        return open_clip.create_model("ViT-B-32", load_weights=False)
    if network.startswith("facenet:"):
        return InceptionResnetV1(classify=True, num_classes=8631)
    return timm.create_model(network.removeprefix("timm:"))


def make_weights(network: str, path: Path, pictures: torch.Tensor) -> None:
    """Write random weights; batch statistics are taken from pictures, as training would.

    Without that the activations of a deep network with random weights have no sensible size, and
    no precision agrees with another.

    Args:
        network: embedkit's name of it.
        path: safetensors file to write.
        pictures: (n, 3, h, w) in 0 to 1.
    """
    torch.manual_seed(0)
    module = build(network)
    norms = [one for one in module.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    if norms or network.startswith("facenet:"):
        for one in module.modules():
            if isinstance(one, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
                one.reset_running_stats()
                one.momentum = None
        size = 160 if network.startswith("facenet:") else 224
        small = torch.nn.functional.interpolate(pictures, (size, size), mode="area")
        with torch.no_grad():
            module.train()(small * 2 - 1)
    state = {key: value.contiguous() for key, value in module.state_dict().items()}
    save_file(state, path)


def reference(network: str, weights: str) -> tuple[Callable[[torch.Tensor], Any], Callable]:
    """Return a network as its library runs it, and its library's transform."""
    module = build(network)
    module.load_state_dict(load_file(weights))
    module.eval()
    if network == "vgg16":
        module.classifier = module.classifier[:5]
        return module, torchvision.models.VGG16_Weights.DEFAULT.transforms()
    if network == "torchvision:mobilenet_v3_small":
        module.classifier = module.classifier[:3]
        return module, torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.transforms()
    if network.startswith("clip:"):
        transform = open_clip.image_transform(module.visual.image_size, is_train=False)
        return module.encode_image, transform
    if network.startswith("facenet:"):
        module.classify = False
        steps = [transforms.Resize((160, 160)), transforms.PILToTensor()]
        return module, transforms.Compose(
            [*steps, lambda x: fixed_image_standardization(x.float())]
        )
    config = timm.data.resolve_model_data_config(module)
    module.reset_classifier(0)
    return module, timm.data.create_transform(**config, is_training=False)
