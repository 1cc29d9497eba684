"""Networks with random weights, saved as files of the shapes that their authors publish."""

import numpy as np
import open_clip
import timm
import torch
import torchvision
from facenet_pytorch import InceptionResnetV1
from safetensors.torch import save_file

from embedkit.backbones import find_card

SQUEEZENET = "torchvision:squeezenet1_1"  # the quickest


def _seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


def _torchvision(name, **options):
    return lambda: torchvision.models.get_model(name, weights=None, **options)


# What a test can make in a second or two; each stands for its family.
RANDOM = {
    "vgg16": _torchvision("vgg16"),
    "vgg16:pooled": _torchvision("vgg16"),
    "facenet:vggface2": lambda: InceptionResnetV1(classify=True, num_classes=8631),
    "clip:ViT-B-32/laion2b_s34b_b79k": lambda: open_clip.create_model(
        "ViT-B-32", load_weights=False
    ),
    SQUEEZENET: _torchvision("squeezenet1_1"),
    "timm:mobilenetv3_small_050": lambda: timm.create_model("mobilenetv3_small_050"),
}


# Larger ones, whose vectors are only compared with those of their library.
LARGER = {
    "torchvision:resnet50": _torchvision("resnet50"),
    "torchvision:vgg19": _torchvision("vgg19"),
    "torchvision:efficientnet_b0": _torchvision("efficientnet_b0"),
    "torchvision:inception_v3": _torchvision(
        "inception_v3", transform_input=True, init_weights=False
    ),
    "timm:resnet50": lambda: timm.create_model("resnet50"),
    "timm:efficientnet_b0": lambda: timm.create_model("efficientnet_b0"),
    "timm:xception": lambda: timm.create_model("legacy_xception"),
    "timm:inception_v3": lambda: timm.create_model("inception_v3"),
}


def network(name):
    """Return a network with the random weights that its file will have."""
    return _seeded((RANDOM | LARGER)[name])


def save_weights(name, folder):
    """Write a network's random weights as safetensors and return the file."""
    file = folder / f"{find_card(name).space}.safetensors"
    if not file.exists():
        state = {key: value.contiguous() for key, value in network(name).state_dict().items()}
        save_file(state, file)
    return file


def unit(rows):
    """Return tensors as float64 unit rows."""
    wide = rows.double().numpy()
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)
