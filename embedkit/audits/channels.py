"""Channels: what the layers of a backbone make of one picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import rounded
from embedkit.audits.decisions import Frame
from embedkit.backbones import load_backbone
from embedkit.backbones.places import Layer, layered
from embedkit.store import Store
from embedkit.vectors import FloatArray

SHOWN = 23  # and the picture: four rows of six


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels of a layer with the largest mean activation on one picture.

    Attributes:
        layer: name of the layer.
        n: channels that it has.
        numbers: of those shown, counted from 0; the largest mean first.
        means: activation of each, as the mean over places.
        maps: (m, h, w) float32 activations.
    """

    layer: str
    n: int
    numbers: tuple[int, ...]
    means: tuple[float, ...]
    maps: FloatArray

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "layer": self.layer,
            "channels": self.n,
            "grid": list(self.maps.shape[1:]),
            "order": "mean activation, the largest first",
            "shown": [
                {"channel": number, "mean": rounded(mean), "largest": rounded(float(one.max()))}
                for number, mean, one in zip(self.numbers, self.means, self.maps, strict=True)
            ],
        }


def strongest_channels(
    frame: Frame, names: Sequence[str], *, shown: int = SHOWN
) -> tuple[Channels, ...]:
    """Return the channels that a picture moves most, of some layers.

    Args:
        frame: the picture as the backbone sees it in fp32.
        names: of the layers.
        shown: channels of each at most.

    Raises:
        InputError: the backbone has no such layer, or none at all.
    """
    found = layered(frame.backbone).activations(frame.content, names)
    made = []
    for name, maps in found.items():
        means = maps.mean(axis=(1, 2), dtype=np.float64)
        order = np.argsort(-means, kind="stable")[:shown]
        made.append(
            Channels(
                name,
                len(maps),
                tuple(order.tolist()),
                tuple(means[order].tolist()),
                maps[order],
            )
        )
    return tuple(made)


def layers_of(store: Store, backbone: str | None = None) -> tuple[Layer, ...]:
    """Return the layers of the backbone of a space whose output is feature maps, in order.

    Raises:
        InputError: no such space, or a backbone without layers.
        WeightsError: its weights are not on this machine.
    """
    space = store.space(backbone)
    how = space.record.backbone | {"precision": "fp32"}
    return layered(load_backbone(**how, named_by=str(space.folder))).layers()
