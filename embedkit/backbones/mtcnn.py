"""`mtcnn`: features of the face detector that facenet-pytorch carries in its wheel."""

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from facenet_pytorch.models import mtcnn
from torch.nn import functional

from embedkit.backbones.cards import Card, Options
from embedkit.backbones.layers import feature_maps, list_layers, spread
from embedkit.backbones.places import Contributions, Layer, Places
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.backbones.threads import one_thread
from embedkit.files import sha256_of_file
from embedkit.vectors import DoubleArray, FloatArray, Pixels, unit_rows

# What the card says in words.
PREPROCESSING = Preprocessing(
    size=(80, 80),
    resize="squash",
    interpolation="bilinear",
    range=255,
    mean=(127.5,) * 3,
    std=(128.0,) * 3,
)

GRIDS = {"pool3": 4, "prelu4": 2}  # the layers that are read: cells on a side


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

    def layers(self) -> tuple[Layer, ...]:
        """See `LayeredBackbone`; the mirror image goes through the same ones."""
        return list_layers(self.card.name, self._net, self._look(np.zeros((80, 80, 3), np.uint8)))

    def activations(self, inputs: npt.NDArray[Any], names: Sequence[str]) -> dict[str, FloatArray]:
        """See `LayeredBackbone`; of the picture itself, not of its mirror image."""
        return feature_maps(self.card.name, self._net, self._look(inputs), names)

    def contributions(self, inputs: npt.NDArray[Any], weights: DoubleArray) -> Contributions:
        """See `LayeredBackbone`; what the mirror image gives is mirrored back."""
        with one_thread(self._threads), torch.no_grad():
            x = self.preprocessing.normalise(inputs[None])
            sides = list(
                zip(GRIDS.values(), self._features(x), self._features(x.flip(3)), strict=True)
            )
            rows = [_grid(own, cells) + _grid(mirror, cells) for cells, own, mirror in sides]
            lengths = [float(row.double().norm()) for row in rows]
            parts = _split(weights / len(rows) ** 0.5, rows)
            layers = []
            for (name, cells), (_, own, mirror), part, length in zip(
                GRIDS.items(), sides, parts, lengths, strict=True
            ):
                read = partial(_grid, cells=cells)
                values = spread(own, read, part) + spread(mirror, read, part)[:, ::-1]
                layers.append(Places(name, values / length))
            total = sum(
                float(row[0].double() @ part) / length
                for row, part, length in zip(rows, parts, lengths, strict=True)
            )
        return Contributions(tuple(layers), 0.0, total)

    def _look(self, picture: npt.NDArray[Any]) -> Callable[[], list[torch.Tensor]]:
        return lambda: self._features(self.preprocessing.normalise(picture[None]))

    def _layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [
            _grid(maps, cells)
            for maps, cells in zip(self._features(x), GRIDS.values(), strict=True)
        ]

    def _features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the output of the layers that are read, as `GRIDS` names them."""
        net: Any = self._net
        x = net.pool1(net.prelu1(net.conv1(x)))
        x = net.pool2(net.prelu2(net.conv2(x)))
        third = net.pool3(net.prelu3(net.conv3(x)))
        return [third, net.prelu4(net.conv4(third))]


def _split(weights: DoubleArray, rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Cut weights of a vector into those of the rows, (1, d) each, that it is put together from."""
    return torch.split(torch.from_numpy(weights), [row.shape[1] for row in rows])


def _grid(maps: torch.Tensor, cells: int) -> torch.Tensor:
    """Average feature maps over cells x cells fields: (n, c, h, w) -> (n, c * cells * cells)."""
    return functional.adaptive_avg_pool2d(maps, cells).flatten(1)
