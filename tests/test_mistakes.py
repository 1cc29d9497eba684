"""Mistakes and mild changes: each does what it says, and the table knows where it cannot."""

import io
import json

import numpy as np
import pytest
import torch
from helpers import saved
from PIL import Image
from torch.nn import functional

from embedkit.audits.changes import MILD
from embedkit.audits.mistakes import MISTAKES, both
from embedkit.audits.shots import see, take
from embedkit.backbones import load_backbone
from embedkit.backbones.cards import CARDS, Card
from embedkit.backbones.faces import Face
from embedkit.backbones.network import Network
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.errors import EmbedkitError

NAMED = {one.name: one for one in MISTAKES}
CARD = Card("net", "", "a network of a test", "", "", "", batch=4)


class Means(torch.nn.Module):
    """Returns what a network is given, averaged over each channel and over the upper half."""

    def forward(self, x):
        return torch.cat([x.mean((2, 3)), x[:, :, : x.shape[2] // 2].mean((2, 3))], 1)


def network(**description):
    description = {"size": [8, 8], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]} | description
    return Network(CARD, Means(), Preprocessing.from_dict(description, "test"), "")


def photograph(width=40, height=40, seed=0):
    cells = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def shot(tmp_path):
    def made(eye, image=None, name="x.png", **options):
        path = tmp_path / name
        format_ = {"jpg": "JPEG", "png": "PNG"}[name[-3:]]
        path.write_bytes(saved(image or photograph(), format_, **options))
        return take(eye, path)

    return made


def rows_of(eye, shots, *names):
    return see(eye, shots, [NAMED[name] for name in names], lambda net, inputs: net.scores(inputs))


def test_the_table_names_each_mistake_once_and_in_words():
    names = [one.name for one in MISTAKES]
    assert len(set(names)) == len(names) >= 12
    assert all(one.words for one in MISTAKES)
    assert len({one.name for one in MILD}) == len(MILD)
    assert sum(one.control for one in MILD) == 1


@pytest.mark.parametrize("name", ["mtcnn", "pixels", "net"])
def test_twelve_mistakes_and_more_change_a_colour_photograph_for_every_backbone(name, shot):
    eye = load_backbone(name) if name in CARDS else network()
    ways = [one for one in MISTAKES if not one.cannot(eye)]
    _, seen = see(eye, [shot(eye)], ways, lambda net, inputs: net.embed(inputs))
    assert sum(bool(one.changed.all()) for one in seen) >= 12


# What the network would be given, by its own few lines: from prepared pixels, 0 to 255.
MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])
IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
ORACLES = {
    "0-255 for 0-1": lambda x: (x - MEAN) / STD,
    "divided by 255 too often": lambda x: (x / 255 / 255 - MEAN) / STD,
    "0-1 and nothing else": lambda x: x / 255,
    "0-255 and nothing else": lambda x: x,
    "normalised as for ImageNet": lambda x: (x / 255 - IMAGENET[0]) / IMAGENET[1],
    "normalised to -1..1": lambda x: x / 127.5 - 1,
    "BGR for RGB": lambda x: (x[:, :, ::-1] / 255 - MEAN) / STD,
    "upside down": lambda x: (x[::-1] / 255 - MEAN) / STD,
}


@pytest.mark.parametrize("name", ORACLES)
def test_the_network_is_given_what_the_mistake_says(name, shot):
    eye = network()
    one = shot(eye, photograph(8, 8))  # of the input's size: nothing is resized
    right, (wrong,) = rows_of(eye, [one], name)
    for row, given in (
        (right[0], (one.pixels / 255 - MEAN) / STD),
        (wrong.rows[0], ORACLES[name](one.pixels.astype(np.float64))),
    ):
        expected = np.concatenate([given.mean((0, 1)), given[:4].mean((0, 1))])
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert wrong.changed.all()


def test_a_network_that_takes_0_to_255_can_be_given_0_to_1(shot):
    eye = network(range=255, mean=127.5, std=128)
    one = shot(eye, photograph(8, 8))
    _, (wrong,) = rows_of(eye, [one], "divided by 255 too often")
    given = (one.pixels / 255 - 127.5) / 128
    assert wrong.rows[0, :3] == pytest.approx(given.mean((0, 1)), abs=1e-6)
    assert NAMED["0-255 for 0-1"].cannot(eye) == "the network takes 0-255"
    # 127.5 and 128 of 255 are 0.5 and 0.5 but for rounding.
    assert NAMED["normalised to -1..1"].cannot(eye) == "that is what the network takes"


def test_a_grey_network_has_recipes_of_one_channel(shot):
    eye = network(channels="L", mean=0, std=1)
    one = shot(eye, photograph(8, 8))
    right, (wrong, bgr) = rows_of(eye, [one], "normalised as for ImageNet", "BGR for RGB")
    mean, std = (each.mean() for each in IMAGENET)
    assert wrong.rows[0] == pytest.approx((right[0] - mean) / std, abs=1e-5)
    # Grey weighs red and blue differently, so that even a grey network notices.
    assert bgr.changed.all()


@pytest.mark.parametrize("name", ["BGR for RGB", "upside down", "mirrored", "inverted"])
def test_twice_the_same_mistake_is_none(name, shot):
    eye = network()
    one = shot(eye)
    twice = both(NAMED[name], NAMED[name]).change(one)
    assert not np.array_equal(NAMED[name].change(one), one.cut)
    assert np.array_equal(twice, one.cut)


def test_two_mistakes_are_both_made(shot):
    eye = network()
    one = shot(eye, photograph(8, 8))
    pair = both(NAMED["BGR for RGB"], NAMED["0-1 and nothing else"])
    _, (seen,) = see(eye, [one], [pair], lambda net, inputs: net.scores(inputs))
    assert seen.rows[0, :3] == pytest.approx(one.pixels[:, :, ::-1].mean((0, 1)) / 255, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("squashed", lambda image: image.resize((8, 8), Image.Resampling.BILINEAR)),
        (
            "nearest pixel",
            lambda image: image.resize((16, 8), Image.Resampling.NEAREST).crop((4, 0, 12, 8)),
        ),
        (
            "other interpolation",
            lambda image: image.resize((16, 8), Image.Resampling.BICUBIC).crop((4, 0, 12, 8)),
        ),
        (
            "filled up with bars",
            lambda image: Image.fromarray(
                np.pad(
                    np.asarray(image.resize((8, 4), Image.Resampling.BILINEAR)),
                    ((2, 2), (0, 0), (0, 0)),
                )
            ),
        ),
    ],
)
def test_pictures_are_resized_as_the_mistake_says(name, expected, shot):
    eye = network(mean=0, std=1)
    image = photograph(80, 40)
    _, (wrong,) = rows_of(eye, [shot(eye, image)], name)
    assert wrong.rows[0, :3] == pytest.approx(np.asarray(expected(image)).mean((0, 1)) / 255)


def test_a_network_that_squashes_can_be_given_the_centre(shot):
    eye = network(resize="squash", mean=0, std=1)
    image = photograph(80, 40)
    _, (wrong,) = rows_of(eye, [shot(eye, image)], "cut around the centre")
    right = image.resize((16, 8), Image.Resampling.BILINEAR).crop((4, 0, 12, 8))
    assert wrong.rows[0, :3] == pytest.approx(np.asarray(right).mean((0, 1)) / 255)
    assert NAMED["squashed"].cannot(eye) == "the pictures have the shape of the input"


def test_without_antialiasing_is_what_torch_gives_without_it(shot):
    eye = network(size=[9, 9])
    one = shot(eye, photograph(50, 50, seed=3))
    found = NAMED["not antialiased"].change(one)
    x = torch.from_numpy(one.pixels.copy()).permute(2, 0, 1)[None].float()
    expected = functional.interpolate(x, (9, 9), mode="bilinear", align_corners=False)
    expected = expected[0].permute(1, 2, 0).numpy()
    assert np.abs(found.astype(np.float64) - expected).max() <= 1
    smooth = np.asarray(Image.fromarray(one.pixels).resize((9, 9), Image.Resampling.BILINEAR))
    assert np.abs(smooth.astype(np.float64) - expected).max() > 3
    small = shot(eye, photograph(7, 7))
    assert NAMED["not antialiased"].change(small) is small.cut


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_ignored_is_the_picture_as_it_is_stored(orientation, shot):
    exif = Image.Exif()
    exif[0x0112] = orientation
    one = shot(network(), photograph(40, 24), "x.jpg", quality=95, exif=exif)
    stored = np.asarray(Image.open(io.BytesIO(one.data)))
    assert np.array_equal(NAMED["EXIF ignored"].change(one), stored)
    assert np.array_equal(one.pixels, stored) == (orientation == 1)


def test_what_is_transparent_turns_black(shot):
    image = photograph().convert("RGBA")
    alpha = np.repeat(np.repeat([[0], [255]], [10, 30], axis=0), 40, axis=1).astype(np.uint8)
    image.putalpha(Image.fromarray(alpha))
    one = shot(network(), image)
    black = NAMED["black behind transparency"].change(one)
    assert (one.pixels[:10] == 255).all()
    assert (black[:10] == 0).all()
    assert np.array_equal(black[10:], one.pixels[10:])


class FacesInTheCorner:
    """A backbone that finds a face at the top left, 10 pixels wide, with a margin of 2."""

    card = CARD
    weights_sha256 = ""
    rule = ("largest", "whole")

    def find(self, pixels):
        return (Face((4, 4, 14, 14), ((0.0, 0.0),) * 5, 1.0),) if pixels[0, 0].any() else ()

    def choose(self, faces, width, height):
        return faces[0] if faces else None

    def cut(self, pixels, face):
        return pixels if face is None else pixels[2:16, 2:16]

    def prepare_cut(self, pixels):
        return np.asarray(Image.fromarray(pixels).resize((8, 8)))

    def prepare(self, pixels):
        return self.prepare_cut(self.cut(pixels, self.choose(self.find(pixels), 0, 0)))

    def embed(self, inputs):
        return inputs.reshape(len(inputs), -1).astype(np.float32)


def test_a_face_is_not_cut_out_or_cut_too_tightly(shot):
    one = shot(FacesInTheCorner())
    assert np.array_equal(one.cut, one.pixels[2:16, 2:16])
    assert NAMED["no face cut out"].change(one) is one.pixels
    assert np.array_equal(NAMED["face box as it is"].change(one), one.pixels[4:14, 4:14])
    assert np.array_equal(NAMED["BGR for RGB"].change(one), one.pixels[2:16, 2:16, ::-1])
    assert NAMED["no face cut out"].cannot(network()) == "no faces are cut out"


def test_where_there_is_no_face_leaving_it_uncut_changes_nothing(shot):
    eye = FacesInTheCorner()
    black = shot(eye, Image.fromarray(np.zeros((40, 40, 3), np.uint8)))
    names = ("no face cut out", "face box as it is")
    _, seen = see(eye, [black], [NAMED[n] for n in names], lambda net, inputs: net.embed(inputs))
    assert not any(one.changed.any() for one in seen)


def test_a_mistake_that_changes_some_pictures_keeps_the_others(shot):
    eye = network()
    exif = Image.Exif()
    exif[0x0112] = 3
    shots = [
        shot(eye, photograph(seed=n), f"{n}.jpg", exif=exif if n % 3 else b"") for n in range(7)
    ]
    right, (wrong, bgr) = rows_of(eye, shots, "EXIF ignored", "BGR for RGB")
    assert wrong.changed.tolist() == [bool(n % 3) for n in range(7)]
    assert np.array_equal(wrong.rows[::3], right[::3])
    alone = [rows_of(eye, [one], "BGR for RGB")[1][0].rows[0] for one in shots]
    assert np.array_equal(bgr.rows, np.stack(alone))


def test_a_mistake_that_a_network_cannot_stand_is_a_reason_and_no_figure(shot):
    class Steep(Means):
        def forward(self, x):
            return torch.exp(super().forward(x))

    eye = Network(CARD, Steep(), Preprocessing(size=(8, 8)), "")
    _, (wrong, bgr) = rows_of(eye, [shot(eye)], "0-255 for 0-1", "BGR for RGB")
    assert "not finite" in wrong.reason
    assert bgr.reason == ""


def test_a_network_that_cannot_stand_the_right_pictures_is_an_error(shot):
    eye = network()
    one = shot(eye)

    def read(net, inputs):
        raise EmbedkitError("not today")

    with pytest.raises(EmbedkitError, match="not today"):
        see(eye, [one], [], read)


def test_what_nobody_expects_is_no_mistake_that_changes_nothing(shot):
    eye, calls = network(), []

    def read(net, inputs):
        calls.append(net)
        if len(calls) > 1:
            raise MemoryError
        return net.embed(inputs)

    with pytest.raises(MemoryError):
        see(eye, [shot(eye)], [NAMED["BGR for RGB"]], read)


@pytest.mark.parametrize("change", MILD, ids=lambda one: one.name)
def test_a_mild_change_is_mild_and_the_control_is_none(change):
    pixels = np.asarray(photograph(200, 160))
    after = change.change(pixels)
    small = [
        np.asarray(Image.fromarray(one).resize((50, 40), Image.Resampling.BILINEAR), np.float64)
        for one in (pixels, after)
    ]
    assert after.dtype == np.uint8
    assert np.array_equal(pixels, after) == change.control
    assert np.abs(small[0] - small[1]).mean() < 15


def test_a_large_picture_is_made_smaller_before_it_is_changed(shot):
    one = shot(network(), photograph(3200, 400))
    assert one.pixels.shape == (134, 1067, 3)


def test_the_recipes_of_the_table_survive_json():
    """A description made wrong is still a description: every recipe keeps the input's size."""
    right = network().preprocessing
    for one in MISTAKES:
        if one.recipe is not None:
            wrong = one.recipe(right)
            again = Preprocessing.from_dict(json.loads(json.dumps(wrong.to_dict())), one.name)
            assert again.size == right.size
