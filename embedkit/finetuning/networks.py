"""Networks that are trained: a small one from scratch, or a published one from its last block on.

What is frozen and what is trained are two modules, so that the frozen one can be run once a
picture. Batch norms of a published network keep the statistics of its own training: batches here
are small.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from embedkit.backbones import load_backbone
from embedkit.backbones.network import Network
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.errors import InputError, OutputError

SMALL = "small"
WIDTHS = (24, 48, 96, 160)  # of the small network's blocks; each halves the side
PUBLISHED = ("torchvision:", "timm:")
UNFREEZE = ("last", "all")
STACKS = (nn.Sequential, nn.ModuleList)


class Classifier(nn.Module):
    """A network without its own classifier, and a linear one on its vectors."""

    def __init__(self, body: nn.Module, dimension: int, n_classes: int) -> None:
        super().__init__()
        self.body = body
        self.classifier = nn.Linear(dimension, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits: (n, c, h, w) -> (n, k)."""
        logits: torch.Tensor = self.classifier(self.body(x))
        return logits


@dataclass(frozen=True)
class Trainee:
    """A network that is to be trained.

    Attributes:
        name: `small`, or as `--backbone` calls it.
        preprocessing: what turns a picture into its input.
        whole: all of it; its weights are what is saved.
        frozen: the part that stays as it is, from input to feature maps; None where all is trained.
        trained: the rest, from those (or the input) to logits.
        first: name of the first block that is trained; empty for all.
        weights_sha256: of the file that it starts from; empty from scratch.
    """

    name: str
    preprocessing: Preprocessing
    whole: Classifier
    frozen: nn.Module | None
    trained: nn.Module
    first: str = ""
    weights_sha256: str = ""

    @property
    def parameters(self) -> int:
        """How many numbers the network has."""
        return sum(one.numel() for one in self.whole.parameters())

    @property
    def learned(self) -> int:
        """How many of them are trained."""
        return sum(one.numel() for one in self.trained.parameters())

    def train(self) -> None:
        """Make it ready for a step."""
        training_mode(self.trained, keep_statistics=bool(self.weights_sha256))


def training_mode(module: nn.Module, *, keep_statistics: bool) -> None:
    """Set a module to training, its batch norms to their known statistics where these are kept."""
    module.train()
    for layer in module.modules():
        if keep_statistics and isinstance(layer, _BatchNorm):
            layer.eval()


def small(n_classes: int, *, side: int, seed: int) -> Trainee:
    """Return a small network with random weights.

    Blocks of convolution (3 x 3), batch norm, ReLU and pooling, an average over the picture, and
    a linear layer: 0.2 million numbers.

    Args:
        n_classes: to tell apart.
        side: of the input in pixels.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for before, width in zip((3, *WIDTHS), WIDTHS, strict=False):
            layers += [
                nn.Conv2d(before, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        whole = Classifier(body, WIDTHS[-1], n_classes)
    preprocessing = Preprocessing(
        size=(side, side), resize="squash", mean=(0.5,) * 3, std=(0.25,) * 3
    )
    whole.to(memory_format=torch.channels_last)
    return Trainee(SMALL, preprocessing, whole, None, whole)


def published(
    name: str, n_classes: int, *, side: int, unfreeze: str, weights: str, seed: int
) -> Trainee:
    """Return a published network with its weights and a new classifier.

    Args:
        name: `torchvision:NAME` or `timm:NAME`.
        n_classes: to tell apart.
        side: of the input in pixels.
        unfreeze: `last` for the last block, what follows it and the classifier; `all` for all.
        weights: its file, or a folder that holds it; empty to look where such files are kept.
        seed: of the classifier's weights.

    Raises:
        InputError: no such network, one that cannot see pictures of that size, or that cannot be
            divided at its last block.
        WeightsError: its weights are not on this machine, damaged, or of another network.
    """
    if not name.startswith(PUBLISHED):
        raise InputError(
            f"no network that can be trained is called {name!r}; known are {SMALL}, "
            f"{', '.join(f'{kind}NAME' for kind in PUBLISHED)}"
        )
    backbone = load_backbone(name, weights=weights)
    if not isinstance(backbone, Network):
        raise InputError(f"{name} is no network of torch, so it cannot be trained")
    body = backbone.module
    preprocessing = replace(backbone.preprocessing, size=(side, side), resize="squash", to=0)
    try:
        with torch.no_grad():
            dimension = int(body(torch.zeros(2, 3, side, side)).shape[1])
    except (RuntimeError, AssertionError, ValueError) as error:
        first = str(error).splitlines()[0][:120]
        height = backbone.preprocessing.size[0]
        raise InputError(
            f"{name} cannot see pictures of {side} x {side} pixels ({first}); it was made for "
            f"{height}: --size {height}"
        ) from None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        whole = Classifier(body, dimension, n_classes)
    known = (name, preprocessing, whole)
    if unfreeze == "all":
        body.requires_grad_(True)
        return Trainee(*known, None, whole, weights_sha256=backbone.weights_sha256)
    block = last_block(body)
    frozen, rest = divided(body, block, side=side, name=name)
    trained = nn.Sequential(rest, whole.classifier)
    trained.requires_grad_(True)
    if any(one.requires_grad for one in frozen.parameters()):
        raise _indivisible(name, block)
    return Trainee(*known, frozen.eval(), trained, block, backbone.weights_sha256)


def last_block(body: nn.Module) -> str:
    """Return the name of the last of the blocks that a network repeats.

    A block (a residual unit, an Inception module, a transformer layer) has at least two layers
    with weights; in a network without such (VGG) each layer is one.
    """
    layers = [name for name, layer in body.named_modules() if isinstance(layer, _Weighted)]
    last: str = [*layers, *_blocks(body)][-1]
    return last


_Weighted = (nn.Linear, nn.Conv2d)


def _layers(module: nn.Module) -> int:
    return sum(isinstance(layer, _Weighted) for layer in module.modules())


def _blocks(module: nn.Module, name: str = "") -> Iterator[str]:
    """Yield the names of a network's blocks, in the order in which they are registered."""
    for own, child in module.named_children():
        path = f"{name}.{own}" if name else own
        if type(child) in STACKS or _holds_a_stack(child):
            yield from _blocks(child, path)
        elif _layers(child) > 1:
            yield path


def _holds_a_stack(module: nn.Module) -> bool:
    """Say whether a module is a stage of several blocks, and not a block itself."""
    return any(
        sum(_layers(one) > 1 for one in child.children()) > 1
        for child in module.children()
        if type(child) in STACKS
    )


class _Outline(torch.fx.Tracer):
    """Follows a network's code down to one block; every module beside the way is taken whole."""

    def __init__(self, block: str) -> None:
        super().__init__()
        self._block = block

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Say whether a module is to be taken whole."""
        return not self._block.startswith(f"{module_qualified_name}.")


def divided(body: nn.Module, block: str, *, side: int, name: str) -> tuple[nn.Module, nn.Module]:
    """Return what a network does before a block, and what it does from there on.

    The two share the network's weights, and done after one another are the network.

    Raises:
        InputError: its code cannot be followed, or more than one tensor goes into the block.
    """
    try:
        graph = _Outline(block).trace(body.eval())
    except Exception:  # noqa: BLE001 (a network's own code, run on stand-ins, raises anything)
        raise _indivisible(name, block) from None
    nodes = list(graph.nodes)
    calls = [node.target if node.op == "call_module" else None for node in nodes]
    if block not in calls:  # a branch that is only there for training
        raise _indivisible(name, block)
    cut = calls.index(block)
    before, after = nodes[:cut], nodes[cut:]
    options = [node for node in before if node.op == "placeholder" and node.args]  # left out
    handed = {used for node in after for used in node.all_input_nodes} - {*after, *options}
    if len(handed) != 1:
        raise _indivisible(name, block)
    (crossing,) = handed
    graphs = torch.fx.Graph(), torch.fx.Graph()
    copies: dict[torch.fx.Node, torch.fx.Node] = {}
    for node in before:
        copies[node] = graphs[0].node_copy(node, copies.__getitem__)
    graphs[0].output(copies[crossing])
    copies = {crossing: graphs[1].placeholder("maps")}
    for node in (*options, *after):
        copies[node] = graphs[1].node_copy(node, copies.__getitem__)
    frozen, rest = (torch.fx.GraphModule(body, one).eval() for one in graphs)
    example = torch.linspace(-1, 1, 2 * 3 * side * side).view(2, 3, side, side)
    with torch.no_grad():
        if not torch.allclose(rest(frozen(example)), body(example), atol=1e-5):
            raise _indivisible(name, block)
    return frozen, rest


def _indivisible(name: str, block: str) -> InputError:
    return InputError(
        f"{name} cannot be divided at its last block, {block}; train all of it with --unfreeze all"
    )


def weights_bytes(trainee: Trainee) -> bytes:
    """Return all weights of a network as a safetensors file: `body.…` and `classifier.…`.

    Raises:
        OutputError: what would be read back is not what was trained.
    """
    state = {name: value.contiguous() for name, value in trainee.whole.state_dict().items()}
    data = save(state)
    # Safetensors writes memory as it lies; a tensor that lies otherwise would come back scrambled.
    again = load(data)
    if again.keys() != state.keys() or not all(torch.equal(again[k], v) for k, v in state.items()):
        raise OutputError(
            f"the weights of {trainee.name} cannot be written: read back, they differ"
        )
    return data
