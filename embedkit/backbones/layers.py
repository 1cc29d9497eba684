"""Looking into a torch network by forward hooks: feature maps, and what a vector is of them.

Where a vector is the mean over places of feature maps, a linear head's logit is a sum over places:
the class-activation map of Zhou et al., "Learning deep features for discriminative localization"
(CVPR 2016).
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from embedkit.backbones.places import Contributions, Layer, Places
from embedkit.errors import InputError
from embedkit.vectors import DoubleArray, FloatArray

Run = Callable[[], Any]
Read = Callable[[torch.Tensor], torch.Tensor]
EXACT = 1e-4  # of the vector's length: more than rounding does
LISTED = 12  # layers that an error names
STRETCHED = 1.5  # more than convolutions without padding do to a picture that is not square


def list_layers(name: str, module: torch.nn.Module, run: Run) -> tuple[Layer, ...]:
    """Return the layers whose output is feature maps; see `LayeredBackbone.layers`.

    Args:
        name: of the backbone, for messages.
        module: the network.
        run: puts a picture through it.
    """
    if isinstance(module, torch.jit.ScriptModule) or getattr(module, "own_runtime", False):
        raise InputError(f"{name} runs as a whole from its file: its layers cannot be looked into")
    found: dict[str, Layer] = {}

    def note(layer: str, kind: str, out: torch.Tensor) -> None:
        found.pop(layer, None)  # one that runs again stands where it ran last
        found[layer] = Layer(layer, kind, *(int(side) for side in out.shape[1:]))

    with _watched(module, note), torch.inference_mode():
        run()
    if not found:
        raise InputError(f"{name} has no layer whose output is feature maps")
    return tuple(found.values())


def feature_maps(
    name: str, module: torch.nn.Module, run: Run, names: Sequence[str]
) -> dict[str, FloatArray]:
    """Return the feature maps of the first picture; see `LayeredBackbone.activations`."""
    known = [layer.name for layer in list_layers(name, module, run)]
    for one in names:
        if one not in known:
            near = difflib.get_close_matches(one, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; --layers list shows them all"
            some = known if len(known) <= LISTED else [*known[: LISTED - 1], "...", known[-1]]
            raise InputError(
                f"{name} has no layer {one!r} with feature maps; known are {', '.join(some)}{hint}"
            )
    seen: dict[str, FloatArray] = {}

    def note(layer: str, _: str, out: torch.Tensor) -> None:
        if layer in names:
            # A copy: what follows may work in place.
            seen[layer] = out[0].detach().float().cpu().numpy().copy()

    with _watched(module, note), torch.inference_mode():
        run()
    return {one: seen[one] for one in names}


def divide(
    name: str,
    module: torch.nn.Module,
    read: Read,
    x: torch.Tensor,
    weights: DoubleArray,
    *,
    vector: str = "",
) -> Contributions:
    """Divide weights · vector among places; see `LayeredBackbone.contributions`.

    Whether the vector is a sum of what places give is not believed but tried: with a part of the
    places blanked, with the others, and with all.

    Args:
        name: of the backbone, for messages.
        module: the network.
        read: from input to vectors.
        x: (1, c, h, w), one picture.
        weights: (d,) of the vector's values.
        vector: layer that has the vector before the network itself normalises it.
    """
    last = _last_layer(name, module, read, x)
    tail = _Tail(module, read, x, last.name, vector)
    rows = _parts(tail)
    whole, nothing = rows[0], rows[-1]
    length, wide = whole.norm(), torch.from_numpy(weights)
    values = spread(tail.maps, tail, wide) / float(length)
    constant, total = float(nothing @ wide / length), float(whole @ wide / length)
    off = max(
        float((whole + nothing - some - others).norm() / length)
        for some, others in (rows[1:3], rows[3:5])
    )
    size = float((whole.abs() @ wide.abs()) / length)
    if not off < EXACT or not abs(values.sum() + constant - total) <= EXACT * size:
        raise InputError(
            f"{name} does more with its last feature maps ({last.name}, {last.height} x "
            f"{last.width}) than add up what each place gives, so no map of places adds up to its "
            "answer"
        )
    return Contributions((Places(last.name, values),), constant, total)


def _parts(tail: "_Tail") -> torch.Tensor:
    """Return the vectors of all places, of two divisions of them, and of none: (6, d) float64.

    Half of the places are much like all of them; the one that is least like the others is not. The
    last row is of another picture: what goes around the layer would differ there.
    """
    maps = tail.maps[0].double()
    odd = (maps - maps.mean((1, 2), keepdim=True)).norm(dim=0)
    alone = odd == odd.max()
    half = torch.rand(odd.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    kept = torch.stack([torch.ones_like(half), half, ~half, alone, ~alone, torch.zeros_like(half)])
    pictures = tail.picture.repeat(len(kept), 1, 1, 1)
    pictures[-1] = 0
    with torch.no_grad():
        return tail(tail.maps * kept[:, None], pictures).double()


def spread(maps: torch.Tensor, read: Read, weights: torch.Tensor) -> DoubleArray:
    """Return what each place gives to weights · read(maps), for a `read` that adds up places.

    Args:
        maps: (1, c, h, w).
        read: from maps to (1, d).
        weights: (d,) float64.

    Returns:
        (h, w) float64.
    """
    leaf = maps.clone().requires_grad_()
    with torch.enable_grad():
        # A copy of the copy: what works in place must not change the leaf.
        (slope,) = torch.autograd.grad(read(leaf.clone())[0].double() @ weights, leaf)
    values: DoubleArray = (maps.double() * slope.double())[0].sum(0).numpy()
    return values


def _last_layer(name: str, module: torch.nn.Module, read: Read, x: torch.Tensor) -> Layer:
    """Return the last layer with feature maps, if their sides are to each other as the input's."""
    last = list_layers(name, module, lambda: read(x))[-1]
    stretched = (last.height / last.width) / (x.shape[2] / x.shape[3])
    # A network that keeps its channels last would pass a side of its maps for channels.
    if not 1 / STRETCHED < stretched < STRETCHED:
        raise InputError(
            f"the last feature maps of {name} ({last.name}) are no picture of its input, so no map "
            "of places can be drawn from them"
        )
    return last


class _Tail:
    """What a network does after a layer, as a function of that layer's feature maps.

    Attributes:
        picture: (1, c, h, w), the network's input.
        maps: (1, c, h, w), what the layer returns last for it.
    """

    def __init__(
        self, module: torch.nn.Module, read: Read, x: torch.Tensor, layer: str, vector: str
    ) -> None:
        self._module, self._read, self.picture = module, read, x
        self._layer, self._vector = module.get_submodule(layer), vector
        seen: list[torch.Tensor] = []
        with torch.no_grad(), _hooked(self._layer, lambda _, __, out: seen.append(out.clone())):
            read(x)
        self._runs, self.maps = len(seen), seen[-1]

    def __call__(self, maps: torch.Tensor, pictures: torch.Tensor | None = None) -> torch.Tensor:
        """Return the vectors (n, d), before the network normalises them, of maps (n, c, h, w).

        Args:
            maps: instead of the layer's.
            pictures: (n, c, h, w) that go in before; the one picture where left out.
        """
        given = self.picture.expand(len(maps), -1, -1, -1) if pictures is None else pictures
        runs, raw = 0, None

        def replace(_: Any, __: Any, out: torch.Tensor) -> torch.Tensor:
            nonlocal runs
            runs += 1
            return maps if runs == self._runs else out

        def take(_: Any, __: Any, out: torch.Tensor) -> None:
            nonlocal raw
            raw = out

        reader = self._module.get_submodule(self._vector) if self._vector else torch.nn.Identity()
        with _hooked(self._layer, replace), _hooked(reader, take):
            rows = self._read(given)
        return rows if raw is None else raw


@contextmanager
def _hooked(module: torch.nn.Module, hook: Any) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _watched(
    module: torch.nn.Module, note: Callable[[str, str, torch.Tensor], None]
) -> Iterator[None]:
    """Tell of every output of a named layer that is feature maps of more than one place."""

    def hook(layer: str) -> Any:
        def seen(owner: torch.nn.Module, _: Any, out: Any) -> None:
            if isinstance(out, torch.Tensor) and out.ndim == 4 and out.shape[2] * out.shape[3] > 1:
                note(layer, type(owner).__name__, out)

        return seen

    handles = [
        layer.register_forward_hook(hook(name)) for name, layer in module.named_modules() if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
