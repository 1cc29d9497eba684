"""Maps of one decision: what they are made of, and whether they point at what was planted."""

import json
import shutil

import numpy as np
import pytest
from embedkit_cli import main
from helpers import noise, scene
from networks import save_weights
from PIL import Image

from embedkit.audits.activation import class_activation
from embedkit.audits.channels import layers_of, strongest_channels
from embedkit.audits.decisions import decide, look
from embedkit.audits.explain import explain_decision
from embedkit.audits.occlusion import blurred, occlude, plan_covers
from embedkit.audits.peaks import middle, peak_box
from embedkit.backbones import embed_pictures, load_backbone
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.errors import InputError
from embedkit.heads.knn import fit_knn
from embedkit.heads.logistic import fit_logistic
from embedkit.pipeline import embed
from embedkit.synthetic.drawing import draw_face, draw_person, draw_photograph

SIDE = 80


def drawn(n, seed):
    """Faces that are all different, (n, 80, 80, 3) uint8."""
    generator = np.random.default_rng(seed)
    people = [draw_person(generator, smiles=0.3) for _ in range(n)]
    return np.stack([draw_face(one, draw_photograph(generator, one), SIDE) for one in people])


@pytest.fixture(scope="module")
def mtcnn():
    return load_backbone("mtcnn")


@pytest.fixture(scope="module")
def faces():
    return drawn(140, 1)


def marked(pictures, chosen, corner):
    """Put a black square of 12 pixels into a corner of the pictures chosen."""
    made = pictures.copy()
    side = {"top": slice(2, 14), "bottom": slice(-14, -2)}
    side |= {"left": side["top"], "right": side["bottom"]}
    row, column = corner.split()
    made[chosen, side[row], side[column]] = 0
    return made


def in_corner(box, corner):
    x, y = middle(box)
    row, column = corner.split()
    return (y < 20 if row == "top" else y > SIDE - 20) and (
        x < 20 if column == "left" else x > SIDE - 20
    )


def peaks(backbone, pictures, y, shown):
    """Train on the first hundred and return the peaks of both maps for some of the others."""
    vectors = embed_pictures(backbone, list(pictures))
    head = fit_logistic(vectors[:100], y[:100], np.arange(100), n_classes=2, seed=0)
    found = []
    for row in shown:
        frame = look(backbone, pictures[row])
        decision = decide(head, ["plain", "marked"], vectors[row])
        covered = occlude(decision, frame, plan_covers(frame))
        found.append((decision.answer, covered.peak, class_activation(decision, frame).peak))
    return found


@pytest.mark.parametrize("corner", ["top left", "bottom right"])
def test_the_peaks_of_both_maps_lie_where_alone_the_class_can_be_told(mtcnn, faces, corner):
    y = np.random.default_rng(2).integers(2, size=len(faces))
    pictures = marked(faces, y == 1, corner)
    shown = [row for row in range(100, 140) if y[row]][:9]
    found = [one for one in peaks(mtcnn, pictures, y, shown) if one[0] == "marked"]
    assert len(found) >= 6  # the others were answered by something else
    for place in (1, 2):
        assert np.mean([in_corner(one[place], corner) for one in found]) >= 0.8


def test_the_peaks_do_not_follow_a_mark_that_tells_nothing(mtcnn, faces):
    generator = np.random.default_rng(3)
    y, coin = generator.integers(2, size=(2, len(faces)))
    pictures = marked(faces, coin == 1, "top left")
    shown = [row for row in range(100, 140) if coin[row]][:8]
    found = peaks(mtcnn, pictures, y, shown)
    for place in (1, 2):
        assert np.mean([in_corner(one[place], "top left") for one in found]) <= 0.25


class Sum:
    """A head's log-odds that are a weighted sum over the pixels of a frame."""

    def __init__(self, weights):
        self.weights, self.answer, self.against = weights, "a", "b"

    def log_odds(self, vectors):
        return vectors.reshape(len(vectors), -1).astype(np.float64) @ self.weights.ravel()


class Plain:
    """A backbone whose vectors are the pixels that it is given, a few at a time."""

    class card:  # noqa: N801
        batch = 5
        name = "plain"

    def prepare(self, pixels):
        return pixels

    def embed(self, inputs):
        assert len(inputs) <= self.card.batch
        return inputs.astype(np.float32) / 255


@pytest.mark.parametrize(("patch", "stride"), [(4, 2), (6, 2), (3, 3), (2, 1), (None, None)])
@pytest.mark.parametrize("shape", [(12, 12), (13, 17)])
def test_a_cell_has_the_mean_fall_over_every_patch_that_covers_it(patch, stride, shape):
    generator = np.random.default_rng(4)
    picture = generator.integers(0, 256, (*shape, 3), dtype=np.uint8)
    head, frame = Sum(generator.normal(size=(*shape, 3))), look(Plain(), picture)
    covers = plan_covers(frame, patch=patch, stride=stride)
    found = occlude(head, frame, covers, behind=np.zeros_like(picture))
    worth = (picture / 255 * head.weights).sum(axis=2)
    total, times, largest, n = np.zeros(shape), np.zeros(shape), -np.inf, 0
    for top in range(covers.stride - covers.patch, shape[0], covers.stride):
        for left in range(covers.stride - covers.patch, shape[1], covers.stride):
            under = np.zeros(shape, bool)
            under[max(top, 0) : top + covers.patch, max(left, 0) : left + covers.patch] = True
            fall = worth[under].sum()
            total[under] += fall
            times[under] += 1
            largest, n = max(largest, fall), n + 1
    assert set(times.ravel()) == {(covers.patch // covers.stride) ** 2}
    cells = (total / times)[:: covers.stride, :: covers.stride]
    assert found.values == pytest.approx(cells, abs=1e-4)
    assert found.largest == pytest.approx(largest, abs=1e-4)
    assert found.log_odds == pytest.approx(worth.sum(), abs=1e-4)
    assert covers.pictures == n


def test_covers_are_a_fifth_of_the_shorter_side_where_nobody_says():
    def plan(side, **asked):
        frame = look(Plain(), np.zeros((side, 2 * side, 3), np.uint8))
        covers = plan_covers(frame, **asked)
        return covers.patch, covers.stride

    assert plan(80) == (16, 8)
    assert plan(224) == (44, 22)
    assert plan(224, patch=20) == (20, 10)
    assert plan(80, stride=3) == (15, 3)
    assert plan(3) == (2, 1)
    assert plan(1) == (1, 1)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"patch": 0}, "a patch of 0 pixels was asked for; the network sees 24 x 12, so 1 to 12"),
        ({"patch": 13}, "a patch of 13 pixels"),
        ({"patch": 12, "stride": 5}, "5 pixels does not divide a patch of 12; 1, 2, 3, 4, 6, 12"),
        ({"stride": 0}, "a stride of 0 pixels"),
        ({"stride": 13}, "a stride of 13 pixels does not divide a patch of 2"),
    ],
)
def test_covers_that_do_not_fit_are_refused(asked, message):
    frame = look(Plain(), np.zeros((12, 24, 3), np.uint8))
    with pytest.raises(InputError, match=message):
        plan_covers(frame, **asked)


def test_a_cover_shows_the_picture_blurred_and_leaves_the_rest():
    picture = np.zeros((20, 20, 3), np.uint8)
    picture[8:12, 8:12, 1] = 255
    made = blurred(picture, 4)
    assert 0 < made[9:11, 9:11, 1].max() < 100
    assert not made[..., 0].any()
    flat = np.full((9, 9, 1), 77, np.uint8)
    assert np.array_equal(blurred(flat, 3), flat)
    # Covering what is plain takes nothing off.
    frame = look(Plain(), np.full((12, 12, 3), 90, np.uint8))
    found = occlude(Sum(np.ones((12, 12, 3))), frame, plan_covers(frame))
    assert np.abs(found.values).max() == 0


@pytest.mark.parametrize("kind", ["logistic", "knn"])
def test_the_log_odds_are_those_of_the_heads_probabilities(mtcnn, faces, kind):
    y = np.arange(60) % 3
    vectors = embed_pictures(mtcnn, list(faces[:80]))
    fit = fit_logistic if kind == "logistic" else fit_knn
    head = fit(vectors[:60], y, np.arange(60), n_classes=3, seed=0)
    for row in range(60, 64):
        decision = decide(head, ["a", "b", "c"], vectors[row])
        p = dict(zip("abc", head.probabilities(vectors[[row]])[0], strict=True))
        best, second = sorted(p, key=p.get)[::-1][:2]
        assert (decision.answer, decision.against) == (best, second)
        odds = np.log(p[best] / p[second])
        assert decision.log_odds(vectors[[row]])[0] == pytest.approx(odds, abs=1e-9)
        frame = look(mtcnn, faces[row])
        if kind == "knn":
            with pytest.raises(InputError, match="a knn head compares vectors .* --occlusion, whi"):
                class_activation(decision, frame)
        else:
            found = class_activation(decision, frame)
            assert found.log_odds == pytest.approx(odds, abs=1e-5)
            assert found.total + found.constant + found.intercept == pytest.approx(odds, abs=1e-5)
            assert found.values.sum() == pytest.approx(found.total, abs=1e-9)
            assert found.values.shape == (56, 56)
        assert occlude(decision, frame, plan_covers(frame, patch=40)).log_odds == pytest.approx(
            odds, abs=1e-5
        )


def test_all_places_of_a_peak_are_one_box():
    values = np.zeros((4, 6))
    values[1:3, 2:5] = 2
    values[3, 0] = 2
    assert peak_box(values, 10, 5) == (10, 10, 25, 30)
    assert middle((10, 10, 25, 30)) == (17.5, 20)


@pytest.mark.parametrize(
    "rule",
    [
        Preprocessing(size=(40, 40), resize="squash"),
        Preprocessing(size=(40, 40), resize="shortest", to=50),
        Preprocessing(size=(40, 60), resize="shortest"),
        Preprocessing(size=(40, 40), resize="longest"),
        Preprocessing(size=(30, 40), resize="squash", to=36),
    ],
)
@pytest.mark.parametrize("shape", [(100, 100), (80, 160), (150, 90)])
def test_the_box_is_what_the_network_sees(rule, shape):
    height, width = shape
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    picture = np.stack([x, y, np.full(shape, 255)], axis=2).astype(np.uint8)
    seen = rule.prepare(picture).astype(float)
    left, top, right, bottom = rule.box(width, height)
    for axis, (low, high) in enumerate(((left, right), (top, bottom))):
        line = np.take(seen, seen.shape[axis] // 2, axis=axis)
        inside = line[line[:, 2] > 250, axis]
        # A pixel of the input says from where in the picture it comes.
        places = low + (np.flatnonzero(line[:, 2] > 250) + 0.5) * (high - low) / len(line)
        assert np.abs(inside - places).max() < 0.05 * max(shape)


@pytest.mark.parametrize("name", ["mtcnn", "pixels", "faces"])
def test_a_frame_gives_the_vector_that_the_backbone_gives(name):
    backbone = load_backbone("mtcnn", align="mtcnn") if name == "faces" else load_backbone(name)
    picture = drawn(1, 9)[0]
    frame = look(backbone, picture)
    assert np.array_equal(frame.embed(frame.content[None]), embed_pictures(backbone, [picture]))
    assert frame.shown.shape == frame.content.shape
    assert frame.prepared == (name != "pixels")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_a_frame_is_shown_in_the_colours_of_the_picture(tmp_path):
    import torch

    net = torch.jit.trace(torch.nn.Flatten(), torch.zeros(2, 3, 8, 8))
    net.save(str(tmp_path / "net.pt"))
    picture = np.asarray(noise(1, 8))
    for channels, expected in (("BGR", picture), ("RGB", picture)):
        (tmp_path / "net.json").write_text(json.dumps({"size": [8, 8], "channels": channels}))
        frame = look(load_backbone(f"torchscript:{tmp_path / 'net.pt'}"), picture)
        assert np.array_equal(frame.shown, expected)


def test_the_strongest_channels_come_first(mtcnn, faces):
    frame = look(mtcnn, faces[0])
    (found,) = strongest_channels(frame, ["prelu4"], shown=5)
    maps = mtcnn.activations(frame.content, ["prelu4"])["prelu4"]
    means = maps.mean(axis=(1, 2))
    assert (found.n, len(found.numbers)) == (128, 5)
    assert list(found.means) == sorted(found.means, reverse=True)
    assert min(found.means) >= np.sort(means)[-6]
    assert np.array_equal(found.maps, maps[list(found.numbers)])


IMAGE = "test/a/0.png"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder of 24 pictures of two classes."""
    root = tmp_path_factory.mktemp("scenes") / "set"
    for place in range(24):
        side, label = ("test" if place % 3 == 0 else "train"), "ab"[place % 2]
        path = root / side / label / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene(place, 90)).save(path)
    return root


@pytest.fixture(scope="module")
def store(scenes, tmp_path_factory):
    return embed(scenes, tmp_path_factory.mktemp("both") / "s", backbone=["mtcnn", "pixels"])


@pytest.fixture(scope="module")
def half(scenes, tmp_path_factory):
    """A store of a pooled network in bf16."""
    root = tmp_path_factory.mktemp("half")
    name = "torchvision:squeezenet1_1"
    return embed(
        scenes,
        root / "store",
        backbone=name,
        weights=save_weights(name, root),
        precision="bf16",
        align="none",
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_what_was_embedded_in_bf16_is_looked_into_in_fp32(half):
    precision = half.space().record.backbone["precision"]
    assert precision.endswith("bf16")
    card, decision, seen = explain_decision(half, IMAGE)
    assert seen.frame.backbone.card.precision == precision
    assert seen.reference.backbone.card.precision == "fp32"
    found = class_activation(decision, seen.reference)
    assert found.answer == card.answer
    odds = decision.log_odds(embed_pictures(seen.reference.backbone, [seen.picture]))[0]
    assert found.log_odds == pytest.approx(odds, abs=1e-5)
    assert found.total + found.intercept == pytest.approx(odds, abs=1e-5)
    stated = np.log(card.stated / (1 - card.stated))
    assert found.log_odds == pytest.approx(stated, abs=0.3)
    assert layers_of(half)[-1].name == "classifier.2"


def test_the_command_draws_every_map_and_names_the_figures(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = ["explain", str(store.path), IMAGE, "-b", "mtcnn"]
    asked += ["--occlusion", "covered", "--cam", "places.png", "--patch", "20", "--stride", "20"]
    asked += ["--layers", "conv1,prelu4", "--sheets", "layers", "--json"]
    assert main(asked) == 0
    out = capsys.readouterr()
    assert "Occlusion embeds 16 covered pictures: patches of 20 x 20 pixels" in out.err
    made = json.loads(out.out)
    covered, places, layers = made["occlusion"], made["class_activation"], made["layers"]
    assert (covered["file"], covered["grid"], covered["pictures"]) == ("covered.png", [4, 4], 16)
    assert np.shape(covered["values"]) == (4, 4)
    assert covered["answer"] == places["answer"] == made["answer"]
    assert covered["log_odds"] == pytest.approx(places["log_odds"], abs=1e-5)
    total = sum(np.sum(one["values"]) for one in places["layers"])
    assert total == pytest.approx(places["sum"], abs=1e-5)
    parts = places["sum"] + places["constant"] + places["intercept"]
    assert parts == pytest.approx(places["log_odds"], abs=2e-6)
    assert [one["layer"] for one in layers] == ["conv1", "prelu4"]
    assert [len(one["shown"]) for one in layers] == [23, 23]
    for file in (covered["file"], places["file"], *(one["file"] for one in layers)):
        with Image.open(file) as picture:
            assert picture.format == "PNG"
            assert len(np.unique(np.asarray(picture))) > 100
    assert main([*asked[:-1], "-q"]) == 0
    again = capsys.readouterr()
    assert again.err == ""
    assert "pool3, 8 x 8 places" in again.out
    assert "covering takes off most at the " in again.out
    assert again.out.endswith("wrote covered.png\n")


def test_without_maps_nothing_is_drawn(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", str(store.path), IMAGE, "-b", "pixels", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["occlusion"] is made["class_activation"] is None
    assert made["layers"] == []
    assert list(tmp_path.iterdir()) == []


def test_the_layers_can_be_listed(store, capsys):
    asked = ["explain", str(store.path), IMAGE, "-b", "mtcnn", "--layers", "list"]
    assert main(asked) == 0
    assert "prelu4      PReLU       128    7 x 7" in capsys.readouterr().out
    assert main([*asked, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["schema"], made["space"]) == ("embedkit.layers/1", "mtcnn")
    first = {"name": "conv1", "kind": "Conv2d", "channels": 32, "height": 78, "width": 78}
    assert made["layers"][0] == first


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("-b", "mtcnn", "--layers", "conv9"), "mtcnn has no layer 'conv9' with feature maps"),
        (("-b", "pixels", "--layers", "list"), "pixels has no layers that can be looked into"),
        (("-b", "pixels", "--cam", "x.png"), "; --occlusion works with every backbone"),
        (("-b", "mtcnn", "--head", "knn", "--cam", "x.png"), "a knn head compares vectors"),
        (("-b", "mtcnn", "--occlusion", "x.png", "--patch", "81"), "1 to 80 can be"),
        (("-b", "mtcnn", "--occlusion", "x.png", "--stride", "7", "--patch", "16"), "does not div"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(store, tmp_path, monkeypatch, capsys, asked, message):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", str(store.path), IMAGE, *asked]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1]
    assert error[-1].startswith("Error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_from_outside_and_a_head_of_neighbours_have_occlusion_too(
    store, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(drawn(1, 5)[0]).save("new.png")
    asked = ["explain", str(store.path), "new.png", "-b", "pixels", "--head", "knn"]
    assert main([*asked, "--occlusion", "map.png", "--patch", "40", "--stride", "40"]) == 0
    assert "wrote map.png" in capsys.readouterr().out


def test_a_picture_that_is_gone_is_told_where_it_is_needed(scenes, tmp_path, capsys):
    store = embed(shutil.copytree(scenes, tmp_path / "gone"), tmp_path / "s", backbone="pixels")
    store.items.path(IMAGE).unlink()
    assert main(["explain", str(store.path), IMAGE]) == 0
    assert main(["explain", str(store.path), IMAGE, "--occlusion", str(tmp_path / "x.png")]) == 2
    assert f"{IMAGE} cannot be looked at: " in capsys.readouterr().err
