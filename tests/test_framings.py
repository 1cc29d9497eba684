"""Faces are cut as the pictures that a head was trained on frame theirs."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from clips import LABEL, SEEDS, drawn, looks_at, portrait, scene
from PIL import Image

from embedkit.backbones.faces import Face, face_finder
from embedkit.heads import train
from embedkit.heads.faces import eyes_of
from embedkit.heads.framings import Framing, framing_of
from embedkit.heads.predict import panel_of
from embedkit.pipeline import embed


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A store of whole portraits in a space that sees whole pictures, and its head."""
    root = tmp_path_factory.mktemp("photographs")
    for seed in SEEDS:
        path = root / "source/train" / LABEL[seed] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(portrait(seed)).save(path)
    store = embed(root / "source", root / "store", backbone="mtcnn")
    return train(store, head="knn")


def test_the_framing_is_the_median_of_what_lies_around_the_faces(photographs):
    around = []
    for seed in SEEDS:
        left, top, right, bottom = face_finder().find(portrait(seed))[0].box
        wide, high = right - left, bottom - top
        around.append((left / wide, top / high, (240 - right) / wide, (240 - bottom) / high))
    found = framing_of(photographs.training)
    sides = (found.left, found.top, found.right, found.bottom)
    assert sides == pytest.approx(np.median(around, axis=0).tolist())
    assert min(sides) > 0.3


def test_a_cut_reaches_as_far_as_the_framing_and_no_farther_than_the_picture():
    picture = np.arange(100 * 200 * 3).reshape(100, 200, 3).astype(np.uint8)
    face = Face((50.0, 20.0, 70.0, 60.0), (), 1.0)
    cut = Framing(0.5, 0.25, 1.0, 0.125).cut(picture, face)
    assert np.array_equal(cut, picture[10:65, 40:90])
    cut = Framing(9, 9, 9, 9).cut(picture, face)
    assert np.array_equal(cut, picture)
    cut = Framing(-0.25, -0.25, -0.25, 0).cut(picture, face)
    assert np.array_equal(cut, picture[30:60, 55:65])


def test_faces_in_a_wide_picture_are_seen_as_the_photographs_were(photographs):
    """Each person's own photograph is the nearest, and nearly the same."""
    panel = panel_of([photographs])
    picture = np.concatenate([portrait(seed) for seed in SEEDS[:3]], axis=1)
    (look,) = looks_at(panel, picture, k=1)
    assert len(look.sightings) == 3
    for one in look.sightings:
        middle = (one.face.box[0] + one.face.box[2]) / 2
        seed = SEEDS[int(middle // 240)]
        (near,) = one.answers[0].neighbours
        assert near.id == f"train/{LABEL[seed]}/{seed}.png"
        assert near.similarity > 0.9
        assert one.answers[0].label == LABEL[seed]


def test_without_the_store_or_its_pictures_nothing_is_known(photographs, tmp_path):
    assert framing_of(replace(photographs.training, store=tmp_path / "gone")) is None
    training = photographs.training
    source = training.opened.items.root
    away = source.rename(source.with_name("away"))
    try:
        assert framing_of(training) is None
    finally:
        away.rename(source)
    assert framing_of(training) is not None


def test_pictures_in_which_no_face_is_found_tell_nothing(tmp_path):
    for seed in SEEDS:
        path = tmp_path / "source/train" / LABEL[seed] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(seed)[60:100, 60:100]).save(path)
    head = train(embed(tmp_path / "source", tmp_path / "store", backbone="mtcnn"), head="knn")
    assert framing_of(head.training) is None
    (eye,) = eyes_of(panel_of([head])).values()
    assert eye.guesses


def test_a_space_of_faces_needs_no_framing(panel):
    aligned = panel.heads[2].training
    eyes = eyes_of(panel)
    assert len(eyes) == 2  # two heads of one store and space see the same
    assert eyes[aligned.contract_sha256, aligned.store].framing is None
    assert not eyes[aligned.contract_sha256, aligned.store].guesses


def test_a_head_whose_store_is_gone_says_that_it_guesses(face_heads, tmp_path, capsys):
    from embedkit_cli import main

    shutil.copy(face_heads[1], tmp_path / "head.safetensors")
    picture = tmp_path / "one.png"
    Image.fromarray(scene([(SEEDS[0], 40, 40)])).save(picture)
    arguments = ["predict", str(tmp_path / "head.safetensors"), str(picture), "--faces"]
    assert main([*arguments, "--store", str(tmp_path / "gone")]) == 0
    assert "frame their faces is not known" in capsys.readouterr().err
