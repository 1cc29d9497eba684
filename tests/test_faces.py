"""Faces: found, chosen, cut out, recorded; the reference is facenet-pytorch itself."""

import shutil

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN, InceptionResnetV1
from facenet_pytorch.models.utils.detect_face import extract_face
from networks import network, unit
from PIL import Image

from embedkit.backbones import embed_pictures, find_card, load_backbone
from embedkit.backbones.cards import Options
from embedkit.backbones.faces import Face, cut_out, face_finder, warp
from embedkit.errors import InputError, SpaceMismatchError, UnreadableImageError
from embedkit.heads import train
from embedkit.items import FACES
from embedkit.neighbours import search
from embedkit.pipeline import embed
from embedkit.pipeline.choices import choose_align
from embedkit.synthetic.drawing import draw_face, draw_person, draw_photograph

FACENET = "facenet:vggface2"


def drawn(side, seed):
    generator = np.random.default_rng(seed)
    person = draw_person(generator, smiles=0.2)
    return draw_face(person, draw_photograph(generator, person), side)


def scene(width, height, *faces, seed=0):
    """Put drawn faces, (x, y, side, seed) each, on a plain ground."""
    picture = np.full((height, width, 3), (90, 140, 90), np.uint8)
    for x, y, side, one in faces:
        picture[y : y + side, x : x + side] = drawn(side, one)
    return picture


@pytest.fixture(scope="module")
def photographs():
    """Drawn people, each in the middle of a wider picture; MTCNN finds all of them."""
    pictures = [scene(320, 300, (70, 60, 170, seed)) for seed in range(14)]
    return [one for one in pictures if face_finder().find(one)]


@pytest.fixture(scope="module")
def folder(photographs, tmp_path_factory):
    """Pictures with one face, with two, with none, and one that is too small for any."""
    root = tmp_path_factory.mktemp("faces")
    pictures = {f"one{place}": picture for place, picture in enumerate(photographs[:6])}
    pictures["two"] = scene(700, 330, (20, 40, 160, 1), (270, 10, 240, 3))
    pictures["none"] = np.full((200, 240, 3), 120, np.uint8)
    pictures["tiny"] = drawn(16, 1)
    for place, (name, picture) in enumerate(pictures.items()):
        side = root / ("train" if place % 2 else "test") / "ab"[place // 2 % 2]
        side.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(side / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def facenet(weights_of):
    """Load FaceNet with random weights, as the tests ask."""
    return lambda **options: load_backbone(FACENET, weights=weights_of(FACENET), **options)


@pytest.fixture(scope="module")
def run(folder, weights_of):
    """Embed the folder with FaceNet."""

    def embedded(store, **options):
        options = {"align": "mtcnn", "precision": "fp32", "backbone": FACENET} | options
        weights = weights_of(FACENET)
        if options["backbone"] == "mtcnn":
            weights, options["align"] = None, "auto"
        return embed(folder, store, weights=weights, **options)

    return embedded


def row_of(store, name):
    return next(row for row, id_ in enumerate(store.items.ids) if f"/{name}." in id_)


def test_the_networks_input_is_that_of_the_reference(facenet, photographs):
    reference = MTCNN(image_size=160, margin=14)
    aligned = facenet(align="mtcnn")
    assert len(photographs) >= 8
    for picture in photographs:
        with torch.no_grad():
            expected = reference(Image.fromarray(picture))
        found = (aligned.prepare(picture).astype(np.float32) - 127.5) / 128
        assert np.abs(found.transpose(2, 0, 1) - expected.numpy()).max() < 1e-6


def test_vectors_are_those_of_the_reference(facenet, photographs):
    reference, net = MTCNN(image_size=160, margin=14), InceptionResnetV1().eval()
    state = {k: v for k, v in network(FACENET).state_dict().items() if "logits" not in k}
    net.load_state_dict(state, strict=False)
    with torch.no_grad():
        faces = torch.stack([reference(Image.fromarray(one)) for one in photographs])
        expected = unit(net(faces))
    assert np.abs(embed_pictures(facenet(align="mtcnn"), photographs) - expected).max() < 1e-5


def test_boxes_landmarks_and_confidences_are_those_of_the_reference(photographs):
    reference = MTCNN(keep_all=True)
    for picture in photographs:
        boxes, confidences, marks = reference.detect(Image.fromarray(picture), landmarks=True)
        found = face_finder().find(picture)
        assert len(found) == len(boxes)
        assert np.allclose([face.box for face in found], np.array(boxes.tolist()), atol=1e-3)
        assert np.allclose(
            [face.confidence for face in found], np.array(confidences.tolist()), atol=1e-5
        )
        assert np.allclose([face.landmarks for face in found], np.array(marks.tolist()), atol=1e-3)


def test_a_large_picture_is_searched_in_a_smaller_copy(photographs):
    picture = photographs[0]
    large = np.asarray(Image.fromarray(picture).resize((1600, 1500), Image.Resampling.BICUBIC))
    (small,), (found,) = face_finder().find(picture), face_finder().find(large)
    assert np.allclose(np.array(found.box) / 5, small.box, atol=6)
    assert np.allclose(np.array(found.landmarks) / 5, small.landmarks, atol=6)


# What facenet-pytorch's own batches fail on, each with another exception (docs/backbones.md).
@pytest.mark.parametrize(
    "picture",
    [
        np.full((200, 200, 3), 127, np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((19, 400, 3), np.uint8),
        np.zeros((3, 3000, 3), np.uint8),
        np.repeat(np.arange(40, dtype=np.uint8), 120).reshape(40, 40, 3),
    ],
    ids=["plain", "a pixel", "too flat", "a line", "small"],
)
def test_a_picture_without_a_face_has_none(picture):
    assert face_finder().find(picture) == ()


def test_pictures_of_any_sizes_grey_or_without_a_face_go_side_by_side(facenet, photographs):
    grey = np.repeat(photographs[0].mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    mixed = [photographs[0], np.zeros((5, 5, 3), np.uint8), drawn(48, 2), grey]
    rows = embed_pictures(facenet(align="mtcnn"), mixed)
    for place, picture in enumerate(mixed):
        alone = embed_pictures(facenet(align="mtcnn"), [picture])[0]
        assert np.array_equal(rows[place], alone)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_what_is_found_does_not_depend_on_the_number_of_threads(photographs, threads):
    expected, before = face_finder().find(photographs[1]), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert face_finder().find(photographs[1]) == expected
    finally:
        torch.set_num_threads(before)


def test_a_face_is_cut_out_as_the_reference_cuts_it():
    generator = np.random.default_rng(0)
    for _ in range(60):
        height, width = generator.integers(30, 200, 2)
        picture = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        x, y = generator.uniform(-20, 0.6 * width), generator.uniform(-20, 0.6 * height)
        box = (x, y, x + generator.uniform(30, width), y + generator.uniform(30, height))
        cut = Image.fromarray(cut_out(picture, Face(box, (), 1.0)))
        found = np.asarray(cut.resize((160, 160), Image.Resampling.BILINEAR))
        expected = extract_face(Image.fromarray(picture), np.array(box), 160, 14).numpy()
        assert np.array_equal(found.transpose(2, 0, 1), expected)


def test_landmarks_come_to_lie_where_a_network_wants_them():
    onto = [30.0, 52.0, 65.0, 52.0, 48.0, 72.0, 34.0, 92.0, 62.0, 92.0]
    turn = np.deg2rad(20)
    for scale in (0.8, 3.0, 9.0):
        points = np.array(onto).reshape(5, 2) @ np.array(
            [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        )
        points = scale * points + (60 * scale, 40 * scale)
        picture = np.zeros((int(200 * scale), int(200 * scale), 3), np.uint8)
        ys, xs = np.mgrid[: len(picture), : len(picture)]
        for x, y in points:
            picture[np.hypot(xs - x, ys - y) < 3 * scale] = 255
        marks = tuple((float(x), float(y)) for x, y in points)
        warped = warp(picture, Face((0, 0, 1, 1), marks, 1.0), onto, (112, 96))
        assert warped.shape == (112, 96, 3)
        seen = np.argwhere(warped[:, :, 0] > 128)
        for x, y in np.array(onto).reshape(5, 2):
            near = seen[np.hypot(seen[:, 1] - x, seen[:, 0] - y) < 6]
            assert np.allclose(near.mean(axis=0)[::-1], (x, y), atol=1)


SMALL_LEFT = Face((10, 10, 60, 60), (), 0.9)
LARGE_RIGHT = Face((300, 0, 400, 110), (), 0.99)
MIDDLE = Face((180, 130, 240, 190), (), 0.8)


@pytest.mark.parametrize(
    ("several", "none", "faces", "expected"),
    [
        ("largest", "whole", (LARGE_RIGHT, MIDDLE, SMALL_LEFT), LARGE_RIGHT),
        ("central", "whole", (LARGE_RIGHT, MIDDLE, SMALL_LEFT), MIDDLE),
        ("whole", "skip", (LARGE_RIGHT, MIDDLE), None),
        ("whole", "skip", (MIDDLE,), MIDDLE),
        ("largest", "whole", (), None),
        ("skip", "whole", (LARGE_RIGHT, MIDDLE), "2 faces found in it"),
        ("skip", "whole", (MIDDLE,), MIDDLE),
        ("largest", "skip", (), "no face found in it"),
    ],
)
def test_which_face_is_embedded(facenet, several, none, faces, expected):
    backbone = facenet(align="mtcnn", several_faces=several, no_face=none)
    if isinstance(expected, str):
        with pytest.raises(UnreadableImageError, match=expected):
            backbone.choose(faces, 420, 320)
    else:
        assert backbone.choose(faces, 420, 320) is expected


@pytest.mark.parametrize(
    ("pictures", "align", "why"),
    [
        ([scene(320, 300, (70, 60, 170, 1))] * 3, "mtcnn", "in 3 of 3 pictures .* a face"),
        ([drawn(160, 4)[20:150, 20:140]] * 3, "none", "fills them"),
        ([drawn(48, 1)] * 3, "none", "at 48 pixels"),
        ([np.full((200, 200, 3), 50, np.uint8)] * 3, "none", "only in 0 of 3 pictures"),
        ([], "none", "^$"),
    ],
    ids=["photographs", "crops", "small", "no faces", "nothing"],
)
def test_auto_looks_at_the_pictures_and_says_why(pictures, align, why):
    import re

    chosen, said, found = choose_align(find_card(FACENET), lambda: pictures)
    assert (found is None) == (align == "none" and why in ("at 48 pixels", "^$"))
    assert chosen == align
    assert re.search(why, said)


def test_auto_never_cuts_faces_for_a_backbone_that_is_not_made_for_them():
    def never():
        raise AssertionError("no picture has to be looked at")

    assert choose_align(find_card("vgg16"), never) == ("none", "", None)


def test_the_items_table_says_what_was_found(run, tmp_path):
    said = []
    store = run(tmp_path / "store", say=said.append)
    columns = {name: store.items.column(name) for name in FACES}
    two, none, one = (row_of(store, name) for name in ("two", "none", "one0"))
    assert (columns["faces"][one], columns["faces"][two], columns["faces"][none]) == (1, 2, 0)
    assert columns["face_left"][none] is None
    assert columns["face_confidence"][one] > 0.7
    assert columns["face_right"][two] > columns["face_left"][two] > 250  # the larger, on the right
    assert len(columns["face_landmarks"][one]) == 10
    n = len(store.items)
    assert said[-1].startswith(f"Faces: found in {n - 2} of {n} pictures, several in 1; ")


def test_a_data_set_that_nobody_looked_for_faces_in_says_nothing_of_them(run, tmp_path):
    store = run(tmp_path / "store", align="none")
    assert all(store.items.column(name) == [None] * len(store.items) for name in FACES)


def test_skipped_pictures_are_listed_with_their_reason(run, tmp_path):
    store = run(tmp_path / "store", several_faces="skip", no_face="skip")
    reasons = {one.id.rpartition("/")[2]: one.reason for one in store.unreadable}
    assert reasons == {
        "two.png": "2 faces found in it",
        "none.png": "no face found in it",
        "tiny.png": "no face found in it",
    }


def test_no_face_in_any_picture_names_the_way_out(weights_of, tmp_path):
    for name in "ab":
        (tmp_path / "plain" / name).mkdir(parents=True)
        Image.new("RGB", (200, 200), "red" if name == "a" else "blue").save(
            tmp_path / "plain" / name / "0.png"
        )
    options = {"backbone": FACENET, "weights": weights_of(FACENET), "align": "mtcnn"}
    with pytest.raises(InputError, match=r"no face found in it; --no-face whole takes them whole"):
        embed(tmp_path / "plain", tmp_path / "store", no_face="skip", **options)
    assert not (tmp_path / "store/store.json").exists()
    said = []
    embed(tmp_path / "plain", tmp_path / "store", say=said.append, **options)
    assert said[-1] == "Faces: none in any of 2 pictures"


def test_a_run_that_was_cut_off_ends_in_the_same_bytes(run, tmp_path):
    whole = run(tmp_path / "whole", backbone=["mtcnn", FACENET], block=4).path

    class StopError(Exception):
        pass

    def stop(progress):
        if progress.safe >= 4:
            raise StopError

    # The second backbone comes to blocks that are there already, and brings the faces with it.
    for attempt in range(2):
        names = ["mtcnn", FACENET] if attempt else "mtcnn"
        with pytest.raises(StopError):
            run(tmp_path / "cut", backbone=names, block=4, progress=stop)
    assert list((tmp_path / "cut").glob("faces-*"))
    store = run(tmp_path / "cut", backbone=["mtcnn", FACENET], block=4)
    for file in sorted(whole.rglob("*")):
        if file.is_file() and file.suffix in (".parquet", ".npy"):
            assert (store.path / file.relative_to(whole)).read_bytes() == file.read_bytes(), file
    assert not list(store.path.glob("faces-*"))


def test_faces_join_a_store_that_has_other_vectors_already(run, tmp_path):
    before = run(tmp_path / "store", backbone="mtcnn")
    assert before.items.column("faces") == [None] * len(before.items)
    both, alone = run(tmp_path / "store"), run(tmp_path / "alone")
    for name in FACES:
        assert both.items.column(name) == alone.items.column(name)
    rows = both.space(FACENET).vectors
    assert np.array_equal(rows, alone.space(FACENET).vectors)


def test_what_a_store_holds_already_cannot_be_skipped(run, tmp_path):
    run(tmp_path / "store", backbone="mtcnn")
    with pytest.raises(InputError, match=r"\.png is to be left out, for no face found in it, but"):
        run(tmp_path / "store", no_face="skip")


def test_a_second_run_aligns_as_the_first_did(run, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "source")
    first = run(tmp_path / "store", several_faces="central")
    again = run(tmp_path / "store", align="auto")
    assert again.record == first.record
    with pytest.raises(SpaceMismatchError, match="made with several-faces central, not largest"):
        run(tmp_path / "store", several_faces="largest")
    with pytest.raises(SpaceMismatchError, match="made with align mtcnn, not none"):
        run(tmp_path / "store", align="none")


def test_a_single_picture_takes_the_same_path(run, folder, tmp_path):
    store = run(tmp_path / "store")
    for name in ("one0", "two", "none"):
        row = row_of(store, name)
        copy = tmp_path / f"copy of {name}.png"
        copy.write_bytes(store.items.path(store.items.ids[row]).read_bytes())
        nearest = search(store, copy, k=1)[0]
        assert nearest.id == store.items.ids[row]
        assert nearest.similarity == pytest.approx(1, abs=1e-6)


def test_a_picture_that_is_skipped_is_answered_with_the_reason(run, folder, tmp_path):
    store = run(tmp_path / "store", no_face="skip")
    head = train(store, head="knn")
    good = store.items.path(store.items.ids[row_of(store, "one0")])
    blank = next(folder.glob("*/*/none.png"))
    answers = head.predict([good, blank])
    assert answers[0].label in head.labels
    assert answers[1].reason == "no face found in it"
    with pytest.raises(UnreadableImageError, match="no face"):
        head.predict(blank)


@pytest.mark.parametrize(
    ("option", "value"),
    [("align", "dlib"), ("several_faces", "all"), ("no_face", "error"), ("precision", "int8")],
)
def test_an_option_that_does_not_exist_names_those_that_do(facenet, run, tmp_path, option, value):
    with pytest.raises(InputError, match=f"{value}.*(allowed|known) are "):
        facenet(**{option: value})
    with pytest.raises(InputError, match=f"{value}.*known are "):
        run(tmp_path / "store", **{option: value})


def test_faces_are_not_cut_out_for_backbones_that_see_whole_pictures(folder, tmp_path):
    with pytest.raises(InputError, match="mtcnn and pixels always see whole pictures"):
        embed(folder, tmp_path / "store", backbone=["mtcnn", "pixels"], align="mtcnn")


def test_a_second_face_backbone_sees_the_same_faces_or_is_refused(run, folder, tmp_path):
    from networks import save_weights

    first = run(tmp_path / "store", several_faces="central")
    casia = save_weights(FACENET, tmp_path)
    options = {"backbone": "facenet:casia-webface", "weights": casia, "align": "mtcnn"}
    both = embed(folder, tmp_path / "store", precision="fp32", **options)
    assert [one.record.backbone["several_faces"] for one in both.spaces.values()] == ["central"] * 2
    assert both.items.column("face_left") == first.items.column("face_left")
    run(tmp_path / "other", several_faces="central")
    with pytest.raises(InputError, match="one store keeps one face a picture"):
        embed(folder, tmp_path / "other", several_faces="largest", precision="fp32", **options)


def test_the_usual_options_are_the_documented_ones():
    usual = Options()
    assert (usual.align, usual.several_faces, usual.no_face) == ("none", "largest", "whole")
