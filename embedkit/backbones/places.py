"""What can be seen inside a backbone: its layers, and what each place of a picture gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from embedkit.backbones import Backbone, FaceBackbone
from embedkit.errors import InputError
from embedkit.vectors import DoubleArray, FloatArray


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer whose output is feature maps.

    Attributes:
        name: in its network, as torch calls it.
        kind: class of the layer.
        channels: number of maps.
        height: of a map, in places.
        width: of a map, in places.
    """

    name: str
    kind: str
    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Places:
    """What each place of a layer gives to a sum.

    Attributes:
        layer: name of the layer.
        values: (h, w) float64; the places cover the network's input evenly, from the top left.
    """

    layer: str
    values: DoubleArray


@dataclass(frozen=True, slots=True)
class Contributions:
    """A weighted sum of a vector, divided among the places of feature maps.

    Attributes:
        layers: the places of each layer that the vector is read from.
        constant: what the network adds whatever the picture.
        total: the weighted sum itself, of the unit row.
    """

    layers: tuple[Places, ...]
    constant: float
    total: float


@runtime_checkable
class LayeredBackbone(Backbone, Protocol):
    """A backbone whose layers can be looked into; see `layered`."""

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers whose output is feature maps, in the order of computation.

        Raises:
            InputError: the network runs as a whole, or has none.
        """

    def activations(self, inputs: npt.NDArray[Any], names: Sequence[str]) -> dict[str, FloatArray]:
        """Return feature maps of one picture.

        Args:
            inputs: result of `prepare`.
            names: of `layers`.

        Returns:
            (c, h, w) float32 of each name; of a layer that runs several times, the last output.

        Raises:
            InputError: there is no such layer; the message says which there are.
        """

    def contributions(self, inputs: npt.NDArray[Any], weights: DoubleArray) -> Contributions:
        """Divide weights · vector of one picture among places of the last feature maps, exactly.

        Args:
            inputs: result of `prepare`.
            weights: (d,) of the vector's values.

        Raises:
            InputError: the vector is no sum of what each place gives.
        """


def layered(backbone: Backbone) -> LayeredBackbone:
    """Return a backbone, or that which sees the faces it finds, if its layers can be looked into.

    Raises:
        InputError: it has none.
    """
    inner: Any = getattr(backbone, "inner", None) if isinstance(backbone, FaceBackbone) else None
    network = backbone if inner is None else inner
    if not isinstance(network, LayeredBackbone):
        raise InputError(f"{backbone.card.name} has no layers that can be looked into")
    return network
