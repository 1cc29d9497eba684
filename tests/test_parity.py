"""Vectors are those of the networks' own libraries, called directly with their own preprocessing.

float32 sums in another order (channels last, one thread) differ by about 1e-7 of a unit row; 1e-5
is what the project promises.
"""

import io

import numpy as np
import open_clip
import pytest
import timm
import torch
import torchvision
from facenet_pytorch import fixed_image_standardization
from networks import network, unit
from PIL import Image, ImageOps
from torchvision.transforms import functional

from embedkit.backbones import embed_pictures, load_backbone
from embedkit.images import decode

TOLERANCE = 1e-5


def saved(image, format_, **options):
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def files():
    """A file of every kind: JPEG, PNG, grey, CMYK, rotated by EXIF, wide, tall, small."""
    generator = np.random.default_rng(3)

    def scene(width, height):
        cells = generator.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), dtype=np.uint8)
        return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)

    rotated = Image.Exif()
    rotated[0x0112] = 6
    return [
        saved(scene(224, 224), "JPEG", quality=90),
        saved(scene(301, 173), "PNG"),
        saved(scene(97, 411).convert("L"), "JPEG"),
        saved(scene(200, 260).convert("CMYK"), "JPEG"),
        saved(scene(320, 240), "JPEG", exif=rotated),
        saved(scene(51, 47), "PNG"),
    ]


# The layer that names the classes, by the library's own source.
LAST = {
    "torchvision:resnet50": "fc",
    "torchvision:vgg19": "classifier.6",
    "torchvision:efficientnet_b0": "classifier.1",
    "torchvision:inception_v3": "fc",
    "timm:resnet50": "fc",
    "timm:efficientnet_b0": "classifier",
    "timm:xception": "fc",
    "timm:inception_v3": "fc",
}


def library_transform(name):
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        return torchvision.models.get_model_weights(rest).DEFAULT.transforms()
    config = timm.data.resolve_model_data_config(network(name))
    return timm.data.create_transform(**config, is_training=False)


def reference(name, images):
    """Return what the library gives: vectors before they are made unit rows."""
    kind, _, rest = name.partition(":")
    net = network(name)
    if name in LAST:
        seen = []
        net.get_submodule(LAST[name]).register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0].flatten(1))
        )
        net(torch.stack([library_transform(name)(image) for image in images]))
        return seen[0]
    if kind in ("vgg16", "torchvision"):
        published = torchvision.models.get_model_weights(rest if kind != "vgg16" else "vgg16")
        x = torch.stack([published.DEFAULT.transforms()(image) for image in images])
        if rest == "pooled" or rest.startswith("squeezenet"):
            return net.features(x).mean((2, 3))
        return net.classifier[:5](net.avgpool(net.features(x)).flatten(1))
    if kind == "timm":
        config = timm.data.resolve_model_data_config(net)
        transform = timm.data.create_transform(**config, is_training=False)
        x = torch.stack([transform(image) for image in images])
        return net.forward_head(net.forward_features(x), pre_logits=True)
    if kind == "clip":
        transform = open_clip.image_transform(net.visual.image_size, is_train=False)
        return net.encode_image(torch.stack([transform(image) for image in images]))
    net.classify = False
    faces = [np.float32(image.resize((160, 160), Image.Resampling.BILINEAR)) for image in images]
    x = torch.stack([fixed_image_standardization(functional.to_tensor(face)) for face in faces])
    return net(x)


@pytest.mark.parametrize(
    "name",
    [
        "vgg16",
        "vgg16:pooled",
        "clip:ViT-B-32/laion2b_s34b_b79k",
        "facenet:vggface2",
        "torchvision:squeezenet1_1",
        "timm:mobilenetv3_small_050",
        *LAST,
    ],
)
def test_vectors_are_those_of_the_library_itself(name, files, weights_of):
    images = [
        ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB") for data in files
    ]
    with torch.inference_mode():
        expected = unit(reference(name, images))
    backbone = load_backbone(name, weights=weights_of(name))
    found = embed_pictures(backbone, [decode(data).pixels for data in files])
    assert np.abs(found - expected).max() < TOLERANCE
    # The pictures are told apart by more than the tolerance, or the line above says nothing.
    assert np.abs(found[0] - found[1]).max() > 10 * TOLERANCE


def test_prompts_have_the_vectors_of_open_clips_text_tower(weights_of):
    name, prompts = "clip:ViT-B-32/laion2b_s34b_b79k", ["a smiling person", "a man with glasses"]
    backbone = load_backbone(name, weights=weights_of(name))
    with torch.inference_mode():
        expected = unit(network(name).encode_text(open_clip.get_tokenizer("ViT-B-32")(prompts)))
    assert np.abs(backbone.embed_text(prompts) - expected).max() < TOLERANCE
