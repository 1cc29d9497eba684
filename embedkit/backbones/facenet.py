"""`facenet:SET`: facenet-pytorch's InceptionResnetV1, trained on faces of VGGFace2 or CASIA."""

import torch
from facenet_pytorch import InceptionResnetV1

from embedkit.backbones.cards import Card, Options
from embedkit.backbones.network import Network
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.backbones.weights import Source, fill, known_sha256, needed, read_state, torch_home

RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
FILES = {
    "vggface2": "20180402-114759-vggface2.pt",
    "casia-webface": "20180408-102900-casia-webface.pt",
}
# `fixed_image_standardization` of facenet-pytorch; 160 is the size that its networks were made for.
PREPROCESSING = Preprocessing(
    size=(160, 160),
    resize="squash",
    interpolation="bilinear",
    range=255,
    mean=(127.5,) * 3,
    std=(128.0,) * 3,
)


def build(card: Card, options: Options) -> Network:
    """Load the network without the layer that names the people it was trained on.

    Raises:
        WeightsError: the weights are not here, or of another network.
    """
    with needed(source(card), options, card.name) as held:
        module: torch.nn.Module = InceptionResnetV1(pretrained=None)
        fill(
            module,
            read_state(held.path),
            held.path,
            name=card.name,
            extra=lambda key: key.startswith("logits."),
        )
    return Network(card, module, PREPROCESSING, held.sha256, vector="last_bn")


def source(card: Card) -> Source:
    """Return where facenet-pytorch publishes the weights, and keeps them."""
    file = FILES[card.name.removeprefix("facenet:")]
    return Source(
        files=(file,),
        url=f"{RELEASE}/{file}",
        cache=str(torch_home() / "checkpoints"),
        sha256=known_sha256(file),
    )
