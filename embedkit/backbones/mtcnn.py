"""`mtcnn`: features of the face detector that facenet-pytorch carries in its wheel."""

from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from facenet_pytorch.models import mtcnn
from torch.nn import functional

from embedkit.backbones.cards import Card, Options
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.backbones.threads import one_thread
from embedkit.files import sha256_of_file
from embedkit.vectors import FloatArray, Pixels, unit_rows

# What the card says in words.
PREPROCESSING = Preprocessing(
    size=(80, 80),
    resize="squash",
    interpolation="bilinear",
    range=255,
    mean=(127.5,) * 3,
    std=(128.0,) * 3,
)


class Mtcnn:
    """O-Net's third and fourth convolution, averaged over a coarse grid.

    Adding the features of the mirror image gave 2 to 3 points of accuracy on real faces
    (`docs/backbones.md`) and makes a mirrored copy the same vector, bit for bit.
    """

    def __init__(self, card: Card, options: Options) -> None:
        self.card = card
        self.preprocessing = PREPROCESSING
        weights = Path(mtcnn.__file__).parent.parent / "data" / "onet.pt"
        self.weights_sha256 = sha256_of_file(weights)
        self._net = mtcnn.ONet(pretrained=False)
        self._net.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        self._net.eval().requires_grad_(False)
        # Channels last is much faster here than torch's default layout.
        self._net.to(memory_format=torch.channels_last)
        self._threads = torch.get_num_threads()

    def prepare(self, pixels: Pixels) -> npt.NDArray[Any]:
        """Squash a picture to the network's input, (80, 80, 3) uint8."""
        return self.preprocessing.prepare(pixels)

    def seeing(self, preprocessing: Preprocessing) -> "Mtcnn":
        """Return the same network, its pictures prepared otherwise; see `PreparedBackbone`."""
        other = copy(self)
        other.preprocessing = preprocessing
        return other

    def embed(self, inputs: npt.NDArray[Any]) -> FloatArray:
        """Return unit rows, (n, 1536); see `Backbone.embed`."""
        batch = np.zeros((self.card.batch, *inputs.shape[1:]), np.uint8)
        batch[: len(inputs)] = inputs
        with one_thread(self._threads), torch.inference_mode():
            x = self.preprocessing.normalise(batch)
            layers = [a + b for a, b in zip(self._layers(x), self._layers(x.flip(3)), strict=True)]
        rows = [unit_rows(layer.numpy()) for layer in layers]
        return unit_rows(np.concatenate(rows, axis=1)[: len(inputs)])

    def _layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        net: Any = self._net
        x = net.pool1(net.prelu1(net.conv1(x)))
        x = net.pool2(net.prelu2(net.conv2(x)))
        third = net.pool3(net.prelu3(net.conv3(x)))
        fourth = net.prelu4(net.conv4(third))
        return [_grid(third, 4), _grid(fourth, 2)]


def _grid(maps: torch.Tensor, cells: int) -> torch.Tensor:
    """Average feature maps over cells x cells fields: (n, c, h, w) -> (n, c * cells * cells)."""
    return functional.adaptive_avg_pool2d(maps, cells).flatten(1)
