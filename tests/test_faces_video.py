"""Every face in pictures, folders and videos: found, judged by every head, drawn, written."""

from itertools import islice

import numpy as np
import pytest
from clips import SEEDS, SIDE, moving, portrait, scene, write_clip
from PIL import Image

from embedkit.backbones.faces import cut_out, face_finder
from embedkit.heads import train
from embedkit.heads.faces import Look, look_at_faces
from embedkit.heads.predict import panel_of, predict_each
from embedkit.pipeline import embed
from embedkit.videos.frames import Frame, read_frames

SQUEEZENET = "torchvision:squeezenet1_1"
LABEL = {seed: "ab"[place % 2] for place, seed in enumerate(SEEDS)}
PEOPLE = SEEDS[:3]


@pytest.fixture(scope="session")
def stores(tmp_path_factory, weights_of):
    """Cropped faces in a space that sees whole pictures, portraits in one that sees faces."""
    root = tmp_path_factory.mktemp("people")
    rows = {kind: ["path,label,who,split"] for kind in ("crops", "portraits")}
    generator = np.random.default_rng(0)
    for seed in SEEDS:
        whole = portrait(seed)
        (face,) = face_finder().find(whole)
        for turn in range(4):
            for kind, picture in (("crops", cut_out(whole, face)), ("portraits", whole)):
                light = generator.uniform(0.9, 1.1)
                grain = generator.normal(0, 3, picture.shape)
                shown = np.clip(picture * light + grain, 0, 255).astype(np.uint8)
                path = root / kind / f"{seed}-{turn}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(shown).save(path)
                split = "test" if turn == 3 else "train"
                rows[kind].append(f"{kind}/{path.name},{LABEL[seed]},p{seed},{split}")
    for kind, lines in rows.items():
        (root / f"{kind}.csv").write_text("\n".join(lines))
    aligned = {"weights": weights_of(SQUEEZENET), "align": "mtcnn", "precision": "fp32"}
    return {
        "crops": embed(root / "crops.csv", root / "of crops", backbone="mtcnn"),
        "portraits": embed(
            root / "portraits.csv", root / "of portraits", backbone=SQUEEZENET, **aligned
        ),
    }


@pytest.fixture(scope="session")
def heads(stores, tmp_path_factory):
    """Three heads in two spaces: label and person on crops, label on faces that are found."""
    folder = tmp_path_factory.mktemp("heads")
    fitted = [
        train(stores["crops"], head="knn"),
        train(stores["crops"], head="logistic", label="who"),
        train(stores["portraits"], head="knn"),
    ]
    names = ("mood", "person", "aligned")
    return [one.save(folder / name) for one, name in zip(fitted, names, strict=True)]


@pytest.fixture(scope="session")
def panel(heads):
    from embedkit.heads import load_head

    return panel_of([load_head(path) for path in heads], heads)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Three people in 24 frames, from the pictures that the test below looks for."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, [scene(where) for where in moving(24, PEOPLE)])


def looks_at(panel, *inputs, **options):
    return list(look_at_faces(panel, read_frames(inputs), **options))


def people_in(look):
    """Return for each person the sighting whose middle is in the square that was pasted."""
    where = moving(24, PEOPLE)[look.frame.number]
    found = {}
    for one in look.sightings:
        left, top, right, bottom = one.face.box
        x, y = (left + right) / 2, (top + bottom) / 2
        for seed, a, b in where:
            if a < x < a + SIDE and b < y < b + SIDE:
                found[seed] = one
    return found


# Found again.


def test_each_face_of_a_clip_is_found_again_with_its_label_by_every_head(panel, clip):
    looks = looks_at(panel, clip)
    assert [one.frame.number for one in looks] == list(range(24))
    assert [one.frame.seconds for one in looks] == pytest.approx([t / 24 for t in range(24)])
    for look in looks:
        assert len(look.sightings) == len(PEOPLE)
        found = people_in(look)
        assert set(found) == set(PEOPLE)
        for seed, one in found.items():
            said = [answer.label for answer in one.answers]
            assert said == [LABEL[seed], f"p{seed}", LABEL[seed]]


def test_what_is_said_of_a_face_does_not_depend_on_the_frames_that_go_with_it(panel, clip):
    alone = look_at_faces(panel, islice(read_frames([clip]), 3), gather=1)
    for one, other in zip(alone, looks_at(panel, clip)[:3], strict=True):
        assert [s.face for s in one.sightings] == [s.face for s in other.sightings]
        for a, b in zip(one.sightings, other.sightings, strict=True):
            for x, y in zip(a.answers, b.answers, strict=True):
                assert x.probabilities == pytest.approx(y.probabilities, abs=1e-6)


def test_in_a_space_of_faces_the_only_face_is_what_the_picture_was(panel, tmp_path):
    """What `predict` says of the whole picture, whose largest face it cuts out itself."""
    path = tmp_path / "one.png"
    Image.fromarray(portrait(SEEDS[0])).save(path)
    (look,) = looks_at(panel, path)
    ((*_, whole),) = predict_each(panel, [path], k=0)
    assert look.sightings[0].answers[2].probabilities == pytest.approx(whole.probabilities)


def test_in_a_space_of_faces_every_face_is_cut_not_only_the_largest(panel):
    picture = scene([(SEEDS[0], 10, 40), (SEEDS[1], 300, 30)])
    aligned = panel.backbones[panel.heads[2].training.contract_sha256]
    looked = Look(Frame("x", "x", picture), ())
    (look,) = look_at_faces(panel, [looked.frame])
    assert len(look.sightings) == 2
    for one in look.sightings:
        inputs = aligned.prepare_cut(aligned.cut(picture, one.face))
        expected = panel.heads[2].classifier.probabilities(aligned.embed(inputs[None]))[0]
        assert list(one.answers[2].probabilities.values()) == pytest.approx(expected.tolist())
    assert one.answers[2].probabilities != look.sightings[0].answers[2].probabilities


def test_frames_that_are_passed_over_have_no_boxes(panel, clip):
    looks = looks_at(panel, clip, every=5)
    assert [one.frame.number for one in looks] == list(range(24))
    looked = [one.frame.number for one in looks if one.sightings is not None]
    assert looked == [0, 5, 10, 15, 20]


@pytest.mark.parametrize(("gather", "ahead"), [(1, 1), (4, 8)])
def test_no_more_frames_are_held_than_are_looked_at_together(panel, gather, ahead):
    given = answered = most = 0

    def frames():
        nonlocal given, most
        for number in range(12):
            given += 1
            most = max(most, given - answered)
            yield Frame("x", "x", np.zeros((30, 30, 3), np.uint8), number, number / 10)

    for _ in look_at_faces(panel, frames(), gather=gather):
        answered += 1
    assert answered == 12
    assert most == ahead


def test_large_frames_are_not_gathered(panel, monkeypatch):
    monkeypatch.setattr("embedkit.heads.faces.MAX_PIXELS", 2000)
    given = []

    def frames():
        for number in range(6):
            given.append(number)
            yield Frame("x", "x", np.zeros((30, 40, 3), np.uint8), number, 0.0)

    looks = look_at_faces(panel, frames())
    next(looks)
    assert given == [0, 1, 2, 3]
