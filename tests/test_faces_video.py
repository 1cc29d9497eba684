"""Every face in pictures, folders and videos: found, and judged by every head."""

from itertools import islice

import numpy as np
import pytest
from clips import LABEL, PEOPLE, SEEDS, SIDE, looks_at, moving, portrait, scene
from networks import SQUEEZENET
from PIL import Image

from embedkit.heads import train
from embedkit.heads.faces import Look, look_at_faces
from embedkit.heads.predict import panel_of, predict_each
from embedkit.items import Unreadable
from embedkit.pipeline import embed
from embedkit.videos.frames import Frame, read_frames


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
    monkeypatch.setattr("embedkit.heads.faces.HELD", 2000)
    given = []

    def frames():
        for number in range(6):
            given.append(number)
            yield Frame("x", "x", np.zeros((30, 40, 3), np.uint8), number, 0.0)

    looks = look_at_faces(panel, frames())
    next(looks)
    assert given == [0, 1, 2, 3]


# Several heads on whole pictures.


def test_heads_of_one_space_share_one_pass_and_answer_as_they_do_alone(
    panel, face_stores, monkeypatch
):
    items = face_stores["crops"].items
    paths = [items.path(id_) for id_ in items.ids[:5]]
    passes = []
    for key, backbone in panel.backbones.items():
        embed_once = backbone.embed
        monkeypatch.setattr(
            backbone, "embed", lambda x, key=key, f=embed_once: passes.append(key) or f(x)
        )
    rows = list(predict_each(panel, paths, k=2))
    assert sorted(passes) == sorted(panel.backbones)
    monkeypatch.undo()
    for head, column in zip(panel.heads, zip(*rows, strict=True), strict=True):
        for alone, together in zip(head.predict(paths, k=2), column, strict=True):
            assert alone.source == together.source
            assert alone.probabilities == pytest.approx(together.probabilities)
            assert alone.neighbours == together.neighbours


def test_a_picture_that_one_space_leaves_out_is_still_answered_by_the_other(
    face_stores, weights_of, tmp_path
):
    space = face_stores["portraits"].path.parent / "portraits.csv"
    options = {"align": "mtcnn", "precision": "fp32", "no_face": "skip"}
    strict = embed(
        space, tmp_path / "strict", backbone=SQUEEZENET, weights=weights_of(SQUEEZENET), **options
    )
    both = panel_of([train(strict), train(face_stores["crops"])])
    blank = np.full((100, 100, 3), 90, np.uint8)
    (answers, unread) = predict_each(both, [blank, b"no picture"], k=0)
    assert answers[0] == Unreadable("picture 1", "no face found in it")
    assert answers[1].label in "ab"
    assert [one.reason for one in unread] == ["not a picture (text)"] * 2


def test_heads_are_called_by_column_or_by_file_where_they_share_one(panel, face_heads):
    assert panel.names == ("mood", "who", "aligned")
    assert panel_of(panel.heads).names == ("label 1", "who", "label 2")
    same = [face_heads[0], face_heads[1], face_heads[2].with_stem("mood")]
    assert panel_of(panel.heads, same).names == ("mood 1", "who", "mood 2")
