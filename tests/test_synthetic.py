import csv
import json

import numpy as np
import pytest
from helpers import tree
from PIL import Image

from embedkit.errors import InputError
from embedkit.heads import evaluate, train
from embedkit.images import decode, pixel_hash
from embedkit.pipeline import embed
from embedkit.readers import read_source
from embedkit.synthetic import Faults, make_faces
from embedkit.synthetic.faults import CHANGES

EVERY = Faults(
    exact_twins=0.1,
    near_twins=0.2,
    same_person=0.4,
    jpeg_quality=1.0,
    image_size=1.0,
    wrong_labels=0.1,
    noisy_subgroup=25,
    unreadable=4,
)


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    folder = tmp_path_factory.mktemp("every") / "faces"
    return make_faces(folder, people=60, photographs=4, size=64, seed=1, faults=EVERY)


def pixels(truth, id_):
    return decode((truth.folder / id_).read_bytes()).pixels


def test_the_same_seed_makes_the_same_files_and_another_seed_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_faces(tmp_path / name, people=12, photographs=2, size=48, seed=seed, faults=EVERY)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert tree(tmp_path / "a") != tree(tmp_path / "c")


def test_the_folders_are_what_a_reader_understands(every):
    items = read_source(every.folder)
    assert items.layout == "split folders with class folders in them"
    assert set(items.splits) == {"train", "valid", "test"}
    assert set(items.labels) == {"bad", "good"}
    assert set(items.ids) == set(every.person) | set(every.unreadable)


def test_truth_is_written_beside_the_pictures(every):
    assert json.loads((every.folder / "truth.json").read_text()) == json.loads(
        json.dumps(every.to_dict())
    )


def test_the_manifest_names_every_readable_picture(every):
    rows = list(csv.DictReader((every.folder / "faces.csv").read_text().splitlines()))
    assert {row["file"] for row in rows} == set(every.person)
    assert all(row["person"] == every.person[row["file"]] for row in rows)
    assert read_source(every.folder / "faces.csv").groups == [row["person"] for row in rows]


def test_exact_copies_are_the_same_bytes_in_train_and_test(every):
    exact = [one for one in every.twins if one["kind"] == "exact"]
    n_test = sum(id_.startswith("test/") for id_ in every.person)
    assert len(exact) == round(0.1 * n_test)
    for one in exact:
        assert one["a"].startswith("test/")
        assert one["b"].startswith("train/")
        assert (every.folder / one["a"]).read_bytes() == (every.folder / one["b"]).read_bytes()


def test_near_copies_are_changed_in_every_known_way(every):
    near = [one for one in every.twins if one["kind"] == "near"]
    assert {one["change"] for one in near} == set(CHANGES)
    for one in near:
        original, copy = pixels(every, one["a"]), pixels(every, one["b"])
        assert pixel_hash(original) != pixel_hash(copy)
        small = [
            np.asarray(Image.fromarray(p).convert("L").resize((16, 16)), float).ravel()
            for p in (original, copy)
        ]
        if one["change"] == "mirror":
            small[1] = small[1].reshape(16, 16)[:, ::-1].ravel()
        assert np.corrcoef(*small)[0, 1] > 0.8


def test_a_copy_carries_the_label_of_its_original(every):
    for one in every.twins:
        assert one["a"].split("/")[1] == one["b"].split("/")[1]


def test_nobody_is_in_train_and_test_unless_planted(every, tmp_path):
    def both(truth):
        copies = {one["b"] for one in truth.twins}
        people = {
            split: {
                truth.person[id_]
                for id_ in truth.person
                if id_.startswith(split) and id_ not in copies
            }
            for split in ("train", "test")
        }
        return people["train"] & people["test"]

    assert both(every) == set(every.same_person)
    assert len(every.same_person) == round(0.4 * 18)
    assert both(make_faces(tmp_path / "c", people=24, photographs=2, size=48)) == set()


def test_jpeg_quality_and_size_follow_the_label_where_planted(every):
    size, quality = {}, {}
    copies = {one["b"] for one in every.twins}
    for id_ in every.person:
        if id_ in copies:
            continue
        with Image.open(every.folder / id_) as image:
            label = id_.split("/")[1]
            size.setdefault(label, set()).add(image.size)
            quality.setdefault(label, set()).add(sum(image.quantization[0]))
    assert size == {"good": {(64, 64)}, "bad": {(58, 58)}}
    assert len(quality["good"]) == len(quality["bad"]) == 1
    assert max(quality["good"]) < min(quality["bad"])


def test_a_quality_that_is_half_tied_is_seen_with_both_labels(tmp_path):
    truth = make_faces(
        tmp_path / "f", people=40, photographs=3, size=48, faults=Faults(jpeg_quality=0.5)
    )
    seen = {}
    for id_ in truth.person:
        with Image.open(truth.folder / id_) as image:
            good = sum(image.quantization[0]) < 500
        seen.setdefault(id_.split("/")[1], []).append(good)
    assert 0.6 < np.mean(seen["good"]) < 0.9
    assert 0.1 < np.mean(seen["bad"]) < 0.4


def test_wrong_labels_are_those_named_and_no_others(every):
    wrong = {id_ for id_, kind in every.kind.items() if id_.split("/")[1] != kind}
    assert wrong == set(every.wrong_labels)
    assert len(wrong) >= 0.1 * 240


def test_the_subgroup_is_noisier(tmp_path):
    plain = make_faces(tmp_path / "a", people=24, photographs=2, size=64)
    noisy = make_faces(
        tmp_path / "b", people=24, photographs=2, size=64, faults=Faults(noisy_subgroup=30)
    )
    assert plain.subgroup == []
    assert 0 < len(noisy.subgroup) < len(noisy.person)

    def roughness(truth, id_):
        return np.abs(np.diff(pixels(truth, id_).astype(float), axis=0)).mean()

    inside = np.mean([roughness(noisy, id_) for id_ in noisy.subgroup])
    outside = np.mean([roughness(noisy, id_) for id_ in noisy.person if id_ not in noisy.subgroup])
    assert inside > 1.5 * outside


def test_unreadable_files_cannot_be_read_and_the_others_can(every, tmp_path):
    assert len(every.unreadable) == 4
    store = embed(every.folder, tmp_path / "store", backbone="pixels")
    assert {one.id for one in store.unreadable} == set(every.unreadable)


def test_nothing_is_planted_where_nothing_was_asked_for(clean):
    record = clean.to_dict()
    for fault in ("twins", "same_person", "wrong_labels", "subgroup", "unreadable"):
        assert not record[fault]


def test_a_classifier_is_neither_at_chance_nor_perfect(tmp_path):
    rates = []
    for seed in range(3):
        truth = make_faces(tmp_path / f"{seed}", people=80, photographs=4, size=96, seed=seed)
        store = embed(truth.folder, tmp_path / f"s{seed}", backbone="mtcnn")
        rates.append(evaluate(train(store)).accuracy.value)
    assert 0.58 < np.mean(rates) < 0.92


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        make_faces(tmp_path)


def test_too_few_people_for_splits_is_an_error(tmp_path):
    with pytest.raises(InputError, match="too few"):
        make_faces(tmp_path / "x", people=4)
