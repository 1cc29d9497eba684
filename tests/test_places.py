"""What places of a picture give to a vector: sums that are exact, and networks that have none."""

import json
import math

import numpy as np
import pytest
import torch
from helpers import noise
from onnx_files import mean_colour_classifier
from torch import nn

from embedkit.backbones import Card, embed_pictures, load_backbone
from embedkit.backbones.network import Network
from embedkit.backbones.places import layered
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.errors import InputError
from embedkit.synthetic.drawing import draw_face, draw_person, draw_photograph

SUMS = {  # with random weights: the layer that is read, and its grid
    "mtcnn": {"pool3": (8, 8), "prelu4": (7, 7)},
    "vgg16:pooled": {"features": (7, 7)},
    "facenet:vggface2": {"block8": (3, 3)},
    "torchvision:squeezenet1_1": {"classifier.2": (13, 13)},
    "torchvision:resnet50": {"layer4": (7, 7)},
    "torchvision:efficientnet_b0": {"features": (7, 7)},
    "timm:efficientnet_b0": {"bn2": (7, 7)},
}
NONE = [
    "vgg16",
    "clip:ViT-B-32/laion2b_s34b_b79k",
    "timm:mobilenetv3_small_050",  # a convolution and an activation follow its pooling
]


def face(seed, side=110):
    generator = np.random.default_rng(seed)
    person = draw_person(generator, smiles=0.3)
    return draw_face(person, draw_photograph(generator, person), side)


def file_of(weights_of, name):
    """The pooled reading takes the same file as the other."""
    return weights_of("vgg16" if name == "vgg16:pooled" else name)


def total(found):
    return sum(one.values.sum() for one in found.layers) + found.constant


@pytest.mark.slow
@pytest.mark.parametrize("name", SUMS)
def test_places_add_up_to_the_weighted_vector(name, weights_of):
    backbone = load_backbone(name, weights=file_of(weights_of, name))
    picture = face(1)
    vector = embed_pictures(backbone, [picture])[0].astype(np.float64)
    weights = np.random.default_rng(2).normal(size=(2, len(vector))) * 10
    for one in weights:
        found = layered(backbone).contributions(backbone.prepare(picture), one)
        assert {part.layer: part.values.shape for part in found.layers} == SUMS[name]
        assert total(found) == pytest.approx(vector @ one, abs=1e-5)
        assert found.total == pytest.approx(vector @ one, abs=1e-5)
        assert all(np.ptp(part.values) > 0 for part in found.layers)


@pytest.mark.slow
@pytest.mark.parametrize("name", NONE)
def test_a_network_that_does_more_than_add_up_places_is_refused(name, weights_of):
    backbone = load_backbone(name, weights=weights_of(name))
    weights = np.ones(backbone.card.dimension)
    with pytest.raises(InputError, match="does more with its last feature maps .* no map of pla"):
        layered(backbone).contributions(backbone.prepare(face(1)), weights)


def test_a_facenet_has_a_part_that_no_place_gives(weights_of):
    backbone = load_backbone("facenet:vggface2", weights=weights_of("facenet:vggface2"))
    with torch.no_grad():
        backbone.module.last_bn.bias.copy_(torch.linspace(-3, 3, 512))
    vector = embed_pictures(backbone, [face(1)])[0].astype(np.float64)
    weights = np.random.default_rng(2).normal(size=512)
    found = backbone.contributions(backbone.prepare(face(1)), weights)
    assert abs(found.constant) > 0.01
    assert total(found) == pytest.approx(vector @ weights, abs=1e-5)


def test_the_map_of_a_pooled_network_is_features_times_weights(weights_of):
    name = "torchvision:squeezenet1_1"
    backbone = load_backbone(name, weights=weights_of(name))
    inputs = backbone.prepare(face(4))
    weights = np.random.default_rng(5).normal(size=512)
    with torch.inference_mode():
        x = backbone.preprocessing.normalise(inputs[None])
        maps = torch.relu(backbone.module.features(x))[0].double().numpy()
    expected = np.einsum("chw,c->hw", maps, weights) / 169
    expected /= np.linalg.norm(maps.mean(axis=(1, 2)))
    (found,) = backbone.contributions(inputs, weights).layers
    assert np.abs(found.values - expected).max() < 1e-6
    assert np.abs(expected).max() > 1e-3


def test_the_map_of_mtcnn_is_that_of_a_loop_over_cells_and_both_sides():
    backbone = load_backbone("mtcnn")
    inputs = backbone.prepare(face(6))
    weights = np.random.default_rng(7).normal(size=1536)
    with torch.inference_mode():
        sides = [
            backbone._features(backbone.preprocessing.normalise(view[None]))
            for view in (inputs, inputs[:, ::-1].copy())
        ]
    parts = weights[:1024].reshape(64, 4, 4), weights[1024:].reshape(128, 2, 2)
    found = backbone.contributions(inputs, weights)
    for place, part in enumerate(parts):
        own, mirror = (side[place][0].double().numpy() for side in sides)
        cells, size = part.shape[1], own.shape[1]
        values, grid = np.zeros((size, size)), np.zeros_like(part)
        for row in range(cells):
            for column in range(cells):
                tall, wide = (
                    slice(n * size // cells, math.ceil((n + 1) * size / cells))
                    for n in (row, column)
                )
                n = (tall.stop - tall.start) * (wide.stop - wide.start)
                for maps, back in ((own, 1), (mirror, -1)):
                    grid[:, row, column] += maps[:, tall, wide].sum(axis=(1, 2)) / n
                    given = np.zeros((size, size))
                    weighted = maps[:, tall, wide] * part[:, row, column, None, None]
                    given[tall, wide] = weighted.sum(axis=0) / n
                    values += given[:, ::back]
        values /= np.linalg.norm(grid) * math.sqrt(2)
        assert np.abs(found.layers[place].values - values).max() < 1e-6
        assert np.abs(values).max() > 1e-3


def test_the_map_of_a_mirrored_picture_is_mirrored():
    backbone = load_backbone("mtcnn")
    inputs = backbone.prepare(face(8))
    weights = np.random.default_rng(9).normal(size=1536)
    one, other = (
        backbone.contributions(view, weights) for view in (inputs, inputs[:, ::-1].copy())
    )
    for own, mirrored in zip(one.layers, other.layers, strict=True):
        assert np.allclose(own.values, mirrored.values[:, ::-1], atol=1e-6)
        assert not np.allclose(own.values, mirrored.values, atol=1e-4)


class Small(nn.Module):
    """A convolution, and whatever a test makes of its 8 maps."""

    def __init__(self, after):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 8, 5, 4)
            self.act = nn.ReLU(inplace=True)
            self.dense = nn.Linear(8, 6, bias=False)
            self.biased = nn.Linear(8, 6)
            self.wide = nn.Linear(8 * 9 * 9, 6, bias=False)
        self.after = after

    def forward(self, x):
        return self.after(self, x)


AFTER = {
    "mean": lambda net, x: net.act(net.conv(x)).mean((2, 3)),
    "mean, worked on in place": lambda net, x: net.conv(x).relu_().mean((2, 3)),
    "a layer that runs twice": lambda net, x: net.act(net.act(net.conv(x)) - 0.1).mean((2, 3)),
    "mean, then linear": lambda net, x: net.dense(net.act(net.conv(x)).mean((2, 3))),
    "mean, then affine": lambda net, x: net.biased(net.act(net.conv(x)).mean((2, 3))),
    "linear on every place": lambda net, x: net.wide(net.act(net.conv(x)).flatten(1)),
}
# All but the last are of degree 1: slopes times activations would add up, and be wrong.
MORE = {
    "largest": lambda net, x: net.act(net.conv(x)).amax((2, 3)),
    "linear, then cut off": lambda net, x: net.wide(net.act(net.conv(x)).flatten(1)).relu(),
    "mean, then cut off": lambda net, x: net.dense(net.act(net.conv(x)).mean((2, 3))).relu(),
    "something goes around it": lambda net, x: torch.cat(
        [net.act(net.conv(x)).mean((2, 3)), x.mean((2, 3))], 1
    ),
}


def small(after):
    card = Card("small", "", "a few layers", "none", "none", "none")
    preprocessing = Preprocessing(size=(40, 40), resize="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
    return Network(card, Small(after), preprocessing, "")


@pytest.mark.parametrize("name", AFTER)
def test_what_adds_up_places_is_divided(name):
    network = small(AFTER[name])
    weights = np.random.default_rng(1).normal(size=network.card.dimension)
    vector = embed_pictures(network, [face(2)])[0].astype(np.float64)
    found = network.contributions(network.prepare(face(2)), weights)
    assert found.layers[0].values.shape == (9, 9)
    assert total(found) == pytest.approx(vector @ weights, abs=1e-5)
    assert (found.constant != 0) == (name == "mean, then affine")
    # Nothing of it stays in the network.
    assert np.array_equal(embed_pictures(network, [face(2)])[0], vector.astype(np.float32))


@pytest.mark.parametrize("name", MORE)
def test_what_only_seems_to_add_up_is_refused(name):
    network = small(MORE[name])
    weights = np.random.default_rng(1).normal(size=network.card.dimension)
    with pytest.raises(InputError, match="does more with its last feature maps"):
        network.contributions(np.asarray(noise(2, 40)), weights)


def test_maps_whose_channels_come_last_are_refused():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.same = nn.Conv2d(3, 30, 5, 4), nn.Identity()

        def forward(self, x):
            return self.same(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2))

    card = Card("last", "", "a few layers", "none", "none", "none")
    network = Network(
        card,
        Last(),
        Preprocessing(size=(40, 40), resize="squash", mean=(0.5,) * 3, std=(0.5,) * 3),
        "",
    )
    with pytest.raises(InputError, match=r"\(same\) are no picture of its input"):
        network.contributions(network.prepare(face(2)), np.ones(30))


def test_the_layers_are_listed_in_order_and_looked_into():
    backbone = load_backbone("mtcnn")
    layers = backbone.layers()
    assert [one.name for one in layers][:3] == ["conv1", "prelu1", "pool1"]
    assert [one.name for one in layers][-1] == "prelu4"
    inputs = backbone.prepare(face(3))
    maps = backbone.activations(inputs, ["conv1", "prelu4"])
    with torch.inference_mode():
        x = backbone.preprocessing.normalise(inputs[None])
        assert np.allclose(maps["conv1"], backbone._net.conv1(x)[0].numpy(), atol=1e-6)
        assert np.allclose(maps["prelu4"], backbone._features(x)[1][0].numpy(), atol=1e-6)
    assert all(
        maps[one.name].shape == (one.channels, one.height, one.width)
        for one in layers
        if one.name in maps
    )


def test_a_layer_is_seen_as_it_was_before_the_next_worked_in_place():
    network = small(AFTER["mean"])
    maps = network.activations(network.prepare(face(3)), ["conv", "act"])
    assert maps["conv"].min() < 0
    assert np.array_equal(maps["act"], np.maximum(maps["conv"], 0))


@pytest.mark.parametrize("name", ["facenet:vggface2", "timm:mobilenetv3_small_050"])
def test_a_network_of_any_library_has_layers(name, weights_of):
    backbone = load_backbone(name, weights=weights_of(name))
    layers = layered(backbone).layers()
    last = layers[-1]
    maps = backbone.activations(backbone.prepare(face(3)), [last.name])[last.name]
    assert maps.shape == (last.channels, last.height, last.width)
    assert len({one.name for one in layers}) == len(layers)


def test_an_unknown_layer_is_told_which_there_are(weights_of):
    backbone = load_backbone("mtcnn")
    with pytest.raises(
        InputError, match=r"no layer 'conv9' .* known are conv1, .*did you mean 'co"
    ):
        backbone.activations(backbone.prepare(face(3)), ["conv9"])
    name = "torchvision:squeezenet1_1"
    many = load_backbone(name, weights=weights_of(name))
    with pytest.raises(InputError, match=r"\.\.\., classifier\.2; --layers list shows them all"):
        many.activations(many.prepare(face(3)), ["?"])


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_files_and_descriptions_have_no_layers(tmp_path):
    described = json.dumps({"size": [16, 16], "resize": "squash"})
    torch.jit.trace(small(AFTER["mean"]).module, torch.zeros(1, 3, 40, 40)).save(
        str(tmp_path / "net.pt")
    )
    (tmp_path / "net.json").write_text(json.dumps({"size": [40, 40], "resize": "squash"}))
    (tmp_path / "mean.onnx").write_bytes(
        mean_colour_classifier(np.ones((3, 2), np.float32), np.ones(2, np.float32), 16)
    )
    (tmp_path / "mean.json").write_text(described)
    for file in (f"torchscript:{tmp_path / 'net.pt'}", f"onnx:{tmp_path / 'mean.onnx'}"):
        with pytest.raises(InputError, match="runs as a whole from its file"):
            layered(load_backbone(file)).layers()
    with pytest.raises(InputError, match="pixels has no layers that can be looked into"):
        layered(load_backbone("pixels"))


def test_a_backbone_that_sees_faces_is_looked_into_like_the_one_inside():
    faces = load_backbone("mtcnn", align="mtcnn")
    assert layered(faces) is faces.inner
    with pytest.raises(InputError, match="pixels has no layers"):
        layered(load_backbone("pixels", align="mtcnn"))
